"""Serialize rows: Arrow to documents of the format that was asked for."""

from __future__ import annotations

from collections.abc import Sequence

import pyarrow as pa
from prefect import task

from convault import index
from convault.belonging import Belonging
from convault.formats.registry import format_of
from convault.index import Grouped
from convault.models import BackupOptions, Column
from tasks.boundary import contained
from tasks.load import Load
from tasks.policy import POLICY


@task(name="serialize", task_run_name="serialize {rows}", retries=0, **POLICY)
@contained
def serialize(
    rows: Load[pa.Table],
    columns: Sequence[Column],
    belonging: Belonging | None,
    key: str | None,
    options: BackupOptions,
    part_bytes: int,
) -> Sequence[Load[Grouped]]:
    """Documents of at most `part_bytes` each, of the rows sorted by conversation, or by `key`. No
    retries: what cannot be written never can."""
    ordered, keys = index.arranged(rows.content, columns, belonging, key)
    documents = format_of(options.format).serialize(
        ordered, columns, part_bytes, options.compression_level
    )
    found = index.grouped(documents, keys, index.own_keys(ordered, columns, key))
    if len(found) == 1:
        return [Load(str(rows), found[0])]
    return [Load(f"{rows}.{number}", document) for number, document in enumerate(found)]
