"""Compress documents into the bytes that are stored."""

from __future__ import annotations

from dataclasses import dataclass
from hashlib import sha256

from prefect import task

from convault import age, index
from convault.encryption import Encryptor
from convault.formats.registry import format_of
from convault.index import Grouped
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
    digest_key: str | None
    """see `models.Part`"""
    conversations: bytes
    """see `models.Part`"""


@task(name="compress", task_run_name="compress {document}", retries=0, **POLICY)
@contained
def compress(
    document: Load[Grouped], options: BackupOptions, encryptor: Encryptor | None
) -> Load[Packed]:
    """One part, encrypted behind the compression when there is an `encryptor`. No retries: it
    depends on nothing but its input."""
    format_ = format_of(options.format)
    plain = document.content.document
    stored = format_.store(plain, options.compression_level)
    data, suffix = stored.data, format_.suffix(options.compression_level)
    if encryptor is None:
        digest_key = None
        plain_digest = sha256(plain.data).hexdigest()
    else:
        digest_key = encryptor.digest_key.id
        plain_digest = encryptor.digest(plain.data)
        data, suffix = encryptor.encrypt(data), suffix + age.SUFFIX
    return Load(
        str(document),
        Packed(
            data=data,
            sha256=plain_digest if data is plain.data else sha256(data).hexdigest(),
            plain_sha256=plain_digest,
            plain_bytes=len(plain.data),
            rows=plain.rows,
            suffix=suffix,
            digest_key=digest_key,
            conversations=index.entries(document.content, stored),
        ),
    )
