"""The filters as SQL conditions on a row of the root, held against its columns and their types.

Values become literals that the driver quotes, cast to the type of the column they are compared
with; a value that is none of that type is refused before anything is selected.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import psycopg
from psycopg import sql

from convault.dataset.filters import Filters
from convault.filter_columns import (
    key_column,
    no_time,
    no_value,
    not_comparable,
    of_root,
    participants,
    period_column,
)
from convault.formats.postgres_types import quoted
from convault.models import Dataset, Table
from convault.sources.comparing import read_conditions
from convault.sources.equality import Type, equality, read_types

_COLUMN_TYPES = """
    SELECT attname, atttypid FROM pg_catalog.pg_attribute
    WHERE attrelid = %s AND attnum > 0 AND NOT attisdropped
"""
_TIMESTAMPTZ, _TIMESTAMP = 1184, 1114
"""oids, the same everywhere; a name may come in quotes, as `pg_catalog."timestamp"` does"""


def root_conditions(
    connection: psycopg.Connection[Any], dataset: Dataset, filters: Filters
) -> list[str]:
    """SQL that is true for a row called `r` of the root, each part of it, when the row is wanted.

    OptionsError when a column is not there or of a type that the filter cannot use, when a value
    is none of the column's type, or when it is not clear where participants are.
    """
    if not filters.kinds:
        return []
    assert dataset.root is not None  # filters and `tables` exclude each other
    return _Resolved(connection, dataset, dataset.table(dataset.root), filters).all()


def missing_ids(connection: psycopg.Connection[Any], dataset: Dataset, filters: Filters) -> int:
    """How many of the conversations that were asked for by id are not there."""
    if not filters.conversation_ids:
        return 0
    assert dataset.root is not None
    root = dataset.table(dataset.root)
    return _Resolved(connection, dataset, root, filters).missing()


class _Resolved:
    def __init__(
        self, connection: psycopg.Connection[Any], dataset: Dataset, root: Table, filters: Filters
    ) -> None:
        self._connection = connection
        self._dataset = dataset
        self._root = root
        self._filters = filters

    def all(self) -> list[str]:
        filters = self._filters
        found = [
            self._one_of(option, "r", self._root, column, values)
            for option, column, values in of_root(self._dataset, self._root, filters)
        ]
        found += self._in_period()
        if filters.participant_ids:
            found.append(self._with_participants())
        return found

    def missing(self) -> int:
        column, ids = key_column(self._root), tuple(dict.fromkeys(self._filters.conversation_ids))
        type_ = self._type(self._root, column)
        values = ", ".join(f"({self._literal(value, type_)})" for value in ids)
        row = self._connection.execute(
            f"SELECT pg_catalog.count(*) FROM (VALUES {values}) v (id) WHERE NOT EXISTS (SELECT"
            f" FROM {self._root.name.quoted} r WHERE r.{quoted(column)} {self._equality(type_)}"
            " v.id)".encode()
        ).fetchone()
        assert row is not None
        return int(row[0])

    def _in_period(self) -> list[str]:
        asked = period_column(self._dataset, self._root, self._filters)
        if asked is None:
            return []
        period, (option, column) = self._filters.period, asked
        type_ = self._type(self._root, column)
        if type_.oid not in (_TIMESTAMPTZ, _TIMESTAMP):
            raise no_time(option, self._root, column, type_.shown, self._columns_of_instants())
        found = []
        for moment, operator in ((period.start, ">="), (period.end, "<")):
            if moment is not None:
                text = moment.isoformat() if type_.oid == _TIMESTAMPTZ else (
                    moment.replace(tzinfo=None).isoformat())  # fmt: skip
                found.append(
                    f"r.{quoted(column)}::{type_.name} OPERATOR(pg_catalog.{operator})"
                    f" '{text}'::{type_.name}"
                )
        return found

    def _with_participants(self) -> str:
        option, values = "participantIds", self._filters.participant_ids
        table, column, links = participants(self._dataset, self._root, self._filters)
        if not links:
            return self._one_of(option, "r", self._root, column, values)
        conditions = read_conditions(self._connection, self._dataset)
        refers = " OR ".join(f"({conditions[link]})" for link in links)
        wanted = self._one_of(option, "o", self._dataset.table(table), column, values)
        return f"EXISTS (SELECT FROM {table.quoted} o WHERE ({refers}) AND {wanted})"

    def _one_of(
        self, option: str, row: str, table: Table, column: str, values: Sequence[str]
    ) -> str:
        """The column equals one of the values."""
        type_ = self._type(table, column)
        self._require_values(option, type_, values)
        literals = ", ".join(self._literal(value, type_) for value in values)
        left = f"{row}.{quoted(column)}::{type_.name}"
        return f"{left} {self._equality(type_)} ANY (ARRAY[{literals}])"

    def _require_values(self, option: str, type_: Type, values: Sequence[str]) -> None:
        """OptionsError unless the type takes every value. The value itself is not repeated."""
        literals = ", ".join(self._literal(value, type_) for value in values)
        if self._takes(f"SELECT ARRAY[{literals}]"):
            return
        wrong = next(
            n for n, value in enumerate(values, 1)
            if not self._takes(f"SELECT {self._literal(value, type_)}")
        )  # fmt: skip
        raise no_value(option, wrong, len(values), type_.shown)

    def _takes(self, query: str) -> bool:
        try:
            with self._connection.transaction():
                self._connection.execute(query.encode())
        except psycopg.DataError:
            return False
        return True

    def _literal(self, value: str, type_: Type) -> str:
        return f"{sql.Literal(value).as_string(self._connection)}::{type_.name}"

    def _equality(self, type_: Type) -> str:
        operator = equality(self._connection, type_, type_)
        if operator is None:
            raise not_comparable(type_.shown)
        return operator

    def _type(self, table: Table, column: str) -> Type:
        oids = dict(self._connection.execute(_COLUMN_TYPES, (table.oid,)).fetchall())
        return read_types(self._connection, [oids[column]])[oids[column]]

    def _columns_of_instants(self) -> list[str]:
        oids: Mapping[str, int] = dict(
            self._connection.execute(_COLUMN_TYPES, (self._root.oid,)).fetchall()
        )
        known = read_types(self._connection, oids.values())
        return [name for name, oid in oids.items() if known[oid].oid in (_TIMESTAMPTZ, _TIMESTAMP)]
