"""Relations that CONVAULT_RELATIONS declares, held against the catalog."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from difflib import get_close_matches
from typing import Any

import psycopg

from convault.dataset.declared import DeclaredRelation
from convault.errors import ConfigurationError
from convault.models import ForeignKey, TableName
from convault.sources.equality import equality, read_types

_COLUMNS = """
    SELECT attrelid, attname, atttypid FROM pg_catalog.pg_attribute
    WHERE attrelid = ANY (%s) AND attnum > 0 AND NOT attisdropped
"""


def read_declared(
    connection: psycopg.Connection[Any],
    relations: Sequence[DeclaredRelation],
    oids: Mapping[TableName, int],
    *,
    known: Sequence[ForeignKey],
) -> list[ForeignKey]:
    """The relations as keys; those that a foreign key of `known` declares already are left out.

    ConfigurationError when a table or column is not there, or when two columns have types that
    Postgres cannot compare.
    """
    if not relations:
        return []
    asked = [oids[t] for r in relations for t in (r.table, r.references) if t in oids]
    columns: dict[int, dict[str, int]] = {}
    for table, name, type_ in connection.execute(_COLUMNS, (asked,)):
        columns.setdefault(table, {})[name] = type_
    have = {(key.table, key.columns, key.references, key.referenced_columns) for key in known}
    made = []
    for relation in relations:
        ends = [(relation.table, relation.columns),
                (relation.references, relation.referenced_columns)]  # fmt: skip
        own, referenced = (
            [_type(relation, table, column, oids, columns) for column in names]
            for table, names in ends
        )
        for number, (left, right) in enumerate(zip(referenced, own, strict=True)):
            types = read_types(connection, [left, right])
            if equality(connection, types[left], types[right]) is None:
                raise ConfigurationError(
                    f"CONVAULT_RELATIONS: {relation}: Postgres cannot compare "
                    f"{relation.columns[number]} ({types[right].shown}) with "
                    f"{relation.referenced_columns[number]} ({types[left].shown}). Give them the "
                    "same type, or leave the relation out."
                )
        key = ForeignKey(
            "", relation.table, relation.columns, relation.references,
            relation.referenced_columns, declared=True,
        )  # fmt: skip
        if (key.table, key.columns, key.references, key.referenced_columns) not in have:
            made.append(key)
    return list(dict.fromkeys(made))


def _type(
    relation: DeclaredRelation, table: TableName, column: str,
    oids: Mapping[TableName, int], columns: Mapping[int, Mapping[str, int]],
) -> int:  # fmt: skip
    if table not in oids:
        close = get_close_matches(str(table), map(str, oids), n=3)
        raise ConfigurationError(
            f"CONVAULT_RELATIONS: {relation}: there is no table {table}."
            + (f" Perhaps {' or '.join(close)} is meant?" if close else ""),
            table=table,
        )
    there = columns.get(oids[table], {})
    if column not in there:
        raise ConfigurationError(
            f"CONVAULT_RELATIONS: {relation}: {table} has no column {column}. It has "
            f"{', '.join(there) or 'none'}.",
            table=table,
            column=column,
        )
    return there[column]
