"""Copies of rows that a restore replaces, in a schema that nobody but this role reaches.

`convault_undo_<id>` holds, per table, the rows as they were (`rows_0`, ...), the keys of rows that
were new (`new_0`, ...), and in `restore` what to do with them.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any
from uuid import UUID, uuid4

import psycopg

from convault.formats.postgres_types import quoted
from convault.manifest import Manifest
from convault.restore.matching import Match
from convault.restore.options import Mode
from convault.restore.target import KEPT

_OTHERS = """
    SELECT DISTINCT a.grantee, CASE WHEN a.grantee = 0 THEN 'PUBLIC'
        ELSE pg_catalog.quote_ident(r.rolname) END
    FROM pg_catalog.pg_class c
    CROSS JOIN LATERAL pg_catalog.aclexplode(c.relacl) a
    LEFT JOIN pg_catalog.pg_roles r ON r.oid = a.grantee
    WHERE c.relnamespace = %(schema)s::pg_catalog.regnamespace AND a.grantee <> c.relowner
    UNION
    SELECT DISTINCT a.grantee, CASE WHEN a.grantee = 0 THEN 'PUBLIC'
        ELSE pg_catalog.quote_ident(r.rolname) END
    FROM pg_catalog.pg_namespace n
    CROSS JOIN LATERAL pg_catalog.aclexplode(n.nspacl) a
    LEFT JOIN pg_catalog.pg_roles r ON r.oid = a.grantee
    WHERE n.oid = %(schema)s::pg_catalog.regnamespace AND a.grantee <> n.nspowner
"""


def schema_of(restore_id: UUID) -> str:
    """Where the copies of a restore are."""
    return f"{KEPT}{restore_id.hex}"


@dataclass(frozen=True, slots=True)
class KeptTable:
    """The copies of one table."""

    connection: psycopg.Connection[Any]
    match: Match
    rows: str
    new: str

    def add(self, action: str, source: str) -> None:
        """Copy the rows `t` of `source` (from FROM on) as they are: `overwritten` or `removed`."""
        columns = ", ".join(f"t.{quoted(column.name)}" for column in self.match.all_columns)
        self.connection.execute(
            f"INSERT INTO {self.rows} SELECT '{action}', {columns} {source}".encode()
        )

    def add_new(self, source: str) -> None:
        """Note the keys of rows `s` of `source` that are about to be inserted."""
        names = ", ".join(f"s.{quoted(name)}" for name in key_of(self.match))
        self.connection.execute(f"INSERT INTO {self.new} SELECT {names} {source}".encode())


def key_of(match: Match) -> list[str]:
    """The columns by which a new row is found again: all of them where there is no key."""
    return list(match.key) or [column.name for column in match.columns]


class Kept:
    """The copies of one restore, being made."""

    def __init__(self, connection: psycopg.Connection[Any], restore_id: UUID) -> None:
        self.restore_id = restore_id
        self._connection = connection
        self._schema = schema_of(restore_id)
        self._number = 0

    @classmethod
    def begin(cls, connection: psycopg.Connection[Any], manifest: Manifest, mode: Mode) -> Kept:
        """Make the schema, empty."""
        kept = cls(connection, uuid4())
        schema = quoted(kept._schema)
        connection.execute(f"CREATE SCHEMA {schema}".encode())
        connection.execute(
            f"CREATE TABLE {schema}.restore (place int PRIMARY KEY, schema text, name text,"
            " key text[], operators text[], columns text[])".encode()
        )
        connection.execute(
            f"COMMENT ON SCHEMA {schema} IS 'Rows that convault restore --mode {mode} replaced by"
            f" those of backup {manifest.backup_id}. convault restore --undo {kept.restore_id} puts"
            " them back; drop the schema when they are not wanted any more.'".encode()
        )
        kept._close()
        return kept

    def table(self, match: Match) -> KeptTable:
        """Room for the rows of a live table."""
        rows, new = (f"{quoted(self._schema)}.{kind}_{self._number}" for kind in ("rows", "new"))
        columns = ", ".join(quoted(column.name) for column in match.all_columns)
        self._connection.execute(
            f"CREATE TABLE {rows} AS SELECT NULL::text AS convault_action, {columns}"
            f" FROM {match.table} WITH NO DATA".encode()
        )
        keys = ", ".join(map(quoted, key_of(match)))
        self._connection.execute(
            f"CREATE TABLE {new} AS SELECT {keys} FROM {match.table} WITH NO DATA".encode()
        )
        self._connection.execute(
            f"INSERT INTO {quoted(self._schema)}.restore VALUES (%s, %s, %s, %s, %s, %s)".encode(),
            (
                self._number, match.name.schema, match.name.name, list(match.key),
                list(match.operators), [column.name for column in match.columns],
            ),
        )  # fmt: skip
        self._number += 1
        self._close()
        return KeptTable(self._connection, match, rows, new)

    def _close(self) -> None:
        """Take back what default privileges gave to others, and let row security hide the rest."""
        others = self._connection.execute(_OTHERS, {"schema": quoted(self._schema)}).fetchall()
        schema = quoted(self._schema)
        for _, role in others:
            for what in (f"SCHEMA {schema}", f"ALL TABLES IN SCHEMA {schema}"):
                self._connection.execute(f"REVOKE ALL ON {what} FROM {role} CASCADE".encode())
        for (table,) in self._connection.execute(
            "SELECT c.oid::pg_catalog.regclass::pg_catalog.text FROM pg_catalog.pg_class c"
            " WHERE c.relnamespace = %s::pg_catalog.regnamespace AND c.relkind = 'r'"
            " AND NOT c.relrowsecurity",
            (schema,),
        ).fetchall():
            self._connection.execute(f"ALTER TABLE {table} ENABLE ROW LEVEL SECURITY".encode())
