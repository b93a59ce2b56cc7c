"""Where things lie in a repository, and what a manifest may therefore say (docs/format.md).

Keys and paths follow from names and digests alone. A manifest that says anything else could make a
reader fetch, or a tar create, what is no business of the backup: it is refused.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING
from uuid import UUID

from convault.models import TableName
from convault.names import table_path

if TYPE_CHECKING:
    from convault.manifest import Manifest, TableEntry

REPOSITORY_KEY = "convault.json"
BACKUPS = "backups/"
MANIFEST_NAME = "datapackage.json"
MEMBER_NAMES = ("README.txt", "schema.sql")
INDEX_NAME = "index.parquet"
SUFFIXES = (".ndjson", ".ndjson.zst", ".csv", ".csv.zst", ".parquet")

_MANIFEST_KEY = re.compile(r"backups/([0-9a-f-]{36})/datapackage\.json")
_SHA256 = re.compile(r"[0-9a-f]{64}")
_MAX_TIME = 8**11
"""Seconds after 1970 that the header of a tar's member can tell."""


def part_key(table: TableName, sha256: str, suffix: str) -> str:
    """Key of the object with that digest (of its stored bytes) and that table's rows."""
    if not _SHA256.fullmatch(sha256):
        raise ValueError(f"not a SHA-256 in lower-case hex: {sha256!r}")
    if suffix not in SUFFIXES:
        raise ValueError(f"not the suffix of a part: {suffix!r}")
    return f"data/{table_path(table)}/{sha256}{suffix}"


def damaged_key(key: str, sha256: str) -> str:
    """Where bytes are kept that were found under a part's `key` and are not the part's; `sha256` is
    their own digest."""
    return f"damaged/{key}/{sha256}"


def part_path(table: TableName, number: int, suffix: str) -> str:
    """The name in the tar of the table's part `number` (counted over all its ranges)."""
    return f"{table_path(table)}/{number:05d}{suffix}"


def member_key(backup_id: UUID, path: str) -> str:
    """Key of a small file beside the manifest."""
    if path not in (*MEMBER_NAMES, INDEX_NAME):
        raise ValueError(f"not a file that lies beside a manifest: {path!r}")
    return f"{BACKUPS}{backup_id}/{path}"


def manifest_key(backup_id: UUID) -> str:
    """Key of the manifest."""
    return f"{BACKUPS}{backup_id}/{MANIFEST_NAME}"


def backup_of(key: str) -> UUID | None:
    """The backup whose manifest lies under `key`, or None when no manifest does."""
    found = _MANIFEST_KEY.fullmatch(key)
    if found is None:
        return None
    try:
        backup_id = UUID(found[1])
    except ValueError:
        return None
    return backup_id if manifest_key(backup_id) == key else None


def fault_of(manifest: Manifest) -> str | None:
    """What in `manifest` cannot be, for people, or None when its keys and paths are as they must
    be. Names in the answer are quoted."""
    created = manifest.created_at
    if created.utcoffset() is None or not 0 <= created.timestamp() < _MAX_TIME:
        return "its time has no zone, or is before 1970 or after 2242"
    names = [table.name for table in manifest.tables]
    if len(set(names)) < len(names):
        return "a table occurs twice"
    if manifest.root is not None and manifest.root not in names:
        return "its root table is not among its tables"
    if manifest.root in {table.name for table in manifest.tables if table.reference_only}:
        return "its root table is kept for reference only"
    return _fault_of_members(manifest) or _fault_of_parts(manifest)


def _fault_of_members(manifest: Manifest) -> str | None:
    paths = [member.path for member in manifest.members]
    if len(set(paths)) < len(paths):
        return "a file beside it occurs twice"
    for member in manifest.members:
        if member.key != member_key(manifest.backup_id, member.path):
            return f"the key of {member.path} is {member.key!r}"
    index = manifest.index
    if index is not None and index.key != member_key(manifest.backup_id, index.path):
        return f"the key of {index.path} is {index.key!r}"
    return None


def _fault_of_ranges(table: TableEntry) -> str | None:
    """None too when no ranges are told, as in format 0."""
    if not table.ranges:
        return None
    rows = {(entry.first_page, entry.end_page): entry.rows for entry in table.ranges}
    end: int | None = 0
    for entry in table.ranges:
        if end is None or entry.first_page < end:
            return "a range overlaps another"
        if (entry.key is None) == (not entry.reason):
            return "a range has neither a key nor a reason, or both"
        end = entry.end_page
    for part in table.parts:
        place = (part.first_page, part.end_page)
        if place not in rows:
            return f"the part {part.path!r} lies in no range"
        rows[place] -= part.rows
    return "a range has other rows than its parts" if any(rows.values()) else None


def _fault_of_parts(manifest: Manifest) -> str | None:
    sizes: dict[str, int] = {}
    for table in manifest.tables:
        if not (table.name.name and table.name.schema):
            return "a table has no name"
        fault = _fault_of_ranges(table)
        if fault is not None:
            return fault
        for number, part in enumerate(table.parts):
            suffix = part.key[len(part.key.rpartition("/")[0]) + 1 + len(part.sha256) :]
            if suffix not in SUFFIXES:
                return f"the key of a part is {part.key!r}"
            if part.key != part_key(table.name, part.sha256, suffix):
                return f"the key of a part is {part.key!r}"
            if part.path != part_path(table.name, number, suffix):
                return f"the path of a part is {part.path!r}"
            if sizes.setdefault(part.key, part.stored_bytes) != part.stored_bytes:
                return f"{part.key!r} has two sizes"
    return None
