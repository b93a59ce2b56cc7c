"""Rows of a Postgres database, all of one snapshot.

The order of the steps is what makes it one: TRUNCATE and a rewriting ALTER TABLE are not kept apart
by a snapshot (a table that was emptied after the snapshot was fixed but before the table was locked
reads as empty, and even count(*) agrees), so the tables are locked before the snapshot is fixed.
And because they must be found before they can be locked, they are looked for again in the snapshot.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass, replace
from typing import Any, Literal

import psycopg
import pyarrow as pa

from convault import secrets
from convault.dataset.belonging import belonging
from convault.dataset.masking import SETTINGS_QUERY, masked_value
from convault.dataset.omissions import Outsider, unreachable, warnings
from convault.dataset.scope import Scope
from convault.errors import (
    LockNotAvailable,
    MissingTable,
    SnapshotLost,
    SourceError,
    SourceUnavailable,
)
from convault.models import Dataset, Range, SourceFacts, Statement, Table, TableName
from convault.per_page import Reading
from convault.ranges import row_digest, tids
from convault.ranges.range_keys import Fingerprint, Provenance
from convault.ranges.row_digest import Counted
from convault.sources.base import Shared
from convault.sources.columns import fitting, read_consequences
from convault.sources.failures import translated
from convault.sources.filtering import root_conditions
from convault.sources.outsiders import read_outsiders
from convault.sources.proof import leads_to, lock_query, locked_query, moved
from convault.sources.provenance import read_provenance
from convault.sources.readers import Readers, snapshot_lost
from convault.sources.refusals import (
    require_no_large_objects,
    require_rights,
    require_server,
    require_whole_pages,
)
from convault.sources.relations import read_dataset
from convault.sources.room import readers_allowed
from convault.sources.selection import Selected, count_selected, select
from convault.sources.server import log_position, system_identifier, who_holds
from convault.sources.session import (
    address,
    connect,
    connection_string,
    milliseconds,
    reader_options,
)
from convault.sources.settling import unsettled
from convault.sources.types import Facts, changed, read_facts
from convault.sources.users import referenced

CHECK_LOCK_TIMEOUT = 2.0
"""seconds that `check` waits for a table that somebody is changing"""
ATTEMPTS = 5
"""How often the tables are looked for before a schema that keeps changing is given up on."""

_Connection = psycopg.Connection[Any]


@dataclass(frozen=True, slots=True)
class Size:
    """Bytes of a table's own pages and of its TOAST."""

    heap: int
    toast: int


class PostgresSource:
    """Implements `sources.base.Source`. Connects when a snapshot is asked for, not before."""

    def __init__(
        self, url: str, *, scope: Scope, lock_timeout: float, readers: int = 1,
        connections: int | None = None,
    ) -> None:  # fmt: skip
        """`lock_timeout` is in seconds. `readers` is how many threads will read at the same time;
        more can, but somebody who waits for a table to be free keeps them from being opened.
        `connections` is how many there are at most, with the one that holds the snapshot; when that
        or the server allows fewer than `readers`, threads wait for one another."""
        self._url = url
        self._scope = scope
        self._lock_timeout = lock_timeout
        self._most = None if connections is None else max(1, connections - 1)
        self._readers = readers if self._most is None else min(readers, self._most)

    def check(self) -> None:
        """See `sources.base.Source`."""
        from convault.schema import read_statements

        connection = connect(self._url, lock_timeout=min(self._lock_timeout, CHECK_LOCK_TIMEOUT))
        try:
            with closing(connection), translated():
                dataset = find(connection, self._scope)
                with connection.transaction():
                    connection.execute("SET TRANSACTION READ ONLY")
                    root_conditions(connection, dataset, self._scope.filters)
                read_statements(connection, own(dataset))
        except LockNotAvailable:
            return  # whoever holds it may be gone when the snapshot is taken, which looks again

    @contextmanager
    def snapshot(self) -> Iterator[PostgresSnapshot]:
        """Lock, then snapshot, then catalogs, then sizes, and when all is read a look whether the
        types are what they were; see `sources.base.Source.snapshot`."""
        # Imported here, because the package of the schema's statements reads this one's catalogs.
        from convault.schema import read_statements

        exporter = connect(self._url, lock_timeout=self._lock_timeout)
        try:
            with translated():
                facts, dataset, readers = self._fixed(exporter)
                if self._scope.mask_key is not None:
                    # Counts digest what is stored: masks.
                    psycopg.RawCursor(exporter).execute(SETTINGS_QUERY, self._scope.mask_key.pads())
            try:
                with translated():
                    require_no_large_objects(exporter, dataset.tables)
                    meaning = read_facts(exporter, dataset)
                    consequences = read_consequences(exporter, dataset)
                    # What goes with the messages goes with them on purpose.
                    told = unreachable(dataset) if self._scope.exclude_tables else ()
                    statements = fitting(read_statements(exporter, own(dataset)), consequences)
                    outsiders = read_outsiders(exporter, dataset)
                    provenance = read_provenance(exporter, dataset, self._scope.mask_key)
                    page_bytes, sizes = measure(exporter, dataset)
                    selected = select(exporter, dataset, self._scope)
                yield PostgresSnapshot(
                    facts,
                    dataset,
                    statements,
                    outsiders,
                    provenance,
                    page_bytes,
                    sizes,
                    exporter,
                    readers,
                    selected,
                    (*told, *consequences.warnings),
                    settling=lambda position: unsettled(self._url, position),
                    url=self._url,
                )
            finally:
                readers.close()
            self._require_unchanged(dataset, meaning)
        finally:
            exporter.close()

    def _opened(
        self, exporter: _Connection, facts: SourceFacts, dataset: Dataset
    ) -> Readers | None:
        """None when somebody has come to wait for a table: better let them pass and begin anew."""
        number = readers_allowed(exporter, self._readers)
        most = self._most if number == self._readers else number
        readers = Readers(
            connection_string(self._url, options=reader_options(exporter)),
            dataset.tables,
            snapshot=facts.snapshot,
            server_version=exporter.info.server_version,
            lock_timeout=self._lock_timeout,
            check_exporter=lambda: answer(exporter),
            mask_key=self._scope.mask_key,
            most=most,
        )
        try:
            readers.open(number)
        except BaseException as error:
            readers.close()
            if isinstance(error, LockNotAvailable | SnapshotLost):
                return None
            raise
        return readers

    def _require_unchanged(self, dataset: Dataset, before: Facts) -> None:
        """SnapshotLost when values read since may not mean what the schema says of them."""
        try:
            connection = connect(self._url, lock_timeout=self._lock_timeout)
            with closing(connection), translated():
                now = read_facts(connection, dataset)
        except SourceUnavailable as error:
            raise SnapshotLost(
                f"Whether the schema is still what it was could not be asked: {error.message} The "
                "backup must start again under a new snapshot."
            ) from None
        name = changed(before, now)
        if name is not None:
            raise SnapshotLost(
                f"{name} was changed while rows were read, so the schema and the values that were "
                "read may not fit each other. The backup must start again under a new snapshot.",
                type=name,
            )

    def _fixed(self, exporter: _Connection) -> tuple[SourceFacts, Dataset, Readers]:
        """The facts of a snapshot that shows the very tables that are locked in it, and connections
        to read it that hold the locks as well."""
        for _ in range(ATTEMPTS):
            found = find(exporter, self._scope)
            begin(exporter, self._lock_timeout)
            if lock(exporter, found):
                facts = fix(exporter)
                if holds(exporter, found) and find_again(exporter, self._scope) == found:
                    readers = self._opened(exporter, facts, found)
                    if readers is not None:
                        return facts, found, readers
            exporter.execute("ROLLBACK")
        raise LockNotAvailable(
            f"Each of the {ATTEMPTS} times that a snapshot was taken, the tables had changed since "
            "they were found: somebody is changing the schema. Try again when that is done."
        )


def own(dataset: Dataset) -> Dataset:
    """The dataset without what is only kept for reference: what a restore makes."""
    return replace(dataset, tables=dataset.restored)


def find(connection: _Connection, scope: Scope) -> Dataset:
    """The dataset's tables, in a transaction of their own, which is over afterwards."""
    with connection.transaction():
        connection.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ READ ONLY")
        require_server(
            connection.info.server_version,
            connection.info.parameter_status("server_encoding") or "",
        )
        require_whole_pages(connection)
        found = read_dataset(connection, scope)
        require_rights(connection, found.tables)
    return found


def begin(connection: _Connection, lock_timeout: float) -> None:
    """Open the snapshot's transaction. Nothing in it may be a query yet: a query fixes the
    snapshot, and SET and LOCK are none."""
    connection.execute("BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY")
    connection.execute("SET LOCAL statement_timeout = 0")
    connection.execute("SET LOCAL idle_in_transaction_session_timeout = 0")
    connection.execute(f"SET LOCAL lock_timeout = {milliseconds(lock_timeout)}".encode())


def lock(connection: _Connection, dataset: Dataset) -> bool:
    """Keep TRUNCATE, DROP and rewrites away from every table; readers and writers go on as ever.

    False when a table is no longer there. LockNotAvailable tells who holds what.
    """
    try:
        connection.execute(lock_query(dataset.tables).encode())
    except (psycopg.errors.UndefinedTable, psycopg.errors.InvalidSchemaName):
        return False
    except psycopg.errors.LockNotAvailable:
        connection.execute("ROLLBACK")
        holders = who_holds(connection, dataset)
        raise LockNotAvailable(
            f"The tables could not be locked for reading: {holders or 'somebody'} holds or awaits "
            "an exclusive lock. Try again when that is done, or raise CONVAULT_LOCK_TIMEOUT.",
            table=dataset.tables[0].name,
        ) from None
    return True


def fix(connection: _Connection) -> SourceFacts:
    """Fix the snapshot by the first query of the transaction, and export it."""
    snapshot, at, database, oid, next_xid, started = connection.execute(
        "SELECT pg_catalog.pg_export_snapshot(), pg_catalog.statement_timestamp(), datname, oid,"
        " pg_catalog.pg_snapshot_xmax(pg_catalog.pg_current_snapshot())::pg_catalog.text,"
        " pg_catalog.pg_postmaster_start_time()"
        " FROM pg_catalog.pg_database WHERE datname = pg_catalog.current_database()"
    ).fetchone()  # type: ignore[misc]
    log = log_position(connection)  # only now: what the snapshot shows lies before it
    return SourceFacts(
        host=address(connection),
        database=database,
        system_identifier=system_identifier(connection),
        server_version=connection.info.parameter_status("server_version") or "",
        snapshot=snapshot,
        taken_at=at.isoformat(),
        timeline=log.timeline,
        database_oid=oid,
        wal_position=log.position,
        next_xid=int(next_xid),
        started_at=started.isoformat(),
    )


def holds(connection: _Connection, dataset: Dataset) -> bool:
    """Whether the lock is on the very tables that were found, not on namesakes."""
    return connection.execute(locked_query(dataset.tables).encode()).fetchone() == (True,)


def find_again(connection: _Connection, scope: Scope) -> Dataset:
    """The dataset as the snapshot shows it."""
    return read_dataset(connection, scope)


def measure(connection: _Connection, dataset: Dataset) -> tuple[int, dict[TableName, Size]]:
    """Bytes of a page, and the size of every table; last, so that every row the snapshot shows
    lies on a page that is counted."""
    oids = [table.oid for table in dataset.tables]
    rows = connection.execute(
        "SELECT c.oid, pg_catalog.pg_relation_size(c.oid),"
        " CASE c.reltoastrelid WHEN 0 THEN 0"
        "  ELSE pg_catalog.pg_relation_size(c.reltoastrelid) END"
        " FROM pg_catalog.pg_class c WHERE c.oid = ANY (%s)",
        (oids,),
    ).fetchall()
    sizes = {oid: Size(heap, toast) for oid, heap, toast in rows}
    block = connection.execute("SELECT pg_catalog.current_setting('block_size')::int").fetchone()
    assert block is not None
    return block[0], {table.name: sizes[table.oid] for table in dataset.tables}


def answer(connection: _Connection) -> None:
    """SnapshotLost unless the connection still answers in the transaction it is in."""
    try:
        connection.execute("SELECT 1")
    except psycopg.Error:
        raise snapshot_lost() from None


class PostgresSnapshot:
    """Implements `sources.base.Snapshot`: the exporter's connection, and a pool of readers."""

    consistency: Literal["snapshot", "per-page"] = "snapshot"
    lacks: tuple[str, ...] = ()

    def __init__(
        self, facts: SourceFacts, dataset: Dataset, statements: tuple[Statement, ...],
        outsiders: Sequence[Outsider], provenance: dict[TableName, Provenance], page_bytes: int,
        sizes: dict[TableName, Size], exporter: _Connection, readers: Readers,
        selected: Selected | None = None, consequences: Sequence[str] = (), *,
        settling: Callable[[str], str], url: str,
    ) -> None:  # fmt: skip
        self.facts = facts
        self.dataset = dataset
        self.statements = statements
        self.not_included = tuple(outsider.name for outsider in outsiders)
        self.selection = None if selected is None else selected.facts
        self.warnings = (
            *warnings(dataset, outsiders),
            *consequences,
            *secrets.warnings(statements),
            *(() if selected is None else selected.warnings),
        )
        self._provenance = provenance
        self._page_bytes = page_bytes
        self._sizes = sizes
        self._exporter = exporter
        self._readers = readers
        self._selected = selected
        self._settling = settling
        self._url = url
        (self._process,) = exporter.execute("SELECT pg_catalog.pg_backend_pid()").fetchone()  # type: ignore[misc]

    @property
    def page_bytes(self) -> int:
        """See `sources.base.Snapshot`."""
        return self._page_bytes

    def ranges(self, table: Table) -> Sequence[Range] | None:
        """None: by heap pages."""
        return None

    def late(self) -> Sequence[Range]:
        """None: a snapshot shows all rows at once."""
        return ()

    def readings(self) -> Mapping[TableName, Reading]:
        """Nothing: see `facts`."""
        return {}

    def heap_bytes(self, table: Table) -> int:
        """See `sources.base.Snapshot`."""
        return self._sizes[table.name].heap

    def total_bytes(self, table: Table) -> int:
        """See `sources.base.Snapshot`."""
        size = self._sizes[table.name]
        return size.heap + size.toast

    def pages(self, range_: Range) -> int | None:
        """See `sources.base.Snapshot`."""
        if self._selected is None:
            return None
        return tids.pages(self._selected.within(self.dataset.table(range_.table), range_))

    def read(self, range_: Range, *, skip_rows: int = 0) -> Iterator[pa.RecordBatch]:
        """See `sources.base.Snapshot`."""
        table = self.dataset.table(range_.table)
        belongs = belonging(self.dataset, range_.table)
        extra = None if belongs is None else belongs.expression
        rows = None if self._selected is None else self._selected.within(table, range_)
        condition = self._condition(table)
        return self._readers.read(table, range_, skip_rows, extra, rows, condition)

    def note(self, table: Table, columns: Sequence[str]) -> None:
        """Nothing to be done: the snapshot shows them at any time."""

    def column_values(self, table: Table, columns: Sequence[str]) -> Iterator[pa.RecordBatch]:
        """See `sources.base.Snapshot`."""
        by_name = {column.name: column for column in table.columns}
        narrow = replace(table, columns=tuple(by_name[name] for name in columns))
        rows = None if self._selected is None else self._selected.of(table)
        whole = Range(table.name, 0, None)
        return self._readers.read(narrow, whole, 0, None, rows, self._condition(table))

    def _condition(self, table: Table) -> str | None:
        """SQL for which of the table's rows are part of the backup; None for all of them, or where
        they are selected one by one."""
        if self._selected is not None or not table.reference_only:
            return None
        return referenced(self.dataset, table)

    def count(self, table: Table) -> int:
        """See `sources.base.Snapshot`."""
        return self._scan(table, "NULL")[0]

    def counted(self, table: Table) -> Counted:
        """See `sources.base.Snapshot`."""
        rows, total = self._scan(table, row_digest.aggregate(table.columns, masked_value))
        return Counted(rows, row_digest.from_sum(total))

    def _scan(self, table: Table, aggregate: str) -> tuple[int, str | None]:
        """It waits for its turn on the exporter's connection, whose lock on the table is already
        held and whose scans may run in parallel."""
        try:
            with translated(table=table.name):
                rows, leads, total = self._scanned(table, aggregate)
        except MissingTable:
            raise moved(table.name) from None
        except SourceError as error:
            if error.transient:
                raise snapshot_lost() from None
            raise
        if not leads:
            raise moved(table.name)
        return rows, total

    def _scanned(self, table: Table, aggregate: str) -> tuple[int, bool, str | None]:
        """Rows, whether the table's name leads to it, and what the aggregate gives."""
        if self._selected is not None:
            return count_selected(self._exporter, table, self._selected.of(table), aggregate)
        condition = self._condition(table)
        where = "" if condition is None else f" WHERE {condition}"
        row = self._exporter.execute(
            f"SELECT pg_catalog.count(*), {leads_to(table)}, {aggregate}"
            f" FROM ONLY {table.name.quoted}{where}".encode()
        ).fetchone()
        assert row is not None
        return int(row[0]), bool(row[1]), row[2]

    def provenance(self, table: Table) -> Provenance:
        """See `sources.base.Snapshot`."""
        return self._provenance[table.name]

    def fingerprint(self, range_: Range, *, digested: bool = False) -> Fingerprint:
        """See `sources.base.Snapshot`."""
        belongs = belonging(self.dataset, range_.table)
        extra = belongs.expression if belongs is not None and belongs.elsewhere else None
        table = self.dataset.table(range_.table)
        return self._readers.fingerprint(table, range_, extra, digested=digested)

    def range_digest(self, range_: Range) -> Counted:
        """See `sources.base.Snapshot`."""
        return self._readers.counted(self.dataset.table(range_.table), range_)

    def share(self, ranges: Sequence[Range]) -> Shared:
        """See `sources.base.Snapshot`."""
        selected = None
        if self._selected is not None:
            within = self._selected.within
            selected = {r: tids.to_bytes(within(self.dataset.table(r.table), r)) for r in ranges}
        return Shared(
            self.facts,
            self.dataset,
            self._exporter.info.server_version,
            reader_options(self._exporter),
            self._readers.mask_fingerprint,
            selected,
        )

    def unsettled(self) -> str:
        """See `sources.base.Snapshot`."""
        return self._settling(self.facts.wal_position)

    def check_alive(self) -> None:
        """See `sources.base.Snapshot`."""
        answer(self._exporter)

    def let_go(self) -> None:
        """The sessions are ended from another one: these may be in the middle of a query, or of
        waiting for whoever takes the rows. A server that cannot be reached ends them by itself."""
        pids = [self._process, *self._readers.close_all()]
        try:
            with translated(), closing(connect(self._url)) as connection:
                connection.execute(
                    "SELECT pg_catalog.pg_terminate_backend(pid) FROM pg_catalog.pg_stat_activity"
                    " WHERE pid = ANY (%s) AND usename = CURRENT_USER",
                    [pids],
                )
        except SourceError:
            return  # nobody answers: TCP's keepalives tell the server within minutes
