"""Where things lie in a repository, and what a manifest may therefore say (docs/format.md).

Keys and paths follow from names and digests alone. A manifest that says anything else could make a
reader fetch, or a tar create, what is no business of the backup: it is refused.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING
from uuid import UUID

from convault.encryption.age import SUFFIX as ENCRYPTED
from convault.files.faults import fault_of_files
from convault.models import MAX_PART_BYTES, TableName
from convault.names import table_path

if TYPE_CHECKING:
    from convault.manifest import IndexEntry, Manifest, MemberEntry, TableEntry

REPOSITORY_KEY = "convault.json"
BACKUPS = "backups/"
MANIFEST_NAME = "datapackage.json"
MEMBER_NAMES = ("README.txt", "schema.sql")
INDEX_NAME = "index.parquet"
INDEX_NAMES = (INDEX_NAME, INDEX_NAME + ENCRYPTED)
INDEX_SUFFIXES = (".parquet", ".parquet" + ENCRYPTED)
SHARED_INDEXES = "data/=index/"
PLAIN_SUFFIXES = (".ndjson", ".ndjson.zst", ".csv", ".csv.zst", ".parquet")
SUFFIXES = (*PLAIN_SUFFIXES, *(suffix + ENCRYPTED for suffix in PLAIN_SUFFIXES))

_MANIFEST_KEY = re.compile(r"backups/([0-9a-f-]{36})/datapackage\.json")
_REVISION_KEY = re.compile(r"backups/([0-9a-f-]{36})/revisions/([0-9]{4})\.json")
_PART_KEY = re.compile(
    r"data/(?:[a-z0-9=_-]+/){1,2}[0-9a-f]{64}(?:" + "|".join(map(re.escape, SUFFIXES)) + ")"
)
_SHA256 = re.compile(r"[0-9a-f]{64}")
_FILE_KEY = re.compile(r"files/[0-9a-f]{64}(?:" + re.escape(ENCRYPTED) + ")?")
_REVISED = re.compile(r"^[0-9a-f]{64}\.")
DAMAGED = "damaged/"
TRASH = "trash/"
SWEEP = "sweep/"
MARKS_KEY = "sweep/marks.json"
_TRASH_KEY = re.compile(r"trash/([0-9a-f-]{36})/datapackage\.json")
MAX_REVISION = 9999
MAX_MANIFEST_BYTES = 512 * 1024 * 1024
"""A manifest is read into memory; this is what some 100,000 parts of 20 columns take (3 TB)."""
MAX_ROW_BYTES = 6 * 2**30 + 2**20
"""plain bytes of a part with one row: Postgres sends no row over 1 GiB, and JSON writes a control
character as six"""
_MAX_OVERHEAD = 2**20
"""bytes that a part takes in the store beside twice its plain bytes: frames, and what age adds"""
_MAX_PAGE = 2**32
"""Postgres numbers the pages of a table with 32 bits."""
_MAX_TIME = 8**11
"""Seconds after 1970 that the header of a tar's member can tell."""


def part_key(table: TableName, sha256: str, suffix: str) -> str:
    """Key of the object with that digest (of its stored bytes) and that table's rows."""
    if not _SHA256.fullmatch(sha256):
        raise ValueError(f"not a SHA-256 in lower-case hex: {sha256!r}")
    if suffix not in SUFFIXES:
        raise ValueError(f"not the suffix of a part: {suffix!r}")
    return f"{parts_of(table)}{sha256}{suffix}"


def shared_index_key(sha256: str, encrypted: bool) -> str:
    """Key of an index that backups may share. No table has such a folder: `=in` is no byte."""
    if not _SHA256.fullmatch(sha256):
        raise ValueError(f"not a SHA-256 in lower-case hex: {sha256!r}")
    return f"{SHARED_INDEXES}{sha256}{INDEX_SUFFIXES[encrypted]}"


def index_path(number: int, encrypted: bool) -> str:
    """The name in the tar of a backup's further index `number`, from 1."""
    return f"index.{number:05d}{INDEX_SUFFIXES[encrypted]}"


def parts_of(table: TableName) -> str:
    """The folder of the table's parts."""
    return f"data/{table_path(table)}/"


def file_key(sha256: str, *, encrypted: bool) -> str:
    """Key of the Storage file with that digest (of its stored bytes)."""
    if not _SHA256.fullmatch(sha256):
        raise ValueError(f"not a SHA-256 in lower-case hex: {sha256!r}")
    return f"files/{sha256}{ENCRYPTED if encrypted else ''}"


def is_file_key(key: str) -> bool:
    """Whether a Storage file may lie under `key`."""
    return _FILE_KEY.fullmatch(key) is not None


def damaged_key(key: str, sha256: str) -> str:
    """Where bytes are kept that were found under a part's `key` and are not the part's; `sha256` is
    their own digest."""
    return f"{DAMAGED}{key}/{sha256}"


def part_path(table: TableName, number: int, suffix: str) -> str:
    """The name in the tar of the table's part `number` (counted over all its ranges)."""
    return f"{table_path(table)}/{number:05d}{suffix}"


def member_key(backup_id: UUID, path: str) -> str:
    """Key of a small file beside the manifest."""
    if path not in (*MEMBER_NAMES, *INDEX_NAMES):
        raise ValueError(f"not a file that lies beside a manifest: {path!r}")
    return f"{BACKUPS}{backup_id}/{path}"


def revised_member_key(backup_id: UUID, path: str, sha256: str) -> str:
    """Key of such a file that came with a later revision of the manifest, by its digest: what
    another revision needs is never overwritten."""
    return f"{revisions_of(backup_id)}{sha256}.{member_key(backup_id, path).rpartition('/')[2]}"


def manifest_key(backup_id: UUID, revision: int = 1) -> str:
    """Key of a revision of the manifest. The first makes the backup exist; a higher one supersedes
    those below it."""
    if not 1 <= revision <= MAX_REVISION:
        raise ValueError(f"not the number of a revision: {revision}")
    if revision == 1:
        return f"{BACKUPS}{backup_id}/{MANIFEST_NAME}"
    return f"{revisions_of(backup_id)}{revision:04d}.json"


def revisions_of(backup_id: UUID) -> str:
    """The folder of the later revisions of a backup."""
    return f"{BACKUPS}{backup_id}/revisions/"


def revision_of(key: str) -> tuple[UUID, int] | None:
    """The backup and the revision whose manifest lies under `key`, or None when no manifest
    does."""
    found = _MANIFEST_KEY.fullmatch(key) or _REVISION_KEY.fullmatch(key)
    if found is None:
        return None
    try:
        backup_id, revision = UUID(found[1]), int(found[2]) if found.re is _REVISION_KEY else 1
        return (backup_id, revision) if manifest_key(backup_id, revision) == key else None
    except ValueError:
        return None


def backup_of(key: str) -> UUID | None:
    """The backup whose first manifest lies under `key`, or None when none does."""
    found = revision_of(key)
    return found[0] if found is not None and found[1] == 1 else None


def trash_key(backup_id: UUID) -> str:
    """Where the first manifest of a deleted backup waits."""
    return f"{TRASH}{backup_id}/{MANIFEST_NAME}"


def trashed_of(key: str) -> UUID | None:
    """The deleted backup whose first manifest lies under `key`, or None when none does."""
    found = _TRASH_KEY.fullmatch(key)
    return None if found is None else backup_of(f"{BACKUPS}{found[1]}/{MANIFEST_NAME}")


def is_part_key(key: str) -> bool:
    """Whether a part may lie under `key`, of whichever table."""
    return _PART_KEY.fullmatch(key) is not None


def beside(key: str) -> UUID | None:
    """The backup beside whose manifest, or a later revision of it, `key` is the place of a small
    file, or None."""
    folder, _, name = key.rpartition("/")
    if folder.endswith("/revisions"):
        folder, name = folder.removesuffix("/revisions"), _REVISED.sub("", name, count=1)
    found = backup_of(f"{folder}/{MANIFEST_NAME}")
    return found if name in (*MEMBER_NAMES, *INDEX_NAMES) else None


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
    return (
        _fault_of_members(manifest)
        or _fault_of_parts(manifest)
        or _fault_of_encryption(manifest)
        or next(filter(None, map(_fault_of_table, manifest.tables)), None)
        or fault_of_files(
            manifest.files,
            manifest.storage,
            manifest.features,
            frozenset(names),
            {key.id for key in manifest.encryption.digest_keys} if manifest.encryption else (),
        )
    )


def _fault_of_members(manifest: Manifest) -> str | None:
    paths = [member.path for member in manifest.members]
    if len(set(paths)) < len(paths):
        return "a file beside it occurs twice"
    index = manifest.index
    beside: list[MemberEntry | IndexEntry] = [
        *manifest.members,
        *([] if index is None else [index]),
    ]
    for member in beside:
        keys = [member_key(manifest.backup_id, member.path)]
        if member is index:
            keys.append(shared_index_key(member.sha256, member.path == INDEX_NAMES[True]))
        if manifest.revision > 1:
            keys.append(revised_member_key(manifest.backup_id, member.path, member.sha256))
        if member.key not in keys:
            return f"the key of {member.path} is {member.key!r}"
    encrypted = manifest.encryption is not None
    if index is not None and index.path != INDEX_NAMES[encrypted]:
        return f"its index is {index.path!r}"
    if manifest.indexes and index is None:
        return "it has further indexes, and no index"
    for number, further in enumerate(manifest.indexes, 1):
        if further.path != index_path(number, encrypted):
            return f"its further index is {further.path!r}"
        if further.key != shared_index_key(further.sha256, encrypted):
            return f"the key of {further.path} is {further.key!r}"
    return None


def _fault_of_encryption(manifest: Manifest) -> str | None:
    facts = manifest.encryption
    keys = [] if facts is None else [key.id for key in facts.digest_keys]
    if len(set(keys)) < len(keys):
        return "a digest key occurs twice"
    if facts is not None and not all(
        (facts.recipients, *(key.recipients for key in facts.digest_keys))
    ):
        return "it is encrypted to nobody"
    for index in manifest.all_indexes:
        if index.digest_key not in (*keys, None):
            return f"there is no digest key {index.digest_key!r}"
        if (index.digest_key is None) == bool(index.plain_blocks):
            return f"the blocks of {index.path} have no digest key, or the other way round"
    for table in manifest.tables:
        for part in table.parts:
            if part.encrypted != (part.digest_key is not None):
                return f"{part.key!r} is encrypted and has no digest key, or the other way round"
            if part.digest_key is not None and part.digest_key not in keys:
                return f"there is no digest key {part.digest_key!r}"
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


def _fault_of_table(table: TableEntry) -> str | None:
    """What cannot be of one table, whatever its keys and paths are."""
    columns = [column.name for column in table.columns]
    if len(set(columns)) < len(columns) or "" in columns:
        return f"a column of {table.name!s} occurs twice, or has no name"
    if not set(table.primary_key) <= set(columns):
        return f"the primary key of {table.name!s} has a column that it has not"
    if table.kind == "p" and table.parts:
        return f"{table.name!s} is partitioned and holds rows itself"
    if sum(part.rows for part in table.parts) != table.rows:
        return f"{table.name!s} has another number of rows than its parts"
    place = (0, 0, -1)
    """first page and end of the range before, and the ordinal of its last part"""
    for part in table.parts:
        if part.plain_bytes > (MAX_ROW_BYTES if part.rows == 1 else MAX_PART_BYTES):
            return f"{part.key!r} would unpack to {part.plain_bytes} bytes"
        if part.stored_bytes > 2 * part.plain_bytes + _MAX_OVERHEAD:
            return f"{part.key!r} would be {part.stored_bytes} bytes for {part.plain_bytes}"
        end = _MAX_PAGE if part.end_page is None else part.end_page
        if not part.first_page < end <= _MAX_PAGE:
            return f"{part.key!r} has pages that no table has"
        first, before, ordinal = place
        if (part.first_page, end) == (first, before):
            follows = part.ordinal == ordinal + 1
        else:
            follows = part.ordinal == 0 and part.first_page >= before
        if not follows:
            return f"{part.key!r} holds pages that another part holds, or parts before it are gone"
        place = (part.first_page, end, part.ordinal)
    return None
