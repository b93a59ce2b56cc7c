"""The filters as conditions of the REST API on rows of the root.

A value is compared by the server, as a value of the column's type; one that is none of that type is
refused before anything is selected. More values than a URL takes make several requests.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import product
from uuid import UUID

from convault.dataset.filters import Filters
from convault.errors import UnsupportedSource
from convault.filter_columns import (
    key_column,
    no_time,
    no_value,
    not_comparable,
    of_root,
    participants,
    period_column,
)
from convault.models import Dataset, Table
from convault.sources.rest import asking
from convault.sources.rest.api import NoSuchValue, RestApi
from convault.sources.rest.asking import Key
from convault.sources.rest.lots import Lot
from convault.sources.rest.paging import pages
from convault.sources.rest.rows import values_of

_TIME = re.compile(r"timestamp(\(\d\))? with(out)? time zone")


class RootFilter:
    """The filters of one backup, held against the tables that are there."""

    def __init__(self, api: RestApi, dataset: Dataset, filters: Filters) -> None:
        """OptionsError when a column is not there or of a type that the filter cannot use, when a
        value is none of the column's type, or when it is not clear where participants are."""
        assert dataset.root is not None  # filters and `tables` exclude each other
        self._api = api
        self._dataset = dataset
        self._root = dataset.table(dataset.root)
        self._filters = filters
        self._columns = list(of_root(dataset, self._root, filters))
        self._period = self._in_period()
        for option, column, values in self._columns:
            self._require_values(option, self._root, column, values)
        if filters.participant_ids:
            table, column, self._links = participants(dataset, self._root, filters)
            self._holder = dataset.table(table)
            self._participant = column
            self._require_values("participantIds", self._holder, column, filters.participant_ids)

    def lots(self) -> list[Lot]:
        """What to ask for. A row may be in several."""
        filters = len(self._columns) + bool(self._filters.participant_ids)
        room = asking.URL_BYTES // max(1, filters)
        choices: list[list[str]] = [
            list(_alternatives(column, values, room)) for _, column, values in self._columns
        ]
        if self._filters.participant_ids:
            choices.append(list(self._with_participants(room)))
        return [Lot(where=(*self._period, *some)) for some in product(*choices)]

    def missing(self) -> int:
        """How many of the conversations that were asked for by id are not there."""
        if not self._filters.conversation_ids:
            return 0
        column = key_column(self._root)
        type_ = _type(self._root, column)
        asked = {_canonical(value, type_): value for value in self._filters.conversation_ids}
        there: set[str] = set()
        select = asking.as_key([column])
        for some in asking.batches([column], [(value,) for value in asked.values()]):
            condition = asking.one_of([column], some)
            for keys, _ in pages(self._api, self._root, select, where=[condition]):
                there |= {_canonical(value, type_) for (value,) in keys}
        return len(asked.keys() - there)

    def _in_period(self) -> tuple[str, ...]:
        asked = period_column(self._dataset, self._root, self._filters)
        if asked is None:
            return ()
        option, column = asked
        type_ = _type(self._root, column)
        if not _TIME.fullmatch(type_):
            times = [c.name for c in self._root.columns if _TIME.fullmatch(c.type)]
            raise no_time(option, self._root, column, type_, times)
        period, found = self._filters.period, []
        for moment, operator in ((period.start, "gte"), (period.end, "lt")):
            if moment is not None:
                bare = "without" in type_
                text = (moment.replace(tzinfo=None) if bare else moment).isoformat()
                found.append(f"{asking.named(column)}.{operator}.{asking.quoted(text)}")
        return tuple(found)

    def _with_participants(self, room: int) -> Iterator[str]:
        values = self._filters.participant_ids
        if not self._links:
            yield from _alternatives(self._participant, values, room)
            return
        for link in self._links:
            led: dict[Key, None] = {}
            select = ",".join(
                [
                    *(
                        asking.selected(column, f"_c{n}")
                        for n, column in enumerate(self._holder.columns)
                        if column.name in link.columns
                    ),
                    asking.as_key(self._holder.primary_key),
                ]
            )
            for condition in _alternatives(self._participant, values, asking.URL_BYTES):
                for _, page in pages(self._api, self._holder, select, where=[condition]):
                    led |= dict.fromkeys(values_of(page.rows, self._holder, link.columns))
            for some in asking.batches(link.referenced_columns, led, room):
                yield asking.one_of(link.referenced_columns, some)

    def _require_values(
        self, option: str, table: Table, column: str, values: Sequence[str]
    ) -> None:
        """OptionsError unless the type takes every value. The value itself is not repeated."""
        type_ = _type(table, column)
        try:
            for condition in _alternatives(column, values, asking.URL_BYTES):
                self._ask(table, condition)
        except NoSuchValue as error:
            if not error.comparable:
                raise not_comparable(type_) from None
            wrong = _first(values, lambda value: self._takes(table, column, value))
            raise no_value(option, wrong, len(values), type_) from None

    def _takes(self, table: Table, column: str, value: str) -> bool:
        try:
            self._ask(table, asking.one_of([column], [(value,)]))
        except NoSuchValue:
            return False
        return True

    def _ask(self, table: Table, condition: str) -> None:
        key = asking.named(table.primary_key[0])
        self._api.count(table.name, key, asking.where([condition]))


def require_comparable(dataset: Dataset) -> None:
    """UnsupportedSource for a key between columns of types whose texts cannot be taken for one
    another: rows are found by giving the one as a value of the other."""
    tables = {table.name: table for table in dataset.tables}
    for key in dataset.foreign_keys:
        if key.references not in tables:
            continue
        for own, referenced in zip(key.columns, key.referenced_columns, strict=True):
            left, right = _type(tables[key.table], own), _type(tables[key.references], referenced)
            if _family(left) != _family(right):
                raise UnsupportedSource(
                    f"By REST rows cannot be filtered here: {key.table}.{own} is of type {left}, "
                    f"and {key.references}.{referenced}, which it refers to, of type {right}. Set "
                    "DATABASE_URL to read by SQL, or leave the filters out.",
                    table=key.table,
                )


def _alternatives(column: str, values: Sequence[str], room: int) -> Iterator[str]:
    """Conditions, one of which a row meets that has one of the values."""
    keys = [(value,) for value in dict.fromkeys(values)]
    for some in asking.batches([column], keys, room):
        yield asking.one_of([column], some)


def _first(values: Iterable[str], is_right: Callable[[str], bool]) -> int:
    """The number of the first value that is not, from 1."""
    return next(n for n, value in enumerate(values, 1) if not is_right(value))


def _type(table: Table, name: str) -> str:
    return next(column.type for column in table.columns if column.name == name)


def _family(type_: str) -> str:
    if type_ in ("smallint", "integer", "bigint"):
        return "integer"
    return re.sub(r"^character varying(\(\d+\))?$|^text$", "text", type_)


def _canonical(value: str, type_: str) -> str:
    """The value as the server writes it, for the types that ids have."""
    try:
        if _family(type_) == "integer":
            return str(int(value))
        return str(UUID(value)) if type_ == "uuid" else value
    except ValueError:
        return value
