"""The protocol of a source: a place that rows come from."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Literal, Protocol, runtime_checkable

import pyarrow as pa

from convault.models import Dataset, Range, Selection, SourceFacts, Statement, Table, TableName
from convault.per_page import Reading
from convault.ranges.range_keys import Fingerprint, Provenance
from convault.ranges.row_digest import Counted


class Rows(Protocol):
    """What a reader of ranges needs of a snapshot; see there."""

    dataset: Dataset

    def read(self, range_: Range, *, skip_rows: int = 0) -> Iterator[pa.RecordBatch]:
        """The range's rows; see `Snapshot.read`."""


@dataclass(frozen=True, slots=True)
class Shared:
    """What another process needs to read some ranges in a snapshot, beside its own settings. Holds
    no secret and no row."""

    facts: SourceFacts
    dataset: Dataset
    server_version: int
    """as libpq counts it"""
    options: str
    """of the server's command line (`session.reader_options`)"""
    mask_key: str | None = None
    """fingerprint of the key that columns are hashed with"""
    selected: Mapping[Range, bytes] | None = None
    """places of the selected rows (8 bytes each, see `convault.ranges.tids`); None for all"""


class Snapshot(Protocol):
    """One moment of the source, from which everything of a backup is read.

    Its attributes are plain data. `read` and `count` may be called from any thread, any number of
    times, as long as the `Source.snapshot()` block is open.
    """

    facts: SourceFacts
    dataset: Dataset
    not_included: tuple[TableName, ...]
    """tables that lie in the dataset's schemas, or in `public`, and are not part of it"""
    consistency: Literal["snapshot", "per-page"]
    """whether all rows are of one moment"""
    lacks: tuple[str, ...]
    """what of the schema the source cannot tell, in words"""

    @property
    def selection(self) -> Selection | None:
        """How rows were selected; None when every row of the tables is read. Without a snapshot
        how many conversations match is only known when all is read."""

    @property
    def statements(self) -> tuple[Statement, ...]:
        """The schema, read in the snapshot."""

    @property
    def warnings(self) -> tuple[str, ...]:
        """Sentences for people about what the backup will not hold; names, never values. Without
        a snapshot they grow while rows are read."""

    def heap_bytes(self, table: Table) -> int:
        """Bytes of the table's own pages, measured after the snapshot was fixed."""

    def total_bytes(self, table: Table) -> int:
        """The same with its TOAST: what a reader may have to carry."""

    @property
    def page_bytes(self) -> int:
        """block_size of the server."""

    def ranges(self, table: Table) -> Sequence[Range] | None:
        """What the table is read in, where the source cuts it itself; None: by heap pages."""

    def late(self) -> Sequence[Range]:
        """When all ranges were read: those that turned out to be missing, to be read as well, and
        asked for again after that; none when there is nothing more. IncompleteBackup."""

    def readings(self) -> Mapping[TableName, Reading]:
        """When and how each table was read; nothing where there is a snapshot."""

    def pages(self, range_: Range) -> int | None:
        """How many pages of the range hold rows that are selected; None when all rows are read."""

    def read(self, range_: Range, *, skip_rows: int = 0) -> Iterator[pa.RecordBatch]:
        """The range's visible rows, of a filtered backup those that are selected, in a fixed
        order, in batches of about 2 MiB (one row may exceed that), after the first `skip_rows`: a
        reader that lost its connection goes on where it was.

        Columns are named and ordered as `Table.columns`; booleans and integers come as such,
        everything else as Postgres' own text. Behind them comes one more column where only a query
        tells which conversation a row belongs to (`convault.dataset.belonging`). A table without
        columns gives batches without columns, whose `num_rows` counts. An iterator that is left
        early must be closed.
        Raises SourceUnavailable (transient), SnapshotLost.
        """

    def note(self, table: Table, columns: Sequence[str]) -> None:
        """Say, before any row is read, that `column_values` will be asked for these columns."""

    def column_values(self, table: Table, columns: Sequence[str]) -> Iterator[pa.RecordBatch]:
        """These columns, in that order, of all the table's rows that `read` gives, and with the
        same values: what is masked is masked. Errors are those of `read`. An iterator that is left
        early must be closed."""

    def count(self, table: Table) -> int:
        """count(*) in the snapshot, without page ranges; of a filtered backup, of the rows that
        are selected."""

    def counted(self, table: Table) -> Counted:
        """The same, and in the same scan the digest of the rows (`convault.ranges.row_digest`)."""

    def provenance(self, table: Table) -> Provenance:
        """What the text of the table's rows depends on besides the rows, or why that cannot be
        told. Only for a table that holds rows itself."""

    def fingerprint(self, range_: Range, *, digested: bool = False) -> Fingerprint:
        """The versions of the range's visible rows, at a small part of what reading them costs;
        where only a query tells which conversation a row belongs to, with that; `digested`: with
        what `range_digest` tells, for rows that are read in any case. Any thread may call it.
        Raises SourceUnavailable (transient), SnapshotLost."""

    def range_digest(self, range_: Range) -> Counted:
        """The rows of a range of a backup that is not filtered, counted, and their digest: those of
        a table's ranges add up to its own. Any thread may call it; errors as of `fingerprint`."""

    def share(self, ranges: Sequence[Range]) -> Shared | None:
        """What another process needs to read these ranges (`sources.shared`); None where none can,
        because there is no snapshot."""

    def unsettled(self) -> str:
        """Why what the snapshot shows may not outlive a crash of the server, for people; '' when it
        does. It waits for the server's log to be flushed, some seconds at most. Keys of a backup
        must not be compared later when there is a reason: after such a crash other rows may come
        under the same numbers of transactions."""

    def check_alive(self) -> None:
        """SnapshotLost unless the connection that holds the snapshot still answers."""

    def let_go(self) -> None:
        """Have the server take back every lock and the snapshot, whatever is being read at the
        moment: what is at work then ends with SnapshotLost. Any thread may call it."""


@runtime_checkable
class Source(Protocol):
    """Where rows come from."""

    def check(self) -> None:
        """Whether what is asked for can be: the errors of `snapshot()` that do not depend on who
        holds a lock. So every name that it is asked for by leads somewhere, and nothing that it
        leaves out keeps a restore from working. Reads the catalogs only; may be called at any
        time."""

    def snapshot(self) -> AbstractContextManager[Snapshot]:
        """Lock the dataset's tables, fix one snapshot, read the catalogs in it; everything is let
        go when the block ends. Errors: the SourceError tree.

        When the block ends without an error SnapshotLost is raised if a type or schema of the
        dataset was changed meanwhile: nothing that was read in it may be used."""
