"""What a manifest says of files that cannot be: it was damaged or forged. Pure."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from typing import TYPE_CHECKING

from convault.files.addresses import is_bucket, is_path

if TYPE_CHECKING:
    from convault.files.entries import FileEntry, StorageFacts
    from convault.models import TableName

FEATURE = "files"
MAX_FILE_BYTES = 2**40
"""twice the largest file that Supabase takes"""
_MAX_OVERHEAD = 2**20
"""bytes that age adds at most, beside a thousandth"""


def fault_of_files(
    files: Sequence[FileEntry], facts: StorageFacts | None, features: Collection[str],
    tables: Collection[TableName], digest_keys: Collection[str],
) -> str | None:  # fmt: skip
    """What cannot be, for people, or None. `tables` and `digest_keys` are the manifest's."""
    if (facts is None) == (FEATURE in features) or (files and facts is None):
        return "it holds files and does not say so, or the other way round"
    if facts is not None and any(column.table not in tables for column in facts.columns):
        return "a column that points at files is of no table of the backup"
    seen: set[tuple[str, str]] = set()
    members: set[str] = set()
    sizes: dict[str | None, tuple[str | None, int]] = {}
    for file in files:
        fault = next(_faults(file, tables, digest_keys), None)
        if fault is not None:
            return fault
        if not file.bucket:
            continue
        if file.address in seen:
            return "a file occurs twice"
        seen.add(file.address)
        if file.stored:
            if file.member in members:
                return "two files have one name in the tar"
            members.add(file.member)
            said = (file.plain_sha256, file.stored_bytes)
            if sizes.setdefault(file.key, said) != said:
                return f"{file.key!r} is two files"
    return None


def _faults(
    file: FileEntry, tables: Collection[TableName], digest_keys: Collection[str]
) -> Iterator[str]:
    from convault.layout import file_key

    named = file.bucket or file.path or file.outcome != "external"
    if named and not (is_bucket(file.bucket) and is_path(file.path)):
        yield "a file has a bucket or a path that none can have"
    if any(referrer.table not in tables for referrer in file.referrers):
        yield "a file is pointed at by a table that the backup does not hold"
    if not file.stored:
        if file.key or file.sha256 or file.stored_bytes or file.digest_key:
            yield "a file that is not stored has an object"
        return
    if file.sha256 is None or file.plain_sha256 is None:
        yield "a stored file has no digest"
        return
    if file.key != file_key(file.sha256, encrypted=file.encrypted):
        yield f"the key of a file is {file.key!r}"
    if file.digest_key is not None and file.digest_key not in digest_keys:
        yield f"there is no digest key {file.digest_key!r}"
    if file.plain_bytes > MAX_FILE_BYTES:
        yield f"{file.key!r} would be {file.plain_bytes} bytes"
    if not file.encrypted and (file.sha256, file.stored_bytes) != (
        file.plain_sha256,
        file.plain_bytes,
    ):
        yield f"{file.key!r} is not encrypted and has two digests or sizes"
    if file.stored_bytes > file.plain_bytes + file.plain_bytes // 1000 + _MAX_OVERHEAD:
        yield f"{file.key!r} would be {file.stored_bytes} bytes for {file.plain_bytes}"
