"""Compress lines into the bytes that are stored."""

from __future__ import annotations

from dataclasses import dataclass
from hashlib import sha256

from prefect import task

from convault.formats import compression
from convault.formats.ndjson import Lines
from convault.models import BackupOptions
from tasks.boundary import contained
from tasks.load import Load
from tasks.policy import POLICY


@dataclass(frozen=True, slots=True)
class Packed:
    """A part as it will be stored, and what its receipt tells of it."""

    data: bytes
    sha256: str
    plain_sha256: str
    plain_bytes: int
    rows: int
    suffix: str


@task(name="compress", task_run_name="compress {lines}", retries=0, **POLICY)
@contained
def compress(lines: Load[Lines], options: BackupOptions) -> Load[Packed]:
    """One part. No retries: it depends on nothing but its input."""
    plain, rows = lines.content
    data = compression.compress(plain, options.compression_level)
    plain_sha256 = sha256(plain).hexdigest()
    return Load(
        str(lines),
        Packed(
            data=data,
            sha256=plain_sha256 if data is plain else sha256(data).hexdigest(),
            plain_sha256=plain_sha256,
            plain_bytes=len(plain),
            rows=rows,
            suffix=compression.suffix(options.format, options.compression_level),
        ),
    )
