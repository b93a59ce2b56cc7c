"""Which rows belong to those that a filter gave, found along the keys as they are read.

The rules are those of `convault.dataset.descent`, as by SQL. There is no snapshot to look into
twice, so rows are read as they are found: a round of requests for each step away from the root.
First what belongs to the rows of a filter, until nothing new is found; then what any of all these
refers to.
A row is asked for after the one that it belongs to, so whatever was there all the time is found.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping

from convault.dataset.descent import Descent, Step
from convault.models import Dataset, ForeignKey, TableName
from convault.sources.rest import asking
from convault.sources.rest.asking import Key
from convault.sources.rest.holding import Holding, followed
from convault.sources.rest.lots import Lot, lots_of
from convault.sources.rest.rows import hashed

Lots = Mapping[TableName, list[Lot]]


class Selecting:
    """`holdings` are those of what was read so far, with texts."""

    def __init__(self, dataset: Dataset, holdings: Mapping[TableName, Holding]) -> None:
        self._dataset = dataset
        self._descent = Descent(dataset)
        self._holdings = holdings
        self._followed = set(followed(dataset))
        self._down: dict[ForeignKey, list[Key]] = defaultdict(list)
        self._up: dict[ForeignKey, list[Key]] = defaultdict(list)
        self._descending = True

    def next(self) -> Lots:
        """What is to be read by the rows that are held; nothing when all is there."""
        if self._descending:
            found = self._belonging()
            if found:
                return found
            self._descending = False
        return self._referred()

    def _belonging(self) -> Lots:
        found: dict[TableName, list[Lot]] = defaultdict(list)
        for table in self._dataset.tables:
            for step in self._descent.down(table):
                key = step.key
                if self._never(step):
                    continue
                held = self._holdings[table.name]
                values = held.texts(key.referenced_columns, hashed(self._down[key]))
                self._down[key] += values
                where = tuple(asking.lacks_one(columns) for columns in step.unless)
                found[key.table] += lots_of(key.columns, values, key, where=where)
        return {name: lots for name, lots in found.items() if lots}

    def _never(self, step: Step) -> bool:
        """Whether every row has a value in a key that says better whose it is."""
        needed = {c.name for c in self._dataset.table(step.key.table).columns if c.not_null}
        return any(needed.issuperset(columns) for columns in step.unless)

    def _referred(self) -> Lots:
        found: dict[TableName, list[Lot]] = defaultdict(list)
        for table in self._dataset.tables:
            for step in self._descent.up(table):
                key = step.key
                if key not in self._followed:
                    continue
                known = self._holdings[key.references].of(key.referenced_columns)
                values = self._holdings[table.name].texts(key.columns, known)
                asked = set(self._up[key])
                values = [value for value in values if value not in asked]
                self._up[key] += values
                found[key.references] += lots_of(
                    key.referenced_columns, values, key, unique=not key.declared
                )
        return {name: lots for name, lots in found.items() if lots}
