"""Two tables in two databases, compared by Postgres: EXCEPT ALL, both ways.

COPY writes each value by its type's output function; the texts of both sides are compared in the
target, so that types without an equality (json, point) are compared to the letter, too.
"""

from __future__ import annotations

from collections.abc import Iterable

import psycopg

from convault.models import TableName
from convault.sources.session import connect


def differences(source: str, target: str, tables: Iterable[TableName]) -> dict[str, int]:
    """How many rows either side has and the other has not, of tables where there are any."""
    found = {}
    with connect(source) as one, connect(target) as other, connect(target) as judge:
        for table in tables:
            names = _columns(one, table)
            assert names == _columns(other, table), table
            # A row without columns has to be compared as something.
            texts = ", ".join(f"c{n} text" for n in range(len(names))) or "none text"
            for side, connection in (("left", one), ("right", other)):
                judge.execute(f'CREATE TEMP TABLE "{side}" ({texts})'.encode())
                _copy(connection, judge, table, names, f'"{side}"')
            row = judge.execute(
                'SELECT (SELECT count(*) FROM (TABLE "left" EXCEPT ALL TABLE "right") l)'
                ' + (SELECT count(*) FROM (TABLE "right" EXCEPT ALL TABLE "left") r)'
            ).fetchone()
            assert row is not None
            judge.execute('DROP TABLE "left", "right"')
            if row[0]:
                found[str(table)] = row[0]
    return found


def _columns(connection: psycopg.Connection, table: TableName) -> list[str]:
    """Quoted, by name: columns may stand in another order."""
    rows = connection.execute(
        "SELECT quote_ident(attname) FROM pg_attribute WHERE attrelid = %s::regclass"
        " AND attnum > 0 AND NOT attisdropped ORDER BY 1", (table.quoted,),
    ).fetchall()  # fmt: skip
    return [name for (name,) in rows]


def _copy(
    source: psycopg.Connection, target: psycopg.Connection, table: TableName, names: list[str],
    into: str,
) -> None:  # fmt: skip
    selected = ", ".join(names) or "NULL"
    query = f"COPY (SELECT {selected} FROM ONLY {table.quoted}) TO STDOUT".encode()
    with (
        source.cursor().copy(query) as read,
        target.cursor().copy(f"COPY {into} FROM STDIN".encode()) as write,
    ):
        for data in read:
            write.write(data)
