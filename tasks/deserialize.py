"""Deserialize a piece of a backup: the inverse of serialize."""

from __future__ import annotations

from prefect import task

from convault.formats.base import Rows
from convault.restore import pieces
from convault.restore.pieces import Piece
from tasks.boundary import contained
from tasks.load import Load
from tasks.policy import POLICY


@task(name="deserialize", task_run_name="deserialize {piece}", retries=0, **POLICY)
@contained
def deserialize(piece: Load[Piece], plain: Load[bytes]) -> Load[list[Rows]]:
    """The rows that are wanted; `plain` is released. No retries: it depends on its input alone."""
    rows = list(pieces.deserialize(piece.content, plain.content))
    plain.release()
    return Load(str(piece), rows)
