"""The rows that a restore replaced, put back."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any
from uuid import UUID

import psycopg

from convault.errors import NotFoundError, RestoreError
from convault.formats.postgres_types import quoted
from convault.models import TableName
from convault.restore import sequences, target
from convault.restore.guards import Guards
from convault.restore.kept import schema_of
from convault.restore.matching import Match, live_match
from convault.restore.outsiders import Moved, outsiders
from convault.restore.parking import IN_THE_WAY, Moving, Parking
from convault.restore.result import Changes


@dataclass(frozen=True, slots=True)
class _Table:
    match: Match
    rows: str
    new: str
    key: tuple[str, ...]


def undo(target_url: str, restore_id: UUID, *, dry_run: bool = False) -> dict[TableName, Changes]:
    """Put back what `convault restore --mode overwrite` or `replace` replaced, in one transaction:
    rows that it inserted go, rows that it changed or removed are as they were, and the copies are
    dropped. NotFoundError when there is nothing kept under that id; RestoreError when a table is
    not what it was, or a foreign key would not hold."""
    with (
        target.transaction(target_url, dry_run=dry_run) as connection,
        target.refusals("to undo"),
    ):
        return _undo(connection, restore_id)


def _undo(connection: psycopg.Connection[Any], restore_id: UUID) -> dict[TableName, Changes]:
    schema = schema_of(restore_id)
    if (
        connection.execute(
            "SELECT FROM pg_catalog.pg_namespace WHERE nspname = %s", (schema,)
        ).fetchone()
        is None
    ):
        raise NotFoundError(
            f"The target keeps nothing of a restore {restore_id}: it replaced no row, was undone "
            "already, or was into another database.",
            restore=restore_id,
        )
    tables = _tables(connection, schema)
    guards = Guards(connection, list(dict.fromkeys(table.match.name for table in tables)))
    guards.check()
    guards.lock()
    guards.open_eyes()
    followers = _followers(connection, tables)
    followers.raise_()
    guards.raise_()
    for table in tables:
        _open_identities(table, guards)
    parking = Parking(connection, guards, _moving(tables))
    changes = None if parking.needed() else _attempt(connection, tables)
    if changes is None:
        parking.open()
        parking.step_aside()
        changes = _write(connection, tables)
        parking.come_back()
    guards.lower()
    followers.lower()
    for table in tables:
        sequences.advance(connection, table.match.oid, [table.rows])
    connection.execute(f"DROP SCHEMA {quoted(schema)} CASCADE".encode())
    return changes


def _followers(connection: psycopg.Connection[Any], tables: list[_Table]) -> Guards:
    """For tables whose rows reference values that change back, and follow them. RestoreError where
    rows would go, or lose a reference: they came after the restore, and no copy of them is kept."""
    moved = [
        Moved(
            table.match,
            f"SELECT t.* FROM {table.match.table} t WHERE EXISTS (SELECT FROM {table.new} n"
            f" WHERE {table.match.same('t', 'n')})",
            table.rows,
        )
        for table in tables
        if table.match.key
    ]
    found = outsiders(connection, moved)
    losing = [one for one in found if not one.follows]
    if losing:
        listed = ", ".join(
            f"{one.rows} rows of {one.table} (by {one.constraint})" for one in losing
        )
        raise RestoreError(
            f"Other rows reference what the undo would remove or change: {listed}. Nothing was "
            "changed: remove or change those rows first."
        )
    followers = Guards(connection, [name for one in found for name in one.tables])
    followers.check()
    followers.lock()
    followers.open_eyes()
    return followers


def _attempt(
    connection: psycopg.Connection[Any], tables: list[_Table]
) -> dict[TableName, Changes] | None:
    """None, with nothing changed, where values are in each other's way."""
    try:
        with connection.transaction():
            return _write(connection, tables)
    except IN_THE_WAY:
        return None


def _write(connection: psycopg.Connection[Any], tables: list[_Table]) -> dict[TableName, Changes]:
    changes: dict[TableName, Changes] = {}
    removed = {table.rows: _remove_new(connection, table) for table in reversed(tables)}
    for table in tables:
        before = changes.get(table.match.name, Changes())
        overwritten = _update(connection, table)
        changes[table.match.name] = Changes(
            inserted=before.inserted + _insert(connection, table),
            overwritten=before.overwritten + overwritten,
            removed=before.removed + removed[table.rows],
        )
    return changes


def _moving(tables: list[_Table]) -> list[Moving]:
    """Per live table, the rows of which there are copies, or that were new."""
    known: dict[TableName, list[str]] = {}
    gone: dict[TableName, list[str]] = {}
    for table in tables:
        if table.match.key:
            copied, new = (
                f"EXISTS (SELECT FROM {place} s WHERE {table.match.same('t', 's')})"
                for place in (table.rows, table.new)
            )
            known.setdefault(table.match.name, []).extend((copied, new))
            gone.setdefault(table.match.name, []).append(new)
    by_name = {table.match.name: table.match for table in tables}
    found = []
    for name, match in by_name.items():
        moves = " OR ".join(known.get(name, ["false"]))
        goes = " OR ".join(gone.get(name, ["false"]))
        found.append(Moving(match, f"({moves})", f"({moves})", f"NOT ({goes})"))
    return found


def _open_identities(table: _Table, guards: Guards) -> None:
    match = table.match
    for column in match.columns if match.key else ():
        if column.identity == "a" and column.name not in match.key:
            alter = f"ALTER TABLE {match.name.quoted} ALTER COLUMN {quoted(column.name)}"
            guards.alter(f"{alter} SET GENERATED BY DEFAULT", f"{alter} SET GENERATED ALWAYS")


def _tables(connection: psycopg.Connection[Any], schema: str) -> list[_Table]:
    found = []
    for place, own_schema, name, key in connection.execute(
        f"SELECT place, schema, name, key FROM {quoted(schema)}.restore ORDER BY place".encode()
    ).fetchall():
        match = live_match(connection, TableName(own_schema, name))
        rows, new = (f"{quoted(schema)}.{kind}_{place}" for kind in ("rows", "new"))
        kept = {
            column
            for (column,) in connection.execute(
                "SELECT attname FROM pg_catalog.pg_attribute WHERE attrelid ="
                " %s::pg_catalog.regclass AND attnum > 0 AND NOT attisdropped",
                (rows,),
            )
        }
        if match is None or {c.name for c in match.columns} - kept or match.key != tuple(key):
            raise RestoreError(
                f"{own_schema}.{name} is not the table any more that it was at the restore, so its "
                f"rows cannot be put back by themselves. Nothing was changed: they are in {rows}.",
                table=TableName(own_schema, name),
            )
        found.append(_Table(match, rows, new, tuple(key)))
    return found


def _remove_new(connection: psycopg.Connection[Any], table: _Table) -> int:
    match = table.match
    if match.key:
        same = match.same("t", "n")
        sql = f"DELETE FROM {match.table} t USING {table.new} n WHERE {same}"
    else:
        live, new = match.source(match.table), match.source(table.new)
        sql = (
            f"DELETE FROM {match.table} d USING {live} t JOIN {new} n ON {match.same('t', 'n')}"
            " WHERE d.tableoid = t.convault_table AND d.ctid = t.convault_ctid"
        )
    return connection.execute(sql.encode()).rowcount


def _update(connection: psycopg.Connection[Any], table: _Table) -> int:
    match = table.match
    changing = [column for column in match.columns if column.name not in match.key]
    if not match.key or not changing:
        return 0
    sets = ", ".join(f"{quoted(c.name)} = s.{quoted(c.name)}" for c in changing)
    return connection.execute(
        f"UPDATE {match.table} t SET {sets} FROM {table.rows} s WHERE {match.same('t', 's')}"
        f" AND {match.text('t')} <> {match.text('s')}".encode()
    ).rowcount


def _insert(connection: psycopg.Connection[Any], table: _Table) -> int:
    match = table.match
    columns = f" ({match.names})" if match.columns else ""
    given = ", ".join(f"s.{quoted(column.name)}" for column in match.columns)
    missing = (
        f" WHERE NOT EXISTS (SELECT FROM {match.table} t WHERE {match.same('t', 's')})"
        if match.key
        else ""
    )
    return connection.execute(
        f"INSERT INTO {match.name.quoted}{columns} OVERRIDING SYSTEM VALUE"
        f" SELECT {given} FROM {table.rows} s{missing}".encode()
    ).rowcount
