"""Foreign keys of the restored tables, by looking for rows without their parent: a key that says it
holds is not believed."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from typing import Any

import psycopg

from convault.drill.report import Check, not_verified, passed_or_failed
from convault.formats.postgres_types import quoted
from convault.manifest import Manifest, TableEntry
from convault.models import ForeignKey, Statement, TableName
from convault.sources.comparing import as_constrained, by_types
from convault.sources.failures import reason

_OIDS = """
    SELECT n.nspname, c.relname, c.oid FROM pg_catalog.pg_class c
    JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace WHERE c.relkind IN ('r', 'p')
"""


def reference_checks(
    connection: psycopg.Connection[Any], manifest: Manifest, left_out: Collection[TableName],
    stand_ins: Collection[str] = (),
) -> Iterator[Check]:  # fmt: skip
    """One for each foreign key of the backup. `stand_ins` are types that are not here what they are
    in the source, and may compare otherwise."""
    tables = {table.name: table for table in manifest.restored}
    for key in manifest.foreign_keys:
        subject = f"{key.name or ', '.join(key.columns)} on {key.table}"
        gone = [t for t in (key.table, key.references) if t in left_out]
        if gone:
            yield not_verified("foreign key", subject, f"{gone[0]} could not be made here")
        elif key.references not in tables:
            yield not_verified("foreign key", subject, f"{key.references} is not in the backup")
        elif key.table in tables and types_of(key, tables[key.table]) & set(stand_ins):
            yield not_verified("foreign key", subject, "a stand-in compares otherwise")
        elif key.table in tables:
            yield _check(connection, key, subject, tables, _is_valid(manifest, key))


def types_of(key: ForeignKey, table: TableEntry) -> set[str]:
    """Of the key's own columns, `table` being its table."""
    return {column.type for column in table.columns if column.name in key.columns}


def _check(
    connection: psycopg.Connection[Any], key: ForeignKey, subject: str,
    tables: dict[TableName, TableEntry], valid: bool,
) -> Check:  # fmt: skip
    try:
        with connection.transaction():
            same = _condition(connection, key)
            row = connection.execute(orphans_query(key, tables, same).encode()).fetchone()
    except psycopg.Error as error:
        return not_verified("foreign key", subject, f"cannot be asked: {reason(error)}")
    orphans = row[0] if row else 0
    if orphans and not valid:
        why = f"{orphans} rows without their parent, which the source allows"
        return not_verified("foreign key", subject, why)
    faults = [f"{orphans} rows without their parent"] if orphans else []
    return passed_or_failed("foreign key", subject, faults)


def _condition(connection: psycopg.Connection[Any], key: ForeignKey) -> str:
    """As the constraint itself compares, or, where there is none, as the types do: `=` alone would
    be looked for in pg_catalog, which compares citext as text and periods of time as a whole."""
    oids = {TableName(schema, name): oid for schema, name, oid in connection.execute(_OIDS)}
    found = as_constrained(connection, [key], oids) or by_types(connection, [key], oids)
    return found[key]


def orphans_query(key: ForeignKey, tables: dict[TableName, TableEntry], same: str) -> str:
    """How many rows refer to a row that is not there. NULL in one of the columns refers to none.
    `same` is true where a row `o` refers to a row `r`.

    Of an ordinary table heirs are left away, which its keys do not hold for; of a partitioned one
    the partitions are meant.
    """
    child, parent = (
        f"{'' if tables[name].kind == 'p' else 'ONLY '}{name.quoted}"
        for name in (key.table, key.references)
    )
    given = " AND ".join(f"o.{quoted(own)} IS NOT NULL" for own in key.columns)
    return (
        f"SELECT pg_catalog.count(*) FROM {child} o WHERE {given}"
        f" AND NOT EXISTS (SELECT FROM {parent} r WHERE {same})"
    )


def is_of(statement: Statement, key: ForeignKey) -> bool:
    """Whether the statement makes the key."""
    return (
        statement.kind == "foreign key"
        and statement.name.startswith((f"{key.name} on ", f"{quoted(key.name)} on "))
        and statement.name.endswith((key.table.name, quoted(key.table.name)))
    )


def _is_valid(manifest: Manifest, key: ForeignKey) -> bool:
    """Whether the source held it to be: it is a constraint, and one that holds for all rows."""
    return not key.declared and not any(
        is_of(statement, key) and statement.sql.endswith((" NOT VALID", " NOT ENFORCED"))
        for statement in manifest.statements
    )
