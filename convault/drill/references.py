"""Foreign keys of the restored tables, by looking for rows without their parent: a key that says it
holds is not believed."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from typing import Any

import psycopg

from convault.drill.report import Check, not_verified, passed_or_failed
from convault.formats.postgres_types import quoted
from convault.manifest import Manifest, TableEntry
from convault.models import ForeignKey, TableName
from convault.sources.failures import reason


def reference_checks(
    connection: psycopg.Connection[Any], manifest: Manifest, left_out: Collection[TableName]
) -> Iterator[Check]:
    """One for each foreign key of the backup."""
    tables = {table.name: table for table in manifest.restored}
    for key in manifest.foreign_keys:
        subject = f"{key.name or ', '.join(key.columns)} on {key.table}"
        gone = [t for t in (key.table, key.references) if t in left_out]
        if gone:
            yield not_verified("foreign key", subject, f"{gone[0]} could not be made here")
        elif key.references not in tables:
            yield not_verified("foreign key", subject, f"{key.references} is not in the backup")
        elif key.table in tables:
            yield _check(connection, key, subject, tables, _is_valid(manifest, key))


def _check(
    connection: psycopg.Connection[Any], key: ForeignKey, subject: str,
    tables: dict[TableName, TableEntry], valid: bool,
) -> Check:  # fmt: skip
    try:
        with connection.transaction():
            row = connection.execute(orphans_query(key, tables).encode()).fetchone()
    except psycopg.Error as error:
        return not_verified("foreign key", subject, f"cannot be asked: {reason(error)}")
    orphans = row[0] if row else 0
    if orphans and not valid:
        why = f"{orphans} rows without their parent, which the source allows"
        return not_verified("foreign key", subject, why)
    faults = [f"{orphans} rows without their parent"] if orphans else []
    return passed_or_failed("foreign key", subject, faults)


def orphans_query(key: ForeignKey, tables: dict[TableName, TableEntry]) -> str:
    """How many rows refer to a row that is not there. NULL in one of the columns refers to none.

    Of an ordinary table heirs are left away, which its keys do not hold for; of a partitioned one
    the partitions are meant.
    """
    child, parent = (
        f"{'' if tables[name].kind == 'p' else 'ONLY '}{name.quoted}"
        for name in (key.table, key.references)
    )
    pairs = list(zip(key.columns, key.referenced_columns, strict=True))
    given = " AND ".join(f"c.{quoted(own)} IS NOT NULL" for own, _ in pairs)
    same = " AND ".join(f"p.{quoted(other)} = c.{quoted(own)}" for own, other in pairs)
    return (
        f"SELECT pg_catalog.count(*) FROM {child} c WHERE {given}"
        f" AND NOT EXISTS (SELECT FROM {parent} p WHERE {same})"
    )


def _is_valid(manifest: Manifest, key: ForeignKey) -> bool:
    """Whether the source held it to be: it is a constraint, and not one that is NOT VALID."""
    return not key.declared and not any(
        statement.kind == "foreign key"
        and statement.sql.endswith(" NOT VALID")
        and statement.name.startswith((f"{key.name} on ", f"{quoted(key.name)} on "))
        and statement.name.endswith((key.table.name, quoted(key.table.name)))
        for statement in manifest.statements
    )
