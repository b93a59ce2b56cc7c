"""Serialize rows: Arrow to documents of the format that was asked for."""

from __future__ import annotations

from prefect import task

from convault import carrying
from convault.carrying import Piece, Written
from convault.models import BackupOptions, Dataset
from tasks.boundary import contained
from tasks.load import Load
from tasks.policy import POLICY


@task(name="serialize", task_run_name="serialize {batch}", retries=0, **POLICY)
@contained
def serialize(
    batch: Load[list[Piece]], dataset: Load[Dataset], options: BackupOptions, part_bytes: int
) -> Load[list[Written]]:
    """Documents of at most `part_bytes` each, of the rows sorted by conversation, or by key. The
    batch is emptied. No retries: what cannot be written never can."""
    documents = carrying.written(batch.content, dataset.content, options, part_bytes)
    return Load(str(batch), list(documents))
