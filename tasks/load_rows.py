"""Load rows into the target: the inverse of fetch."""

from __future__ import annotations

from prefect import task

from convault.formats.base import Rows
from convault.restore import Restoration
from convault.restore.pieces import Piece
from tasks.boundary import contained
from tasks.load import Load
from tasks.policy import POLICY


@task(name="load", task_run_name="load {piece}", retries=0, **POLICY)
@contained
def load(piece: Load[Piece], rows: Load[list[Rows]], restoration: Restoration) -> None:
    """Into the restore's one transaction; `rows` is released. No retries: what failed in it has
    undone everything before it."""
    restoration.load(piece.content, rows.content)
    rows.release()
    piece.release()
