"""Connections that stream rows as Arrow, all of them in one snapshot."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager, nullcontext
from threading import BoundedSemaphore, Lock
from typing import Any

import adbc_driver_manager as adbc
import adbc_driver_postgresql.dbapi as driver
import polars as pl
import pyarrow as pa

from convault.dataset.masking import SETTINGS_QUERY, MaskKey, masked_expression, masked_value
from convault.errors import MissingTable, SnapshotLost, SourceError, SourceUnavailable
from convault.models import Range, Table
from convault.ranges import row_digest, tids
from convault.ranges.range_keys import Fingerprint
from convault.ranges.row_digest import Counted
from convault.sources.failures import STREAM_ERRORS, failure, sqlstate, translated
from convault.sources.proof import leads_to, lock_query, locked_query, moved
from convault.sources.session import milliseconds, settings_query

BATCH_BYTES = 2 * 1024 * 1024
"""What ADBC aims at for a batch. Bytes, not rows: 100 rows of 10 MB may lie on one page."""

SELECTED_ROWS = 20_000
"""Selected rows that one query reads: some 300 KB of SQL."""

_GONE = ("42704", "22023")
"""SET TRANSACTION SNAPSHOT's answer to a snapshot it does not know: Postgres 16 on, and before."""


class Readers:
    """A pool that grows to as many connections as threads read at the same time.

    Each stays in one transaction that imported the snapshot, and keeps a lock on every table from
    its first moment: one that asked for a lock only when it comes to the table would wait behind
    everybody who waits for the exporter's to go. `close()` closes those that are idle; one that is
    in use is closed when its reading ends.
    """

    def __init__(
        self, parameters: str, tables: Sequence[Table], *, snapshot: str, server_version: int,
        lock_timeout: float, check_exporter: Callable[[], None], mask_key: MaskKey | None = None,
        most: int | None = None,
    ) -> None:  # fmt: skip
        """`parameters` as `session.connection_string` gives them; `lock_timeout` in seconds;
        `check_exporter` raises SnapshotLost when it is gone; `mask_key` where columns are
        hashed; `most`: connections at the same time."""
        self._parameters = parameters
        self._tables = tables
        self._snapshot = snapshot
        self._server_version = server_version
        self._lock_timeout = lock_timeout
        self._check_exporter = check_exporter
        self._mask_key = mask_key
        self._idle: list[driver.Connection] = []
        self._processes: dict[int, int] = {}
        """of the server, by `id` of the connection"""
        self._turns = nullcontext() if most is None else BoundedSemaphore(most)
        self._closed = False
        self._guard = Lock()

    @property
    def mask_fingerprint(self) -> str | None:
        """Of the key that columns are hashed with; None where none are."""
        return None if self._mask_key is None else self._mask_key.fingerprint()

    def open(self, number: int) -> None:
        """Have so many connections ready. LockNotAvailable when somebody already waits for one of
        the tables; SourceUnavailable."""
        for _ in range(number):
            connection = self._open()
            with self._guard:
                self._idle.append(connection)

    def read(
        self, table: Table, range_: Range, skip_rows: int, extra: str | None = None,
        selected: pl.Series | None = None, condition: str | None = None,
    ) -> Iterator[pa.RecordBatch]:  # fmt: skip
        """The rows of a range, or those `selected` of it (`convault.ranges.tids`); see
        `sources.base.Snapshot.read`. `extra` is SQL for a last column, `condition` SQL for which
        rows, when none are selected; both may read others of the tables."""
        named = [table] if extra is None and condition is None else self._tables
        rows = 0
        with self._borrowed(named, range_) as connection:
            for query in queries(table, range_, skip_rows, extra, selected, condition):
                for batch in _batches(connection, query):
                    rows += batch.num_rows
                    yield batch
            expected = None if selected is None else max(0, len(selected) - skip_rows)
            # A condition finds nothing in namesakes, and so may find too little.
            doubted = not rows or expected not in (None, rows) or condition is not None
            if doubted and not _lead_to(connection, [table] if condition is None else named):
                raise moved(table.name)

    def fingerprint(
        self, table: Table, range_: Range, extra: str | None = None, *, digested: bool = False
    ) -> Fingerprint:
        """See `sources.base.Snapshot.fingerprint`; `extra` is SQL for a text that counts too, which
        may read others of the tables."""
        aggregate = row_digest.aggregate(table.columns, masked_value) if digested else "NULL"
        query = fingerprint_query(table, range_, extra, aggregate)
        named = [table] if extra is None else self._tables
        with self._borrowed(named, range_) as connection, closing(connection.cursor()) as cursor:
            cursor.execute(query)
            row = cursor.fetchone()
            assert row is not None
            if not row[0] and not _lead_to(connection, [table]):
                raise moved(table.name)
        return Fingerprint(row[0], tuple(row[1:-1]), row_digest.from_sum(row[-1]))

    def counted(self, table: Table, range_: Range) -> Counted:
        """See `sources.base.Snapshot.range_digest`."""
        aggregate = row_digest.aggregate(table.columns, masked_value)
        query = f"SELECT pg_catalog.count(*), {aggregate} {_from(table, range_)}"
        with self._borrowed([table], range_) as connection, closing(connection.cursor()) as cursor:
            cursor.execute(query)
            row = cursor.fetchone()
            assert row is not None
            if not row[0] and not _lead_to(connection, [table]):
                raise moved(table.name)
        return Counted(row[0], row_digest.from_sum(row[1]))

    def close(self) -> None:
        """Close what is idle, and let nothing be borrowed any more."""
        with self._guard:
            self._closed = True
            idle, self._idle = self._idle, []
        for connection in idle:
            self._close(connection)

    def _close(self, connection: driver.Connection) -> None:
        with self._guard:
            self._processes.pop(id(connection), None)
        _close(connection)

    def close_all(self) -> list[int]:
        """Let nothing be borrowed any more, and leave the connections as they are: the processes
        of the server that are behind them, for whoever ends these. Any thread may call it."""
        with self._guard:
            self._closed = True
            return list(self._processes.values())

    @contextmanager
    def _borrowed(self, named: Sequence[Table], range_: Range) -> Iterator[driver.Connection]:
        """For a query that calls the `named` tables by their names."""
        with self._turns:
            yield from self._lent(named, range_)

    def _lent(self, named: Sequence[Table], range_: Range) -> Iterator[driver.Connection]:
        connection = self._take(range_)
        intact = False
        try:
            yield connection
            intact = True
        except STREAM_ERRORS as error:
            raise self._told(error, connection, named, range_) from None
        finally:
            # A connection that failed, or whose result was not read to its end, is not used again.
            with self._guard:
                keep = intact and not self._closed
                if keep:
                    self._idle.append(connection)
            if not keep:
                self._close(connection)

    def _take(self, range_: Range) -> driver.Connection:
        with self._guard:
            if self._closed:
                raise SnapshotLost("The snapshot is closed: rows are read inside its block only.")
            if self._idle:
                return self._idle.pop()
        try:
            return self._open()
        except SourceUnavailable:
            self._check_exporter()
            raise

    def _open(self) -> driver.Connection:
        with translated():
            connection = driver.connect(self._parameters)
        try:
            with translated(), closing(connection.cursor()) as cursor:
                self._import_snapshot(cursor)
                cursor.execute(settings_query(self._server_version))
                # A parallel or another scan would not give the rows in the order of their pages.
                cursor.execute("SET LOCAL max_parallel_workers_per_gather = 0")
                cursor.execute("SET LOCAL enable_tidscan = on")
                cursor.execute(f"SET LOCAL lock_timeout = {milliseconds(self._lock_timeout)}")
                if self._mask_key is not None:
                    cursor.execute(SETTINGS_QUERY, self._mask_key.pads())
                    cursor.fetchall()
                self._lock(cursor)
                cursor.execute("SELECT pg_catalog.pg_backend_pid()")
                (process,) = cursor.fetchone()
        except BaseException:
            _close(connection)
            raise
        with self._guard:
            self._processes[id(connection)] = process
        return connection

    def _import_snapshot(self, cursor: Any) -> None:
        try:
            cursor.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ READ ONLY")
            cursor.execute(f"SET TRANSACTION SNAPSHOT '{self._snapshot}'")
        except adbc.Error as error:
            if sqlstate(error) in _GONE:
                raise snapshot_lost() from None
            raise

    def _lock(self, cursor: Any) -> None:
        try:
            with translated():
                cursor.execute(lock_query(self._tables))
        except MissingTable:
            raise moved() from None
        cursor.execute(locked_query(self._tables))
        if cursor.fetchone() != (True,):
            raise moved()

    def _told(
        self, error: Exception, connection: driver.Connection, named: Sequence[Table], range_: Range
    ) -> SourceError:
        """What went wrong; in the middle of a result ADBC loses the SQLSTATE."""
        if isinstance(error, adbc.Error):
            known = failure(error, table=range_.table, range=range_)
            # A namesake may lack a column, or the role's privilege.
            if not known.transient and _answers(connection) and not _lead_to(connection, named):
                return moved(named[0].name) if len(named) == 1 else moved()
        elif _answers(connection) and "canceling statement" in str(error):
            # By an administrator, or on a standby by a conflict with recovery.
            known = SourceUnavailable(
                f"Somebody cancelled the query while {range_} were read. Trying again can help.",
                table=range_.table,
                range=range_,
            )
        elif _answers(connection):
            return SourceError(
                f"The source reported an error while {range_} were read. Its own log says which; "
                "a damaged page or TOAST value, or a failing generated column can be the cause.",
                table=range_.table,
                range=range_,
            )
        else:
            known = SourceUnavailable(
                f"The connection to the source was lost while {range_} were read. Trying again "
                "can help.",
                table=range_.table,
                range=range_,
            )
        if isinstance(known, SourceUnavailable):
            try:
                self._check_exporter()
            except SnapshotLost as lost:
                return lost
        return known


def queries(
    table: Table, range_: Range, skip_rows: int = 0, extra: str | None = None,
    selected: pl.Series | None = None, condition: str | None = None,
) -> Iterator[str]:  # fmt: skip
    """What gives the rows of a range one after the other, or those selected of it."""
    if selected is None:
        yield range_query(table, range_, skip_rows, extra, condition)
        return
    for batch in tids.slices(selected.slice(skip_rows), SELECTED_ROWS):
        # A TID scan sorts what it is given, and a whole scan is in the same order.
        where = f"ctid = ANY ({tids.literal(batch)}) AND tableoid = {table.oid}"
        yield f"SELECT {_columns(table, extra)} FROM ONLY {table.name.quoted} WHERE {where}"


def range_query(
    table: Table, range_: Range, skip_rows: int = 0,
    extra: str | None = None, condition: str | None = None,
) -> str:  # fmt: skip
    """The query that reads a range: FROM ONLY, or inheritance children repeat the page numbers. Of
    a namesake of the table it reads nothing; `extra` is SQL for a last column, `condition` for
    which rows."""
    offset = f" OFFSET {skip_rows}" if skip_rows else ""
    # A condition may be answered by a join, which keeps no order.
    where = "" if condition is None else f" AND {condition} ORDER BY ctid"
    return f"SELECT {_columns(table, extra)} {_from(table, range_)}{where}{offset}"


def fingerprint_query(
    table: Table, range_: Range, extra: str | None = None, aggregate: str = "NULL"
) -> str:
    """The query that counts the rows of a range and sums hashes of their versions: where each lies
    and which transaction wrote it. `extra` is SQL for a text that is hashed along with them, and
    `aggregate` SQL for what else the scan tells."""
    version = "pg_catalog.hashtidextended(ctid, xmin::pg_catalog.text::pg_catalog.int8)"
    hashes = [version]
    if extra is not None:
        # By its bytes: a collation may take different texts for the same.
        text = f'({extra})::pg_catalog.text COLLATE pg_catalog."C"'
        hashes.append(f"pg_catalog.hashtextextended({text}, {version})")
    sums = ", ".join(f"coalesce(pg_catalog.sum({hash_}), 0)::pg_catalog.text" for hash_ in hashes)
    return f"SELECT pg_catalog.count(*), {sums}, {aggregate} {_from(table, range_)}"


def _from(table: Table, range_: Range) -> str:
    where = f"ctid >= '({range_.first_page},0)'"
    if range_.end_page is not None:
        where += f" AND ctid < '({range_.end_page},0)'"
    return f"FROM ONLY {table.name.quoted} WHERE {where} AND tableoid = {table.oid}"


def _columns(table: Table, extra: str | None) -> str:
    """Of a masked column only the mask."""
    expressions = [masked_expression(column) for column in table.columns]
    if extra is not None:
        expressions.append(f'{extra} AS "convault conversation"')
    return ", ".join(expressions)


def _batches(connection: driver.Connection, query: str) -> Iterator[pa.RecordBatch]:
    with closing(connection.cursor()) as cursor:
        cursor.adbc_statement.set_options(
            **{"adbc.postgresql.batch_size_hint_bytes": str(BATCH_BYTES)}
        )
        cursor.execute(query)
        with cursor.fetch_record_batch() as batches:
            yield from batches


def snapshot_lost() -> SnapshotLost:
    """The error for a snapshot that no longer exists."""
    return SnapshotLost(
        "The connection that held the snapshot was lost, so what was read and what is left to read "
        "would not be of one moment. The backup must start again under a new snapshot."
    )


def _answers(connection: driver.Connection) -> bool:
    try:
        connection.rollback()
        with closing(connection.cursor()) as cursor:
            cursor.execute("SELECT 1")
            cursor.fetchall()
    except STREAM_ERRORS:
        return False
    return True


def _lead_to(connection: driver.Connection, tables: Sequence[Table]) -> bool:
    with closing(connection.cursor()) as cursor:
        cursor.execute(f"SELECT {' AND '.join(map(leads_to, tables))}")
        return bool(cursor.fetchone() == (True,))


def _close(connection: driver.Connection) -> None:
    try:
        connection.close()
    except adbc.Error:
        return  # it was lost: nothing is open on either side
