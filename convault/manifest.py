"""The manifest: what a backup consists of. A backup exists if and only if its manifest does.

Stored as `backups/<id>/datapackage.json`, a Frictionless Data Package (one resource per part, its
path the name in the tar) whose `convault` member holds the rest; docs/format.md tells every field.
"""

from __future__ import annotations

import io
import json
from collections.abc import Iterator
from typing import Annotated, Any, Literal
from uuid import UUID

from pydantic import AwareDatetime, BaseModel, ConfigDict, Field, ValidationError

from convault.encryption.age import SUFFIX as ENCRYPTED
from convault.errors import RepositoryError
from convault.files.entries import FileEntry, StorageFacts
from convault.files.faults import FEATURE as FILES
from convault.formats.registry import format_of_name
from convault.layout import fault_of
from convault.layout import part_path as part_path
from convault.manifest_entries import TOLD, Entries, Shared, places
from convault.manifest_reading import thinned
from convault.manifest_text import Listed, pieces, text_of
from convault.models import (
    Absence,
    Column,
    ForeignKey,
    Selection,
    SourceFacts,
    Statement,
    TableName,
)
from convault.ranges import row_digest
from convault.signing.signature import SigningKeys

FORMAT = 1
"""The repository format that this version writes, and the newest that it reads; 0 is read too."""

SHARED_INDEX = "shared-index"
"""an index may lie where backups share it, and there may be further ones"""
PER_PAGE = "per-page"
"""rows are not all of one moment"""

FEATURES: frozenset[str] = frozenset({SHARED_INDEX, FILES, PER_PAGE})
"""What a manifest may ask its reader to know beyond format 1. Fields that are not known are passed
over; so whatever would be misread without a new field goes along with the name of a feature."""

Sha256 = Annotated[str, Field(pattern="^[0-9a-f]{64}$")]
Count = Annotated[int, Field(ge=0, lt=2**63)]
Recipient = Annotated[str, Field(pattern="^age1[02-9ac-hj-np-z]{58}$")]


class _Stored(BaseModel):
    # Format 1 may grow: what this version does not know, it passes over.
    model_config = ConfigDict(frozen=True, extra="ignore")


_FIELDS: dict[type[BaseModel], set[str]] = {}


class _Plenty(_Stored):
    """What there may be 100,000 of: without a set of its own of the fields that were given, which
    nobody asks for and which is a quarter of its memory."""

    def model_post_init(self, context: Any, /) -> None:
        """See above."""
        kind = type(self)
        if kind not in _FIELDS:
            _FIELDS[kind] = set(kind.model_fields)
        object.__setattr__(self, "__pydantic_fields_set__", _FIELDS[kind])


class RangeEntry(_Plenty):
    """Pages [first_page, end_page) of a table, and the key of the rows that were visible there."""

    first_page: Count
    end_page: Count | None
    rows: Count
    key: Sha256 | None
    reason: str = ""
    """why there is no key"""
    taken_over: bool = False
    """whether its parts are those of the parent backup, and were not read again"""
    read_because: str = ""
    """why its rows were read although there is a parent; '' when they were not, or there is none"""
    digest: Annotated[str, Field(pattern=row_digest.PATTERN)] | None = None
    """of its rows, as that of the table, which is the sum of its ranges'"""


class PartEntry(_Plenty):
    """A part: one object of the repository, one member of the tar."""

    key: str
    path: str
    sha256: Sha256
    stored_bytes: Count
    plain_sha256: Sha256
    plain_bytes: Count
    rows: Count
    first_page: Count
    end_page: Count | None
    ordinal: Count
    digest_key: str | None = None
    """id of the digest key with which `plain_sha256` is an HMAC-SHA256; None when the part is not
    encrypted, and it is a SHA-256"""

    @property
    def encrypted(self) -> bool:
        """Whether the object is an age file."""
        return self.key.endswith(ENCRYPTED)


class MissingEntry(_Stored):
    """Rows that rows of a table refer to by `columns`, and that were gone before they were read."""

    columns: tuple[str, ...]
    references: TableName
    values: Count
    """how many"""


class ReadingEntry(_Stored):
    """When and how a table was read without a snapshot (`convault.per_page`)."""

    first_page_at: AwareDatetime
    last_page_at: AwareDatetime
    counted_before: Count
    counted_after: Count
    late: Count = 0
    """rows that were fetched by key after the pages"""
    gone: Count = 0
    """rows of the backup that were deleted while it was made, as far as known"""
    missing: tuple[MissingEntry, ...] = ()


class TableEntry(_Stored):
    """A table, its columns, and its parts in the order of its pages."""

    name: TableName
    kind: Literal["r", "p"]
    columns: tuple[Column, ...]
    primary_key: tuple[str, ...]
    parents: tuple[TableName, ...]
    rows: Count
    """as counted in the snapshot, not summed from the parts"""
    parts: tuple[PartEntry, ...]
    digest: Annotated[str, Field(pattern=row_digest.PATTERN)] | None = None
    """of the rows, computed by the source in the snapshot (`convault.ranges.row_digest`)"""
    reference_only: bool = False
    """kept so that references can be understood, never made or filled by a restore"""
    ranges: tuple[RangeEntry, ...] = ()
    """in the order of their pages, those without rows too; none in format 0"""
    reading: ReadingEntry | None = None
    """None where all rows are of one snapshot"""


class MemberEntry(_Stored):
    """A small file that lies beside the manifest and goes into the tar under the same name."""

    path: Literal["README.txt", "schema.sql"]
    key: str
    sha256: Sha256
    bytes: Count


class IndexEntry(_Stored):
    """An index from conversation to parts and frames, and its name in the tar. It lies beside the
    manifest, or where backups share it."""

    path: str
    key: str
    sha256: Sha256
    bytes: Count
    tables: tuple[TableName, ...]
    """whose rows it covers: the conversation of other tables' rows cannot be told, or there is
    none"""
    blocks: tuple[Sha256, ...] = ()
    """digest of each `index.BLOCK_BYTES` of it, so that what is read of it by range is proven; ()
    in backups that were made before there were any, and where it is encrypted"""
    plain_blocks: tuple[Sha256, ...] = ()
    """of an encrypted one, before encryption: HMAC-SHA256 of each block with `digest_key`"""
    digest_key: str | None = None
    """id of the digest key of the `plain_blocks`; None without any"""


class DigestKey(_Stored):
    """The key of some parts' digests of plain bytes, which were encrypted to the same people."""

    id: Annotated[str, Field(pattern="^[0-9a-f]{16}$")]
    recipients: tuple[Recipient, ...]
    """those who can open `sealed`, and every part that names this key"""
    sealed: str
    """32 random bytes, as an age file, in base64"""


class EncryptionFacts(_Stored):
    """How the objects of an encrypted backup are encrypted, and to whom."""

    scheme: Literal["age"]
    recipients: tuple[Recipient, ...]
    """those who can open what this backup has written itself: its index, and its own parts"""
    access: Literal["part"]
    """what any program for age can open: whole objects. (Chunks open by themselves too, see
    `convault.encryption.age_chunks`, and the index tells which.)"""
    digest_keys: tuple[DigestKey, ...]


class ReuseFacts(_Stored):
    """What of a backup was taken over from its parent, and when everything was last read."""

    range_pages: Annotated[int, Field(ge=1, lt=2**32)]
    """heap pages of a range; kept from backup to backup until one reads everything"""
    reason: str = ""
    """why every row was read; '' when what is unchanged was taken over"""
    ranges: Count = 0
    """taken over"""
    rows: Count = 0
    """in them"""
    stored_bytes: Count = 0
    """of the objects that hold them"""
    since_full: Count = 0
    """backups since the last one that read every row; 0: this one did"""
    full_at: AwareDatetime
    """when that one was taken"""
    differing: tuple[str, ...] = ()
    """ranges that were read again, whose key is the parent's and whose stored rows are not: one of
    the two backups is wrong"""


class Manifest(_Stored):
    """Everything that a reader needs to know."""

    format: Annotated[int, Field(ge=0)]
    backup_id: UUID
    repository_id: UUID
    created_at: AwareDatetime
    """when the snapshot was taken"""
    options: dict[str, Any]
    parent_id: UUID | None
    source: SourceFacts
    consistency: Literal["snapshot", "per-page"]
    """`per-page`: every row is as some page showed it; `TableEntry.reading` tells when"""
    root: TableName | None
    """None when the tables were named rather than found from conversations"""
    tables: tuple[TableEntry, ...]
    foreign_keys: tuple[ForeignKey, ...]
    statements: tuple[Statement, ...]
    members: tuple[MemberEntry, ...]
    index: IndexEntry | None = None
    """of the parts that this backup has written itself; None when there is no root, or it has no
    primary key"""
    indexes: tuple[IndexEntry, ...] = ()
    """of the parts that were taken over: the indexes of earlier backups, the newest first, which
    may tell of other parts too"""
    selection: Selection | None = None
    """how rows were selected; None when every row of the tables is in the backup"""
    absent: tuple[Absence, ...] = ()
    """tables and columns that were left out"""
    lacks: tuple[str, ...] = ()
    """what of the schema the source could not tell, in words"""
    features: tuple[str, ...] = ()
    """what a reader must know beyond the format (`FEATURES`)"""
    revision: Annotated[int, Field(ge=1, le=9999)] = 1
    """1 as the backup was made; a higher one supersedes those below it"""
    files: tuple[FileEntry, ...] = ()
    """Storage files, each with its outcome; with the feature `files`"""
    storage: StorageFacts | None = None
    """which Storage they are of; None in a backup without files"""
    erasures: tuple[()] = ()
    """reserved for rows that were taken out later"""
    encryption: EncryptionFacts | None = None
    """None when the parts are not encrypted"""
    reuse: ReuseFacts | None = None
    """None in backups of versions that took nothing over"""

    @property
    def restored(self) -> tuple[TableEntry, ...]:
        """The tables that a restore makes and fills."""
        return tuple(table for table in self.tables if not table.reference_only)

    @property
    def file_name(self) -> str:
        """Of the tar."""
        return f"backup_{self.backup_id}.tar"

    @property
    def rows(self) -> int:
        """Of all tables."""
        return sum(table.rows for table in self.tables)

    @property
    def stored_bytes(self) -> int:
        """Of all parts, an object that two parts share counted once."""
        sizes = {p.key: p.stored_bytes for t in self.tables for p in t.parts}
        return sum(sizes.values())

    @property
    def stored_files(self) -> tuple[FileEntry, ...]:
        """Those whose bytes the backup holds."""
        return tuple(file for file in self.files if file.stored)

    @property
    def plain_bytes(self) -> int:
        """Of all parts, before compression."""
        return sum(part.plain_bytes for table in self.tables for part in table.parts)

    @property
    def all_indexes(self) -> tuple[IndexEntry, ...]:
        """Its own, then those of earlier backups."""
        return (*(() if self.index is None else (self.index,)), *self.indexes)

    def objects(self) -> dict[str, int]:
        """Every key that the backup needs beside its manifest, with its size in bytes."""
        sizes = {p.key: p.stored_bytes for t in self.tables for p in t.parts}
        sizes.update({member.key: member.bytes for member in self.members})
        sizes.update({index.key: index.bytes for index in self.all_indexes})
        sizes.update({file.key: file.stored_bytes for file in self.files if file.key})
        return sizes

    def digests(self) -> dict[str, str]:
        """The SHA-256 of the stored bytes of each of `objects`, by key."""
        found = {p.key: p.sha256 for t in self.tables for p in t.parts}
        found.update({member.key: member.sha256 for member in self.members})
        found.update({index.key: index.sha256 for index in self.all_indexes})
        found.update({file.key: file.sha256 for file in self.files if file.key and file.sha256})
        return found

    def entries(self) -> Iterator[BaseModel]:
        """Parts and ranges of all tables."""
        for table in self.tables:
            yield from table.parts
            yield from table.ranges

    def to_bytes(self) -> bytes:
        """The data package as it is stored: UTF-8 JSON, the same bytes for the same manifest."""
        return self._written().getvalue()

    def signed(self, keys: SigningKeys) -> bytes:
        """As `keys.sign` gives it of `to_bytes`, of which many parts make much: it is not there
        twice meanwhile."""
        written = self._written()
        keys.sign_in(written)
        return written.getvalue()

    def _written(self) -> io.BytesIO:
        package = {
            "profile": "data-package",
            "name": f"backup-{self.backup_id}",
            "title": f"Convault backup of {self.source.database}",
            "created": self.created_at.isoformat(),
            "resources": Listed(
                (
                    (resource, number, part)
                    for resource in map(_Resource, self.tables)
                    for number, part in enumerate(resource.table.parts)
                ),
                lambda item: item[0].text(item[1], item[2]),
            ),
            "convault": {
                name: Listed(map(_told, getattr(self, name)))
                if name in _MANY
                else self.model_dump(mode="json", include={name})[name]
                for name in Manifest.model_fields
            },
        }
        written = io.BytesIO()
        for piece in pieces(package):
            written.write(piece.encode())
        written.write(b"\n")
        return written

    @classmethod
    def from_bytes(cls, data: bytes, *, where: str, shared: Shared | None = None) -> Manifest:
        """Read what `to_bytes` wrote; entries that are `shared` are those of other manifests.
        RepositoryError for a newer format or anything malformed."""
        many = Entries(_ENTRIES, shared)
        try:
            wanted = ("format", "features", "options")
            text, head = thinned(data, "convault", wanted, many.take, many.drop)
            reason = too_new(head)
            json.dumps(head.get("options"), allow_nan=False)
        except (ValueError, TypeError, KeyError, RecursionError):
            raise RepositoryError(
                f"{where} is not a manifest of Convault.", manifest=where
            ) from None
        if reason is not None:
            raise RepositoryError(f"{where} {reason}: upgrade Convault.", manifest=where)
        try:
            rest = cls.model_validate_json(text, strict=True)
            malformed = many.malformed
        except ValidationError as error:
            malformed = [*places(error), *many.malformed]
        if malformed:
            raise RepositoryError(
                f"{where} is malformed ({'; '.join(malformed[:TOLD])}). `convault list` shows the "
                "other backups.",
                manifest=where,
            )
        manifest = _whole(rest, many)
        fault = fault_of(manifest)
        if fault is not None:
            raise RepositoryError(
                f"{where} is malformed: {fault[:300]}. It was damaged or forged; `convault list` "
                "shows the other backups.",
                manifest=where,
            )
        return manifest


def too_new(content: Any) -> str | None:
    """What in the JSON of a manifest or a marker only a later version can read, for people; None
    when there is nothing of the kind. TypeError, KeyError when it is no such JSON."""
    newest, features = content["format"], content.get("features", [])
    if type(newest) is int and newest > FORMAT:
        return f"has format {newest}, this version reads {FORMAT}"
    unknown = [feature for feature in features if feature not in FEATURES]
    if unknown:
        names = ", ".join(ascii(feature)[:80] for feature in unknown[:5])
        return f"needs what this version does not know ({names})"
    return None


_FIELD_TYPES = {"boolean": "boolean", "integer": "integer", "text": "string"}


class _Resource:
    """What the data package says of each part of one table: nearly the same."""

    def __init__(self, table: TableEntry) -> None:
        self.table = table
        self._rests: dict[tuple[str, bool, bool], str] = {}

    def text(self, number: int, part: PartEntry) -> str:
        """Its JSON."""
        format_ = format_of_name(part.path)
        resource = {
            # A resource's name may hold neither `=` nor `/`; written so, two names stay two.
            "name": part_path(self.table.name, number, "").replace("=", "..").replace("/", "."),
            "path": part.path,
            "format": format_.name,
            "mediatype": format_.media_type,
            "encoding": "utf-8",
            "bytes": part.stored_bytes,
            "hash": f"sha256:{part.sha256}",
        }
        zst = part.path.removesuffix(ENCRYPTED).endswith(".zst")
        kind = (format_.name, zst, part.encrypted)
        if kind not in self._rests:
            self._rests[kind] = text_of(self._rest(*kind)).removeprefix("{")
        return text_of(resource).removesuffix("\n}") + "," + self._rests[kind]

    def _rest(self, format_name: str, zst: bool, encrypted: bool) -> dict[str, Any]:
        """What parts of one kind have in common."""
        rest: dict[str, Any] = {
            "schema": {
                "fields": [
                    {
                        "name": column.name,
                        "type": _FIELD_TYPES[column.encoding],
                        "x-postgres": {
                            "type": column.type,
                            "encoding": column.encoding,
                            **({"mask": column.mask} if column.mask else {}),
                        },
                    }
                    for column in self.table.columns
                ],
                "primaryKey": list(self.table.primary_key),
            },
        }
        if format_name == "csv":
            rest["dialect"] = {"delimiter": ",", "lineTerminator": "\r\n", "quoteChar": '"',
                               "doubleQuote": True, "header": True}  # fmt: skip
        if zst:
            rest["compression"] = "zst"
        if encrypted:
            rest["encryption"] = "age"
        return rest


_MANY = ("tables", "files")
"""fields of a manifest that may have a great many entries; so may those of a table:"""
_MANY_OF_TABLE = ("parts", "ranges")


def _told(entry: BaseModel) -> dict[str, Any]:
    """An entry as JSON; what a table has many of, one by one."""
    if not isinstance(entry, TableEntry):
        return entry.model_dump(mode="json")
    return {
        name: Listed(map(_told, getattr(entry, name)))
        if name in _MANY_OF_TABLE
        else entry.model_dump(mode="json", include={name})[name]
        for name in TableEntry.model_fields
    }


_ENTRIES: dict[str | int, type[BaseModel]] = {
    "parts": PartEntry, "ranges": RangeEntry, "files": FileEntry
}  # fmt: skip
"""what the items of the long arrays are"""


def _whole(rest: Manifest, many: Entries) -> Manifest:
    """The manifest that was read without its long arrays, with these."""
    tables = tuple(
        table.model_copy(
            update={name: tuple(many.of(("tables", number, name))) for name in _MANY_OF_TABLE}
        )
        for number, table in enumerate(rest.tables)
    )
    return rest.model_copy(update={"tables": tables, "files": tuple(many.of(("files",)))})
