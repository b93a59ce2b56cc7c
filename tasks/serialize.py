"""Serialize rows: Arrow to lines of NDJSON."""

from __future__ import annotations

from collections.abc import Sequence

import pyarrow as pa
from prefect import task

from convault.formats import ndjson
from convault.formats.ndjson import Lines
from convault.models import Column
from tasks.boundary import contained
from tasks.load import Load
from tasks.policy import POLICY


@task(name="serialize", task_run_name="serialize {rows}", retries=0, **POLICY)
@contained
def serialize(
    rows: Load[pa.Table], columns: Sequence[Column], part_bytes: int
) -> Sequence[Load[Lines]]:
    """Documents of at most `part_bytes` each. No retries: what cannot be written never can."""
    documents = ndjson.serialize(rows.content, columns, part_bytes)
    if len(documents) == 1:
        return [Load(str(rows), documents[0])]
    return [Load(f"{rows}.{number}", lines) for number, lines in enumerate(documents)]
