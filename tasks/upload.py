"""Upload a part under the digest of its stored bytes."""

from __future__ import annotations

from dataclasses import dataclass

from prefect import get_run_logger, task

from convault.models import Part, Range
from convault.repository import Repository, Stored
from tasks.boundary import contained
from tasks.compress import Packed
from tasks.load import Load
from tasks.policy import POLICY


@dataclass(frozen=True, slots=True)
class Uploaded:
    """The receipt of a part, and whether this upload wrote it, found it there, or repaired it."""

    part: Part
    stored: Stored


@task(name="upload", task_run_name="upload {packed}", retries=5, **POLICY)
@contained
def upload(packed: Load[Packed], repository: Repository, range_: Range, ordinal: int) -> Uploaded:
    """Store the part; the same bytes that are there already are read, and not written again."""
    content = packed.content
    key = repository.part_key(range_.table, content.sha256, content.suffix)
    stored = repository.put_part(key, content.sha256, content.data)
    if stored is Stored.REPAIRED:
        get_run_logger().warning(
            "%s was damaged in the store: repaired. What was there is kept under damaged/. Earlier "
            "backups that hold this part can be restored again; see whether the disk is sound.",
            key,
        )
    part = Part(
        range=range_,
        ordinal=ordinal,
        key=key,
        sha256=content.sha256,
        stored_bytes=len(content.data),
        plain_sha256=content.plain_sha256,
        plain_bytes=content.plain_bytes,
        rows=content.rows,
        conversations=content.conversations,
        digest_key=content.digest_key,
    )
    return Uploaded(part, stored)
