"""Serialize rows: Arrow to documents of the format that was asked for."""

from __future__ import annotations

from collections.abc import Sequence

import pyarrow as pa
from prefect import task

from convault.formats.base import Document
from convault.formats.registry import format_of
from convault.models import BackupOptions, Column
from tasks.boundary import contained
from tasks.load import Load
from tasks.policy import POLICY


@task(name="serialize", task_run_name="serialize {rows}", retries=0, **POLICY)
@contained
def serialize(
    rows: Load[pa.Table], columns: Sequence[Column], options: BackupOptions, part_bytes: int
) -> Sequence[Load[Document]]:
    """Documents of at most `part_bytes` each. No retries: what cannot be written never can."""
    documents = format_of(options.format).serialize(
        rows.content, columns, part_bytes, options.compression_level
    )
    if len(documents) == 1:
        return [Load(str(rows), documents[0])]
    return [Load(f"{rows}.{number}", document) for number, document in enumerate(documents)]
