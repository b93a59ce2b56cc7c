"""The values that travel between the parts of Convault: options, tables, ranges, receipts."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Annotated, Any, Literal, NamedTuple, Self

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    StrictBool,
    ValidationError,
    WithJsonSchema,
    field_validator,
    model_validator,
)
from pydantic.alias_generators import to_camel

from convault.dataset.period import order_fault, parsed
from convault.errors import OptionsError
from convault.validation import reasons

MAX_PART_BYTES = 32 * 1024 * 1024
"""Plain bytes of a part at most (a single row may exceed it). Repository format, docs/format.md."""

MAX_OPTIONS_BYTES = 500_000
"""Of options as JSON in ASCII. Prefect keeps parameters of 524,288 bytes at most, and its own error
would quote them."""


class BackupFormat(StrEnum):
    """How rows are written."""

    JSON = "json"
    CSV = "csv"
    PARQUET = "parquet"


def _text(value: Any) -> Any:
    """Numbers are taken for their digits; what Postgres can have in no text is refused."""
    text = str(value) if type(value) is int else value
    if isinstance(text, str) and ("\0" in text or not _encodes(text)):
        raise ValueError("holds a character that no value in Postgres can have")
    return text


def _encodes(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def _a_list(value: Any) -> Any:
    if not isinstance(value, list | tuple):
        raise ValueError("must be a list")
    return value


def _not_empty(values: tuple[str, ...]) -> tuple[str, ...]:
    if not values:
        raise ValueError("is an empty list: name at least one, or leave it out")
    return values


def _listed(value: Any) -> Any:
    return (value,) if isinstance(value, str) else value


Id = Annotated[
    str,
    BeforeValidator(_text),
    Field(min_length=1),
    WithJsonSchema({"anyOf": [{"type": "string", "minLength": 1}, {"type": "integer"}]}),
]
"""A value that a column is compared with, as text; the column's type decides what it means."""

Values = Annotated[
    tuple[Id, ...],
    BeforeValidator(_a_list),
    AfterValidator(_not_empty),
    Field(json_schema_extra={"minItems": 1}),
]
_VALUES_OR_ONE = {
    "anyOf": [
        {"type": "string", "minLength": 1},
        {"type": "array", "items": {"type": "string", "minLength": 1}, "minItems": 1},
    ]
}
_MOMENT: dict[str, Any] = {"examples": ["2026-01-31", "2026-01-31T08:00:00-03:00"]}


def _table_pattern(text: str) -> str:
    if not text or "\0" in text or not _encodes(text) or text.startswith(".") or text.endswith("."):
        raise ValueError("not the name of a table: write `table` or `schema.table`")
    return text


def _column_name(text: str) -> str:
    parts = text.split(".")
    if "\0" in text or not _encodes(text) or len(parts) < 2 or not all(parts):
        raise ValueError("not the name of a column: write `table.column` or `schema.table.column`")
    return text


TablePattern = Annotated[str, AfterValidator(_table_pattern), Field(max_length=200)]
"""`table` or `schema.table`, of schema `public` unless told; `*` stands for any characters"""
ColumnName = Annotated[str, AfterValidator(_column_name), Field(max_length=300)]
"""`table.column` or `schema.table.column`, of schema `public` unless told"""
BucketName = Annotated[str, Field(pattern=r"^[A-Za-z0-9_!.*'() &$@=;:+,?-]{1,100}$")]
"""of Storage"""
Mask = Literal["null", "hash"]
"""What is kept of a column's values: nothing, or a keyed hash that keeps equality."""

_MOST_NAMES = 1000


class BackupOptions(BaseModel):
    """What a backup is asked to hold. JSON is camelCase; Python and input also take snake_case."""

    model_config = ConfigDict(
        alias_generator=to_camel, populate_by_name=True, extra="forbid", frozen=True
    )

    include_messages: StrictBool = True
    """false leaves out the table of messages, and what belongs to conversations only through it"""
    include_attachments: StrictBool = False
    """copy the Storage files that rows point at; the rows that describe attachments are part of the
    dataset either way"""
    strict_attachments: StrictBool = False
    """let not one of the files be missing"""
    buckets: Annotated[tuple[BucketName, ...], Field(max_length=100)] | None = None
    """copy every file of these buckets, whether rows point at it or not"""
    format: BackupFormat = BackupFormat.JSON
    compression_level: int = Field(default=3, ge=0, le=22)
    """zstd's level; 0 stores plain."""
    exclude_tables: tuple[TablePattern, ...] = Field(default=(), max_length=_MOST_NAMES)
    """tables that are left out, with everything that belongs to the backup only through them"""
    exclude_columns: tuple[ColumnName, ...] = Field(default=(), max_length=_MOST_NAMES)
    """columns whose values are not read; a restored table has them, with their default or NULL"""
    mask_columns: dict[ColumnName, Mask] = Field(default_factory=dict, max_length=_MOST_NAMES)
    """columns of whose values only a mask leaves the database"""
    include_users: StrictBool = False
    """keep key and email of the rows of `auth.users` that the backup's rows reference"""
    full: StrictBool = False
    """read every row again, also what an earlier backup holds unchanged, and compare"""

    @model_validator(mode="after")
    def _one_thing_for_a_column(self) -> BackupOptions:
        both = sorted(set(self.exclude_columns) & set(self.mask_columns))
        if both:
            raise ValueError(f"{both[0]} cannot be both excluded and masked: choose one")
        return self

    conversation_ids: Values | None = None
    """only these conversations, by primary key"""
    start_date: Annotated[str, Field(json_schema_extra=_MOMENT)] | None = None
    """only conversations created then or later: a day, or a time"""
    end_date: Annotated[str, Field(json_schema_extra=_MOMENT)] | None = None
    """only conversations created before that time, or through that day"""
    status: Annotated[Values, BeforeValidator(_listed), WithJsonSchema(_VALUES_OR_ONE)] | None = (
        None
    )
    """only conversations with one of these statuses"""
    channel_ids: Values | None = None
    """only conversations of these channels"""
    participant_ids: Values | None = None
    """only conversations in which one of these takes part"""
    tables: Values | None = None
    """instead of the conversations, the tables whose names match: `schema.*`, `*.*`, `table`"""

    @field_validator("start_date", "end_date")
    @classmethod
    def _moment(cls, value: str | None) -> str | None:
        if value is not None:
            parsed(value)
        return value

    @model_validator(mode="after")
    def _strict_about_something(self) -> Self:
        if self.strict_attachments and not (self.include_attachments or self.buckets):
            raise ValueError(
                "strictAttachments is about files, and none are asked for: add includeAttachments"
                " or buckets"
            )
        return self

    @model_validator(mode="after")
    def _fits_together(self) -> Self:
        fault = order_fault(self.start_date, self.end_date)
        if fault is not None:
            raise ValueError(fault)
        if self.tables is not None:
            asked = self.model_dump(by_alias=True, include=_OF_CONVERSATIONS, exclude_none=True)
            others = [n for n, value in asked.items() if n != "includeMessages" or value is False]
            if others:
                raise ValueError(
                    f"tables cannot be combined with {', '.join(others)}: these choose among"
                    " conversations, and tables are backed up whole"
                )
        return self

    @model_validator(mode="after")
    def _within_bounds(self) -> Self:
        size = len(json.dumps(self.model_dump(mode="json", by_alias=True)))
        if size > MAX_OPTIONS_BYTES:
            raise ValueError(
                f"they take {size} bytes, and {MAX_OPTIONS_BYTES} is the most (some 12,000 ids):"
                " use other filters, or make several backups"
            )
        return self

    @classmethod
    def parse(cls, values: object) -> BackupOptions:
        """Read options from JSON-like `values`; OptionsError names each field that is wrong."""
        try:
            return cls.model_validate(values)
        except ValidationError as error:
            raise OptionsError(
                f"These options cannot be used: {reasons(error, 'options')}. See `convault "
                "backup --help`."
            ) from None

    def to_json(self) -> dict[str, object]:
        """The options with the names that the API and Prefect use; without those that ask for
        nothing."""
        return self.model_dump(mode="json", by_alias=True, exclude_none=True)


_OF_CONVERSATIONS = {
    "include_messages", "conversation_ids", "start_date", "end_date", "status", "channel_ids",
    "participant_ids",
}  # fmt: skip


class TableName(NamedTuple):
    """A table's schema and name, as the catalog has them (no quotes)."""

    schema: str
    name: str

    def __str__(self) -> str:
        return f"{self.schema}.{self.name}"

    @property
    def quoted(self) -> str:
        """The name as SQL takes it, whatever characters it holds."""
        return ".".join('"' + part.replace('"', '""') + '"' for part in self)


Encoding = Literal["boolean", "integer", "text"]
"""How a column's values stand in a part: a JSON boolean, a JSON integer, or Postgres' own text."""


@dataclass(frozen=True, slots=True)
class Column:
    """A live column of a table."""

    name: str
    number: int
    """pg_attribute.attnum"""
    type: str
    """format_type(), with every schema but pg_catalog spelled out"""
    encoding: Encoding
    not_null: bool
    generated: str
    """'' or 's' (stored) or 'v' (virtual): such a column is read, but never loaded"""
    identity: str
    """'' or 'a' (always) or 'd' (by default)"""
    mask: Literal["", "null", "hash"] = ""
    """what stands in the place of the values, which did not leave the database"""


@dataclass(frozen=True, slots=True)
class Table:
    """A table of the dataset. Rows are read FROM ONLY it; a partitioned table itself holds none."""

    name: TableName
    oid: int
    kind: Literal["r", "p"]
    """pg_class.relkind: ordinary or partitioned"""
    columns: tuple[Column, ...]
    primary_key: tuple[str, ...]
    parents: tuple[TableName, ...]
    """the table that this is a partition of, or those it inherits from"""
    reference_only: bool = False
    """somebody else's table (`auth.users`), of which only the rows that the dataset's rows
    reference are kept, and of these few columns; never made or filled by a restore"""


@dataclass(frozen=True, slots=True)
class ForeignKey:
    """One foreign key. `references` may lie in a schema that Supabase manages."""

    name: str
    table: TableName
    columns: tuple[str, ...]
    references: TableName
    referenced_columns: tuple[str, ...]
    declared: bool = False
    """given by CONVAULT_RELATIONS: the schema has no such constraint, and `name` is ''"""


@dataclass(frozen=True, slots=True)
class Absence:
    """A table, or a column of a table, that would be part of the backup, and is not."""

    table: TableName
    column: str | None
    """None: the table as a whole, with its partitions"""
    reason: Literal["excluded", "unreachable"]
    """left out as asked for, or belonging to the backup only through what is left out"""

    @property
    def name(self) -> str:
        """Of the table or the column."""
        return str(self.table) if self.column is None else f"{self.table}.{self.column}"


@dataclass(frozen=True, slots=True)
class Dataset:
    """The tables that belong together, parents before children wherever keys allow."""

    root: TableName | None
    """None when the tables were named rather than found from conversations"""
    tables: tuple[Table, ...]
    foreign_keys: tuple[ForeignKey, ...]
    absent: tuple[Absence, ...] = ()

    @property
    def restored(self) -> tuple[Table, ...]:
        """The tables that a restore makes and fills: all but those kept for reference."""
        return tuple(table for table in self.tables if not table.reference_only)

    def table(self, name: TableName) -> Table:
        """The table of that name; KeyError when the dataset has none."""
        for table in self.tables:
            if table.name == name:
                return table
        raise KeyError(str(name))


def _several(needs: object) -> object:
    """Manifests of 0.1.0 name one thing, or null."""
    if needs is None or isinstance(needs, list):
        return tuple(needs or ())
    return (needs,) if isinstance(needs, str) else needs


@dataclass(frozen=True, slots=True)
class Statement:
    """One SQL statement of the schema. Statements of a backup stand in the order they must run."""

    kind: str
    """schema, extension, collation, text search, type, function, sequence, table, partition,
    column default, column setting, row security, primary key, index, constraint, foreign key,
    sequence value, statistics, trigger, policy, comment, privilege"""
    name: str
    """of the object, schema-qualified, for people and for filters"""
    sql: str
    """no trailing semicolon"""
    after_data: bool
    """runs after the rows are loaded"""
    needs: Annotated[tuple[str, ...], BeforeValidator(_several)] = ()
    """what must be there that is not part of the backup: relations (`auth.users`), functions
    (`auth.uid()`), types, operators, roles (`role anon`), extensions that the target can install
    (`extension moddatetime`); left out where one of them is not"""
    redacted: tuple[str, ...] = ()
    """kinds of secrets that a marker stands for in `sql`, once each (`convault.secrets`)"""


@dataclass(frozen=True, slots=True)
class Range:
    """Heap pages [first_page, end_page) of one table: the unit of change detection.

    `end_page` is None for a table's last range, which reads to the end whatever the size was.
    """

    table: TableName
    first_page: int
    end_page: int | None

    def __str__(self) -> str:
        end = "end" if self.end_page is None else str(self.end_page - 1)
        return f"{self.table} pages {self.first_page}-{end}"


@dataclass(frozen=True, slots=True)
class Selection:
    """How the rows of a filtered backup were selected: the root's rows that match all of the
    filters, what belongs to these, and what any of them references."""

    filters: tuple[str, ...]
    """names of the options that filter"""
    start: str | None
    """of `startDate`: ISO 8601 in UTC, inclusive"""
    end: str | None
    """of `endDate`: ISO 8601 in UTC, exclusive"""
    time_zone: str
    """in which bare days were read"""
    conversations: int
    """rows of the root that match"""

    @property
    def empty(self) -> bool:
        """Whether nothing matched: then no table has a row in the backup."""
        return self.conversations == 0


@dataclass(frozen=True, slots=True)
class RangeKey:
    """A range, and the key under which its rows are known again. Equal keys mean that the same rows
    would be stored in the same way; docs/format.md, "Range keys"."""

    range: Range
    rows: int | None = None
    """counted when the key was made; None without a key"""
    key: str | None = None
    """SHA-256, hex"""
    reason: str = ""
    """for people: why there is no key"""
    taken_over: bool = False
    """whether its parts are those of the parent backup"""
    read_because: str = ""
    """for people: why its rows were read; '' when it was taken over"""
    digest: str | None = None
    """of its rows (`convault.ranges.row_digest`); None where it is not known"""


@dataclass(frozen=True, slots=True)
class Chunk:
    """Ranges that one worker carries through fetch, serialize, compress, upload."""

    number: int
    ranges: tuple[Range, ...]
    heap_bytes: int
    """estimate of what the ranges hold, in bytes"""


@dataclass(frozen=True, slots=True)
class Part:
    """The receipt of one stored object: rows of one range. Of their values it holds none but the
    keys of their conversations."""

    range: Range
    ordinal: int
    """0, 1, ... within its range"""
    key: str
    """in the repository"""
    sha256: str
    """of the stored bytes, hex; also the object's name"""
    stored_bytes: int
    plain_sha256: str
    """of the document; an HMAC under `digest_key`, where there is one"""
    plain_bytes: int
    rows: int
    conversations: bytes = field(default=b"", repr=False)
    """which conversations the rows belong to (`convault.index.entries`); empty when that cannot be
    told"""
    digest_key: str | None = None
    """id of the key of `plain_sha256`; None when the part is not encrypted"""


@dataclass(frozen=True, slots=True)
class StepSeconds:
    """Wall seconds that a chunk spent in each step."""

    fetch: float = 0.0
    serialize: float = 0.0
    compress: float = 0.0
    upload: float = 0.0

    def __add__(self, other: StepSeconds) -> StepSeconds:
        return StepSeconds(
            self.fetch + other.fetch,
            self.serialize + other.serialize,
            self.compress + other.compress,
            self.upload + other.upload,
        )


@dataclass(frozen=True, slots=True)
class ChunkReceipt:
    """What a worker returns for a chunk."""

    number: int
    parts: tuple[Part, ...]
    seconds: StepSeconds


@dataclass(frozen=True, slots=True)
class SourceFacts:
    """Where the rows come from. Never credentials."""

    host: str
    database: str
    system_identifier: str
    """pg_control_system(), or '' where the role may not ask"""
    server_version: str
    snapshot: str
    """pg_export_snapshot()"""
    taken_at: str
    """when the snapshot was fixed, by the source's clock; ISO 8601 in UTC"""
    timeline: int | None = None
    """of the cluster's write-ahead log; None where the role may not ask"""
    database_oid: int | None = None
    wal_position: str = ""
    """as `pg_lsn` writes it: where the log was inserted to when the snapshot was fixed; on a
    standby, replayed to. '' where the role may not ask"""
    next_xid: int | None = None
    """the first transaction (64 bits, pg_snapshot_xmax) that the snapshot knows nothing of"""
    started_at: str = ""
    """when the server process was started; ISO 8601 in UTC"""
