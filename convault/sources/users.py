"""What little is kept of `auth.users`: key and e-mail address of the rows that rows of the backup
reference. They tell whose a conversation was when the users are gone; hashes and tokens stay."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import replace
from typing import Any

import psycopg

from convault.errors import MissingPrivilege, OptionsError
from convault.formats.postgres_types import quoted
from convault.models import Dataset, ForeignKey, Table, TableName

USERS = TableName("auth", "users")
KEPT = "email"
"""beside the key"""

_RIGHTS = """
    SELECT pg_catalog.has_schema_privilege(c.relnamespace, 'USAGE')
        AND pg_catalog.has_table_privilege(c.oid, 'SELECT')
    FROM pg_catalog.pg_class c WHERE c.oid = %s
"""


def with_users(dataset: Dataset, users: Table | None) -> Dataset:
    """The dataset with the table of users behind its own, kept for reference. OptionsError when
    there is none, or when nothing of the dataset references it."""
    if users is None or users.kind != "r":
        raise OptionsError(
            f"includeUsers: this database has no table {USERS}. Leave includeUsers out, or check "
            "that DATABASE_URL is the database of your Supabase project, and excludeTables."
        )
    if not any(key.references == USERS for key in dataset.foreign_keys):
        raise OptionsError(
            f"includeUsers: no table of the backup has a foreign key to {USERS}, so there would be "
            "nobody to keep. Add the foreign key, or leave includeUsers out."
        )
    kept = {*users.primary_key, KEPT}
    columns = tuple(column for column in users.columns if column.name in kept)
    narrow = replace(users, columns=columns, parents=(), reference_only=True)
    return replace(dataset, tables=(*dataset.tables, narrow))


def require_users_readable(connection: psycopg.Connection[Any], users: Table) -> None:
    """MissingPrivilege with what to run. The whole table: a lock asks for that."""
    if connection.execute(_RIGHTS, (users.oid,)).fetchone() != (True,):
        role = quoted(connection.info.user)
        raise MissingPrivilege(
            f"includeUsers: the role {connection.info.user} may not read {USERS}. Run GRANT USAGE "
            f"ON SCHEMA auth TO {role}; GRANT SELECT ON auth.users TO {role}; (row security there "
            "asks for BYPASSRLS as well), or leave includeUsers out.",
            table=USERS,
            role=connection.info.user,
        )


def without_masked_references(dataset: Dataset) -> Dataset:
    """The dataset without the keys to tables kept for reference whose values are masked: nobody is
    to be known by them."""
    others = [table for table in dataset.tables if table.reference_only]
    held = {key for t in others for keys in _keys(dataset, t).values() for key in keys}
    names = {table.name for table in others}
    keys = tuple(k for k in dataset.foreign_keys if k.references not in names or k in held)
    return replace(dataset, foreign_keys=keys)


def referenced(dataset: Dataset, table: Table) -> str:
    """SQL, for a WHERE: whether a row of `table`, which is kept for reference, is referenced by a
    row of the backup. False when every key to it is masked.

    It takes whole tables: where only some of their rows are chosen, choose those of `table` by what
    these reference, as for any other table.
    """
    tests = [
        f"({_list(to)}) IN ({' UNION ALL '.join(_referencing(dataset, keys))})"
        for to, keys in _keys(dataset, table).items()
    ]
    return f"({' OR '.join(tests)})" if tests else "false"


def _keys(dataset: Dataset, table: Table) -> dict[tuple[str, ...], list[ForeignKey]]:
    """The keys to the table whose values are in the backup, by the columns that they lead to."""
    found: dict[tuple[str, ...], list[ForeignKey]] = {}
    for key in dataset.foreign_keys:
        if key.references != table.name:
            continue
        columns = {column.name: column for column in dataset.table(key.table).columns}
        if all(name in columns and not columns[name].mask for name in key.columns):
            found.setdefault(key.referenced_columns, []).append(key)
    return found


def _referencing(dataset: Dataset, keys: Sequence[ForeignKey]) -> list[str]:
    """By the tables that hold the rows, each proven not to be a namesake."""
    return [
        f"SELECT {_list(key.columns)} FROM ONLY {leaf.name.quoted} WHERE tableoid = {leaf.oid}"
        for key in keys
        for leaf in _leaves(dataset, dataset.table(key.table))
    ]


def _leaves(dataset: Dataset, table: Table) -> list[Table]:
    if table.kind == "r":
        return [table]
    return [leaf for t in dataset.tables if table.name in t.parents for leaf in _leaves(dataset, t)]


def _list(names: Collection[str]) -> str:
    return ", ".join(map(quoted, names))
