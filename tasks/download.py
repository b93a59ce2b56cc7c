"""Download a piece of a backup: the inverse of upload."""

from __future__ import annotations

from prefect import task

from convault.encryption.objects import Opener
from convault.restore import pieces
from convault.restore.pieces import Piece, Stored
from convault.stores.base import Store
from tasks.boundary import contained
from tasks.load import Load
from tasks.policy import POLICY


@task(name="download", task_run_name="download {piece}", retries=0, **POLICY)
@contained
def download(piece: Load[Piece], store: Store, opener: Opener) -> Load[Stored]:
    """The stored bytes, proven and decrypted. No retries of the task: reading has its own."""
    return Load(str(piece), pieces.download(store, piece.content, opener))
