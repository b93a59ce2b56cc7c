"""What a manifest says of Storage files (docs/format.md, "Files"). Pure."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from convault.encryption.age import SUFFIX as ENCRYPTED
from convault.files.addresses import Address, Borders
from convault.files.columns import FileColumn
from convault.files.several import Form
from convault.models import TableName
from convault.names import file_path

Outcome = Literal["stored", "missing", "changed", "external"]
"""`changed`: each time it was read it was another one afterwards; `external`: not a file of this
project's Storage, or one that is not copied"""

_Sha256 = Annotated[str, Field(pattern="^[0-9a-f]{64}$")]
_Count = Annotated[int, Field(ge=0, lt=2**63)]
_Line = Annotated[str, Field(pattern=r"^[\x20-\x7e]{0,255}$")]
"""what may become the header of a request"""


class _Stored(BaseModel):
    # Format 1 may grow: what this version does not know, it passes over.
    model_config = ConfigDict(frozen=True, extra="ignore")


class Referrer(_Stored):
    """Rows that point at a file."""

    table: TableName
    column: str
    rows: _Count


class FileEntry(_Stored):
    """One file, and what became of it; or, of what is not this project's, what one host has."""

    outcome: Outcome
    bucket: str = ""
    path: str = ""
    """both '' for what is not this project's"""
    reason: str = ""
    """of `external`"""
    host: str = ""
    """of `external`: never more of a URL"""
    referrers: tuple[Referrer, ...] = ()
    """none when only a listing of the bucket named it"""
    key: str | None = None
    """None unless it is stored, as are the digests"""
    sha256: _Sha256 | None = None
    """of the stored bytes"""
    stored_bytes: _Count = 0
    plain_sha256: _Sha256 | None = None
    """of the file; an HMAC under `digest_key`, where there is one"""
    plain_bytes: _Count = 0
    digest_key: str | None = None
    """id of a digest key of the manifest's `encryption`; None when it is not encrypted"""
    content_type: _Line = ""
    cache_control: _Line = ""
    etag: _Line = ""
    modified: _Line = ""
    """when the file was written, as Storage told it"""
    version: _Line = ""
    metadata: dict[str, Any] = Field(default_factory=dict)
    """the uploader's own"""

    @property
    def stored(self) -> bool:
        """Whether the backup holds its bytes."""
        return self.outcome == "stored"

    @property
    def address(self) -> Address:
        """Where it was."""
        return Address(self.bucket, self.path)

    @property
    def encrypted(self) -> bool:
        """Whether the object is an age file."""
        return self.digest_key is not None

    @property
    def member(self) -> str:
        """Its name in the tar."""
        return file_path(self.bucket, self.path) + (ENCRYPTED if self.encrypted else "")


class ColumnEntry(_Stored):
    """A column whose values point at files."""

    table: TableName
    column: str
    bucket_column: str | None = None
    bucket: str | None = None
    form: Form = ""
    """of values that may point at several files"""
    rows: _Count
    """that point at something; of such values, how often they do"""

    @property
    def file_column(self) -> FileColumn:
        """As it is read."""
        return FileColumn(self.table, self.column, self.bucket_column, self.bucket, self.form)


class StorageFacts(_Stored):
    """Which Storage the files are of, and how they were found."""

    project: str
    """its URL; never a key"""
    hosts: tuple[str, ...]
    """under which a URL is this project's"""
    allowed: tuple[str, ...] = ()
    """buckets that files were copied from; none: any"""
    own: tuple[str, str] | None = None
    """bucket and prefix of the store, whose files are never copied"""
    columns: tuple[ColumnEntry, ...] = ()
    listed: tuple[str, ...] = ()
    """buckets of which every file was copied"""
    public: tuple[str, ...] = ()
    """of the buckets that files are of, those that everybody could read"""

    @property
    def borders(self) -> Borders:
        """What decides which references are this project's files."""
        own = None if self.own is None else Address(*self.own)
        return Borders(self.hosts, self.allowed, own)
