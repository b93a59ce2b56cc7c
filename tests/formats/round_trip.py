"""A table through everything that rows go through, into an identical table of the same database.

Postgres -> ADBC -> serialize -> compress -> decompressed -> to_copy_text -> COPY -> Postgres.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing, contextmanager
from typing import Any

import adbc_driver_postgresql.dbapi as adbc
import psycopg
import pyarrow as pa

from convault.formats import compression, ndjson
from convault.formats.postgres_types import encoding_of, quoted, select_expression
from convault.models import Column
from convault.sources import session


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
        selected = ", ".join(map(select_expression, self.columns(table)))
        with closing(self.reader.cursor()) as cursor:
            cursor.execute(f"SELECT {selected} FROM ONLY {table} ORDER BY ctid")
            return cursor.fetch_arrow_table()

    def bring(self, table: str, copy: str, *, max_bytes: int = 1 << 20) -> str:
        """The rows of `table` into `copy`, which is made; returns them as NDJSON."""
        columns = self.columns(table)
        self.connection.execute(f"CREATE TABLE {copy} (LIKE {table} INCLUDING ALL)".encode())
        documents = ndjson.serialize(self.read(table), columns, max_bytes)
        names = ", ".join(quoted(column.name) for column in ndjson.loadable(columns))
        statement = f"COPY {copy} {f'({names})' if names else ''} FROM STDIN".encode()
        for lines in documents:
            stored = compression.compress(lines.data, 3)
            pieces = compression.decompressed(
                [stored], name="part.ndjson.zst", plain_bytes=len(lines.data)
            )
            with self.connection.cursor() as cursor:
                with cursor.copy(statement) as load:
                    load.write(ndjson.to_copy_text(b"".join(pieces), columns))
                assert cursor.rowcount == lines.rows
        return b"".join(lines.data for lines in documents).decode()

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
        """Bring `table` into a copy and assert that nothing changed; returns the NDJSON."""
        copy = f"{table}_copy"
        text = self.bring(table, copy)
        assert self.differing_rows(table, copy) == 0, table
        if to_the_bit:
            assert self.binary(table) == self.binary(copy), table
        return text


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
