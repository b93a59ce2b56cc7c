"""That a name still leads to the table it was found for.

Rows are read by name, and a name is looked up anew by every query. A lock on a table keeps it from
being renamed, but nothing keeps its schema from being renamed and another one, with other tables of
the same names, from taking its place.
"""

from __future__ import annotations

from collections.abc import Sequence

from convault.errors import SnapshotLost
from convault.models import Table, TableName


def lock_query(tables: Sequence[Table]) -> str:
    """Keep TRUNCATE, DROP and rewrites away from every table; readers and writers go on as ever.
    It is no query to Postgres: it fixes no snapshot."""
    names = ", ".join(f"ONLY {table.name.quoted}" for table in tables)
    return f"LOCK TABLE {names} IN ACCESS SHARE MODE"


def locked_query(tables: Sequence[Table]) -> str:
    """One boolean: whether this session holds a lock on each of these very tables."""
    oids = {table.oid for table in tables}
    return (
        f"SELECT pg_catalog.count(DISTINCT relation) = {len(oids)} FROM pg_catalog.pg_locks"
        f" WHERE pid = pg_catalog.pg_backend_pid() AND granted AND database ="
        " (SELECT oid FROM pg_catalog.pg_database WHERE datname = pg_catalog.current_database())"
        f" AND relation IN ({', '.join(map(str, sorted(oids)))})"
    )


def leads_to(table: Table) -> str:
    """An expression: whether the table's name leads to it now, as this session sees names."""
    return f"pg_catalog.to_regclass({_literal(table.name.quoted)}) IS NOT DISTINCT FROM {table.oid}"


def moved(*tables: TableName) -> SnapshotLost:
    """The error for tables whose names no longer lead to what was locked."""
    names = ", ".join(map(str, tables)) or "The tables"
    return SnapshotLost(
        f"{names} cannot be found by name any more, or the name leads to another table: a schema "
        "was renamed while its rows were read. The backup must start again under a new snapshot.",
        **({"table": tables[0]} if tables else {}),
    )


def _literal(text: str) -> str:
    """As SQL takes it, whatever standard_conforming_strings says."""
    return "E'" + text.replace("\\", "\\\\").replace("'", "''") + "'"
