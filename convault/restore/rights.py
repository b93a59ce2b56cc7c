"""What a plain role is given for one restore by a superuser, and gives back behind it."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from typing import Any

import psycopg

from convault.dataset.tables import is_managed
from convault.formats.postgres_types import quoted
from convault.manifest import Manifest
from convault.models import Statement, TableName
from convault.restore.extensions import Extension, needed_extensions

_UNSIGNED = frozenset({"auth", "extensions", "storage"})
"""managed schemas whose objects an archive may name although nobody knows who made it"""
_USERS = TableName("auth", "users")

_SCHEMAS = "SELECT nspname::pg_catalog.text FROM pg_catalog.pg_namespace WHERE nspname = ANY (%s)"
_COLUMNS = """
    SELECT a.attname::pg_catalog.text FROM pg_catalog.pg_attribute a
    JOIN pg_catalog.pg_class c ON c.oid = a.attrelid
    JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
    WHERE n.nspname = %s AND c.relname = %s AND c.relkind IN ('r', 'p') AND a.attname = ANY (%s)
        AND a.attnum > 0 AND NOT a.attisdropped
"""
_EXTENSIONS = """
    SELECT v.name FROM pg_catalog.pg_available_extension_versions v
    WHERE v.name = ANY (%(names)s)
        AND NOT EXISTS (SELECT FROM pg_catalog.pg_extension e WHERE e.extname = v.name)
    GROUP BY v.name HAVING bool_and(v.superuser AND NOT v.trusted)
"""


class Rights:
    """Of the role `owner` in one database; every statement commits by itself."""

    def __init__(self, admin: psycopg.Connection[Any], owner: str) -> None:
        self._admin = admin
        self._owner = owner
        self._kept: list[str] = []
        """what undoes what the restored tables need further"""
        self._lent: list[str] = []
        """what undoes the rest"""

    def prepare(
        self, manifest: Manifest, script: Sequence[Statement], *, trusted: bool, stubs: bool
    ) -> None:
        """Let the role make schemas, and things in those that are there; use what Supabase has
        there; reference, and look at, the keys of users. Extensions that only a superuser may make
        are made for a `trusted` script: they are the server's own."""
        row = self._admin.execute(
            "SELECT pg_catalog.quote_ident(pg_catalog.current_database())"
        ).fetchone()
        assert row is not None
        self._lend("CREATE", f"DATABASE {row[0]}", "has_database_privilege", row[0])
        extensions = needed_extensions(script)
        own = {table.name.schema for table in manifest.tables} | {"public"}
        own |= {_plain(s.name) for s in script if s.kind == "schema"}
        if trusted:
            own |= {extension.schema for extension in extensions}
        for schema in self._there({s for s in own if trusted or not is_managed(s)}):
            name = quoted(schema)
            for right in ("USAGE", "CREATE"):
                if not self._has("has_schema_privilege", name, f"{right} WITH GRANT OPTION"):
                    self._do(f"GRANT {right} ON SCHEMA {name} TO {self._role} WITH GRANT OPTION")
                    self._kept.append(f"REVOKE {right} ON SCHEMA {name} FROM {self._role} CASCADE")
        for schema in self._there(set(_managed(script, trusted=trusted)) - own):
            self._lend("USAGE", f"SCHEMA {quoted(schema)}", "has_schema_privilege", quoted(schema))
        self._users(manifest, trusted=trusted, stubs=stubs)
        if trusted:
            self._extensions(extensions)

    def take_back(self, *, everything: bool) -> None:
        """What was lent; with `everything` also what restored tables would have needed."""
        for statement in reversed([*(self._kept if everything else []), *self._lent]):
            self._do(statement)
        self._kept.clear()
        self._lent.clear()

    @property
    def _role(self) -> str:
        return quoted(self._owner)

    def _users(self, manifest: Manifest, *, trusted: bool, stubs: bool) -> None:
        """Foreign keys may point to them, and their keys, but nothing else of them, be read."""
        inside = {table.name for table in manifest.tables}
        for key in manifest.foreign_keys:
            outside = key.references not in inside and is_managed(key.references.schema)
            if not outside or not (trusted or key.references == _USERS):
                continue
            columns = list(key.referenced_columns) if trusted else ["id"]
            there = self._admin.execute(_COLUMNS, (*key.references, columns)).fetchall()
            if len(there) != len(set(columns)):
                continue
            schema = quoted(key.references.schema)
            self._lend("USAGE", f"SCHEMA {schema}", "has_schema_privilege", schema)
            listed = ", ".join(map(quoted, columns))
            for right in ("SELECT", "REFERENCES", *(("INSERT",) if stubs else ())):
                table = key.references.quoted
                if not self._has("has_table_privilege", table, right):
                    self._do(f"GRANT {right} ({listed}) ON {table} TO {self._role}")
                    self._lent.append(f"REVOKE {right} ({listed}) ON {table} FROM {self._role}")

    def _extensions(self, extensions: Sequence[Extension]) -> None:
        names = [extension.name for extension in extensions]
        possible = {name for (name,) in self._admin.execute(_EXTENSIONS, {"names": names})}
        for extension in extensions:
            if extension.name not in possible:
                continue
            schema = quoted(extension.schema)
            if not self._there({extension.schema}):
                self._do(f"CREATE SCHEMA {schema} AUTHORIZATION {self._role}")
                self._kept.append(f"DROP SCHEMA {schema}")
            self._do(f"CREATE EXTENSION {quoted(extension.name)} WITH SCHEMA {schema}")
            self._kept.append(f"DROP EXTENSION {quoted(extension.name)}")

    def _lend(self, right: str, what: str, function: str, name: str) -> None:
        if not self._has(function, name, right):
            self._do(f"GRANT {right} ON {what} TO {self._role}")
            self._lent.append(f"REVOKE {right} ON {what} FROM {self._role}")

    def _has(self, function: str, name: str, right: str) -> bool:
        # Functions take a database's and a schema's name as it is, a table's as SQL does.
        given = name if function == "has_table_privilege" else _plain(name)
        query = f"SELECT pg_catalog.{function}(%s::pg_catalog.name, %s, %s)"
        return self._admin.execute(query.encode(), (self._owner, given, right)).fetchone() == (
            True,
        )

    def _there(self, schemas: set[str]) -> list[str]:
        found = self._admin.execute(_SCHEMAS, (list(schemas),)).fetchall()
        return sorted(
            name for (name,) in found if not name.startswith("pg_") and name != "information_schema"
        )

    def _do(self, statement: str) -> None:
        self._admin.execute(statement.encode())


def _managed(script: Sequence[Statement], *, trusted: bool) -> Iterator[str]:
    """Managed schemas that statements say they need something of, or have an extension in."""
    named = [need for statement in script for need in statement.needs]
    for need in named:
        found = re.match(r'(\w[\w$]*|"(?:[^"]|"")+")\.', need)
        schema = _plain(found[1]) if found else ""
        if is_managed(schema) and (trusted or schema in _UNSIGNED):
            yield schema
    for extension in needed_extensions(script):
        if trusted or extension.schema in _UNSIGNED:
            yield extension.schema


def _plain(name: str) -> str:
    return name[1:-1].replace('""', '"') if name.startswith('"') else name
