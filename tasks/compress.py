"""Compress documents into the bytes that are stored."""

from __future__ import annotations

from dataclasses import dataclass
from hashlib import sha256

from prefect import task

from convault.formats.base import Document
from convault.formats.registry import format_of
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


@task(name="compress", task_run_name="compress {document}", retries=0, **POLICY)
@contained
def compress(document: Load[Document], options: BackupOptions) -> Load[Packed]:
    """One part. No retries: it depends on nothing but its input."""
    format_ = format_of(options.format)
    plain, rows, _ = document.content
    data = format_.store(document.content, options.compression_level).data
    plain_sha256 = sha256(plain).hexdigest()
    return Load(
        str(document),
        Packed(
            data=data,
            sha256=plain_sha256 if data is plain else sha256(data).hexdigest(),
            plain_sha256=plain_sha256,
            plain_bytes=len(plain),
            rows=rows,
            suffix=format_.suffix(options.compression_level),
        ),
    )
