"""Decompress a piece of a backup: the inverse of compress."""

from __future__ import annotations

from prefect import task

from convault.encryption.objects import Opener
from convault.restore import pieces
from convault.restore.pieces import Piece, Stored
from tasks.boundary import contained
from tasks.load import Load
from tasks.policy import POLICY


@task(name="decompress", task_run_name="decompress {piece}", retries=0, **POLICY)
@contained
def decompress(piece: Load[Piece], stored: Load[Stored], opener: Opener) -> Load[bytes]:
    """The document; `stored` is released. No retries: it depends on nothing but its input."""
    plain = pieces.decompress(piece.content, stored.content, opener)
    stored.release()
    return Load(str(piece), plain)
