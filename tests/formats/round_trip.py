"""A table through everything that rows go through, into identical tables of the same database.

In every format, twice. By Convault: Postgres -> ADBC -> serialize -> store -> decompressed -> read
-> to_copy_text -> COPY -> Postgres. And by decoders that are not Convault's: zstandard, then json,
COPY's own CSV reader (into a table as well), Polars, DuckDB.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from typing import Any

import adbc_driver_postgresql.dbapi as adbc
import psycopg
import pyarrow as pa

from convault.dataset.masking import masked_expression
from convault.formats import compression
from convault.formats.base import Document
from convault.formats.copy_text import loadable, to_copy_text
from convault.formats.postgres_types import encoding_of, quoted
from convault.formats.registry import format_of
from convault.models import BackupFormat, Column
from convault.sources import session
from tests.formats.decoders import decoded, unpacked

LEVEL = 3


class RoundTrip:
    """Tables of one database; names of tables as SQL takes them."""

    def __init__(self, connection: psycopg.Connection[Any], reader: adbc.Connection) -> None:
        self.connection = connection
        self.reader = reader

    def columns(self, table: str) -> list[Column]:
        rows = self.connection.execute(
            "SELECT attname, attnum, format_type(atttypid, atttypmod), attnotnull, attgenerated,"
            " attidentity FROM pg_attribute WHERE attrelid = %s::regclass AND attnum > 0"
            " AND NOT attisdropped ORDER BY attnum",
            (table,),
        ).fetchall()
        return [Column(n, i, t, encoding_of(t), *rest) for n, i, t, *rest in rows]

    def read(self, table: str) -> pa.Table:
        """In the order of its pages, as the source reads it."""
        selected = ", ".join(map(masked_expression, self.columns(table)))
        with closing(self.reader.cursor()) as cursor:
            cursor.execute(f"SELECT {selected} FROM ONLY {table} ORDER BY ctid")
            return cursor.fetch_arrow_table()

    def documents(self, table: str, format: BackupFormat) -> list[Document]:
        """The rows of `table` as they are stored."""
        made = format_of(format)
        plain = made.serialize(self.read(table), self.columns(table), 1 << 20, LEVEL)
        return [made.store(document, LEVEL) for document in plain]

    def bring(self, table: str, copy: str, format: BackupFormat) -> None:
        """The rows of `table` into `copy`, which is made, by Convault's reader."""
        columns = self.columns(table)
        made = format_of(format)
        self._like(table, copy)
        names = ", ".join(quoted(column.name) for column in loadable(columns))
        statement = f"COPY {copy} {f'({names})' if names else ''} FROM STDIN".encode()
        plain = made.serialize(self.read(table), columns, 1 << 20, LEVEL)
        for document in plain:
            stored = made.store(document, LEVEL)
            pieces = compression.decompressed(
                [stored.data], name="part" + made.suffix(LEVEL), plain_bytes=len(document.data)
            )
            with self.connection.cursor() as cursor:
                with cursor.copy(statement) as load:
                    for rows in made.read(b"".join(pieces), columns):
                        load.write(to_copy_text(rows, columns))
                assert cursor.rowcount == document.rows

    def copy_csv(self, table: str, copy: str) -> None:
        """The rows of `table` into `copy`, which is made, by COPY's own CSV reader."""
        self._like(table, copy)
        for document in self.documents(table, BackupFormat.CSV):
            with self.connection.cursor() as cursor:
                with cursor.copy(f"COPY {copy} FROM STDIN (FORMAT csv, HEADER)".encode()) as load:
                    load.write(unpacked(document.data))
                assert cursor.rowcount == document.rows

    def ndjson(self, table: str) -> str:
        """The rows as NDJSON."""
        stored = self.documents(table, BackupFormat.JSON)
        return b"".join(unpacked(document.data) for document in stored).decode()

    def binary(self, table: str) -> bytes:
        """The rows as COPY's binary format has them: equal only if every value is, to the bit."""
        query = f"COPY (SELECT * FROM ONLY {table} ORDER BY ctid) TO STDOUT (FORMAT binary)"
        with self.connection.cursor() as cursor, cursor.copy(query.encode()) as copy:
            return b"".join(map(bytes, copy))

    def differing_rows(self, left: str, right: str) -> int:
        """Rows, by Postgres' output text, that are not in both tables as often."""
        columns = ", ".join(
            f"CASE WHEN num_nulls({name}) = 0 THEN format('%s', {name}) END"
            for name in (quoted(column.name) for column in self.columns(left))
        )
        rows = [f"SELECT {columns} FROM ONLY {table}" for table in (left, right)]
        found = self.connection.execute(
            f"SELECT count(*) FROM (({rows[0]} EXCEPT ALL {rows[1]})"
            f" UNION ALL ({rows[1]} EXCEPT ALL {rows[0]})) differing".encode()
        ).fetchone()
        assert found
        return int(found[0])

    def survives(self, table: str, *, to_the_bit: bool = True) -> str:
        """Assert that nothing changes in any format, by any reader; returns the NDJSON."""
        columns = self.columns(table)
        copies = []
        for format in BackupFormat:
            copy = f"{table}_{format}"
            self.bring(table, copy, format)
            copies.append(copy)
            self._others_read(table, columns, format)
        if loadable(columns) == columns:
            self.copy_csv(table, f"{table}_copied")
            copies.append(f"{table}_copied")
        for copy in copies:
            assert self.differing_rows(table, copy) == 0, copy
            if to_the_bit:
                assert self.binary(table) == self.binary(copy), copy
        return self.ndjson(table)

    def _others_read(self, table: str, columns: Sequence[Column], format: BackupFormat) -> None:
        rows = self.read(table)
        expected = [tuple(row.values()) for row in rows.to_pylist()]
        for decoder in decoded(format):
            found = [
                row
                for document in self.documents(table, format)
                for row in decoder(document.data, columns)
            ]
            assert found == expected, (table, format, decoder)

    def _like(self, table: str, copy: str) -> None:
        self.connection.execute(f"CREATE TABLE {copy} (LIKE {table} INCLUDING ALL)".encode())


@contextmanager
def round_trip(url: str) -> Iterator[RoundTrip]:
    """Both connections under the session settings of a backup."""
    with (
        closing(session.connect(url)) as connection,
        closing(adbc.connect(session.connection_string(url), autocommit=True)) as reader,
    ):
        with closing(reader.cursor()) as cursor:
            cursor.execute(session.settings_query(connection.info.server_version))
        yield RoundTrip(connection, reader)
