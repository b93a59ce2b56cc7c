"""The filters as SQL conditions on a row of the root, held against its columns and their types.

Values become literals that the driver quotes, cast to the type of the column they are compared
with; a value that is none of that type is refused before anything is selected.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import psycopg
from psycopg import sql

from convault.descent import participant_columns
from convault.errors import OptionsError
from convault.filters import Filters
from convault.formats.postgres_types import quoted
from convault.models import Dataset, ForeignKey, Table, TableName
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
        found = []
        if filters.conversation_ids:
            found.append(self._one_of("conversationIds", "r", self._root, self._key(),
                                      filters.conversation_ids))  # fmt: skip
        found += self._in_period()
        for option, column, values, setting in (
            ("status", filters.status_column, filters.status, "CONVAULT_STATUS_COLUMN"),
            ("channelIds", filters.channel_column, filters.channel_ids, "CONVAULT_CHANNEL_COLUMN"),
        ):
            if values:
                self._require(option, self._root, column, setting)
                found.append(self._one_of(option, "r", self._root, column, values))
        if filters.participant_ids:
            found.append(self._with_participants())
        return found

    def missing(self) -> int:
        column, ids = self._key(), tuple(dict.fromkeys(self._filters.conversation_ids))
        type_ = self._type(self._root, column)
        values = ", ".join(f"({self._literal(value, type_)})" for value in ids)
        row = self._connection.execute(
            f"SELECT pg_catalog.count(*) FROM (VALUES {values}) v (id) WHERE NOT EXISTS (SELECT"
            f" FROM {self._root.name.quoted} r WHERE r.{quoted(column)} {self._equality(type_)}"
            " v.id)".encode()
        ).fetchone()
        assert row is not None
        return int(row[0])

    def _key(self) -> str:
        key = self._root.primary_key
        if len(key) == 1:
            return key[0]
        what = f"has {len(key)} columns" if key else "is missing"
        raise OptionsError(
            f"conversationIds cannot be used: the primary key of {self._root.name} {what}, and an "
            "id is one value. Use startDate, endDate or another filter."
        )

    def _in_period(self) -> list[str]:
        period, column = self._filters.period, self._filters.created_column
        if period.start is None and period.end is None:
            return []
        option = "startDate" if period.start is not None else "endDate"
        self._require(option, self._root, column, "CONVAULT_CREATED_COLUMN")
        type_ = self._type(self._root, column)
        if type_.oid not in (_TIMESTAMPTZ, _TIMESTAMP):
            raise OptionsError(
                f"{option} cannot be used: {column} of {self._root.name} is of type {type_.shown}, "
                "and a time is needed (timestamptz, or timestamp, which is read as UTC). Set "
                f"CONVAULT_CREATED_COLUMN to {_or(self._columns_of_instants())}."
            )
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
        table, column = self._filters.participants or self._found_participants()
        if table == self._root.name:
            self._require(option, self._root, column, "CONVAULT_PARTICIPANTS_COLUMN")
            return self._one_of(option, "r", self._root, column, values)
        links = self._links(table)
        holder = self._dataset.table(table)
        self._require(option, holder, column, "CONVAULT_PARTICIPANTS_COLUMN")
        conditions = read_conditions(self._connection, self._dataset)
        refers = " OR ".join(f"({conditions[link]})" for link in links)
        wanted = self._one_of(option, "o", holder, column, values)
        return f"EXISTS (SELECT FROM {table.quoted} o WHERE ({refers}) AND {wanted})"

    def _found_participants(self) -> tuple[TableName, str]:
        found = participant_columns(self._dataset)
        if len(found) == 1:
            return found[0]
        named = [f"{table}.{column}" for table, column in found]
        if not named:
            named = [
                f"{key.table}.{column.name}"
                for key in self._dataset.foreign_keys
                if key.references == self._root.name and key.table != self._root.name
                for column in self._dataset.table(key.table).columns
                if column.name not in key.columns and column.name.lower().endswith("_id")
            ]
        why = "several columns may hold them" if found else "no table is named for them"
        raise OptionsError(
            f"participantIds cannot be used: it is not clear where participants are, as {why}. Set "
            f"CONVAULT_PARTICIPANTS_COLUMN to {_or(named)}."
        )

    def _links(self, table: TableName) -> list[ForeignKey]:
        links = [
            key
            for key in self._dataset.foreign_keys
            if key.table == table and key.references == self._root.name
        ]
        if not links:
            raise OptionsError(
                f"participantIds cannot be used: CONVAULT_PARTICIPANTS_COLUMN names {table}, and "
                f"no foreign key leads from it to {self._root.name}. Declare it in "
                "CONVAULT_RELATIONS, or name another table."
            )
        return links

    def _require(self, option: str, table: Table, column: str, setting: str) -> None:
        names = [c.name for c in table.columns]
        hidden = [c.name for c in table.columns if c.mask] + [
            a.column for a in self._dataset.absent if a.table == table.name and a.column
        ]
        if column in hidden:
            how = "masked" if column in names else "excluded"
            raise OptionsError(
                f"{option} cannot be used: {table.name}.{column} is {how}, and which rows the "
                f"backup holds would tell its values. Use another filter, or leave {column} as it "
                "is."
            )
        if column not in names:
            raise OptionsError(
                f"{option} cannot be used: {table.name} has no column {column}. Set {setting} to "
                f"one of its columns: {', '.join(names) or 'it has none'}."
            )

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
        which = f"value {wrong} of {len(values)}" if len(values) > 1 else "the value"
        raise OptionsError(
            f"These options cannot be used: {option}: {which} is no {type_.shown}, as the column "
            "holds that it is compared with."
        )

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
            raise OptionsError(
                f"Values of type {type_.shown} cannot be compared, so nothing can be selected by "
                "them. Use another filter."
            )
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


def _or(names: Sequence[str]) -> str:
    return " or ".join(names) or "a column that holds them"
