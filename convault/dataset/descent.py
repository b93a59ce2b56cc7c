"""Which rows belong to which, along the keys from the root downward. Pure.

A table of the dataset is as far from the root as the shortest way along its keys. A key that leads
to a nearer table says whose a row is. A key that does not (`messages.reply_to`, or
`attachments.message_id` beside `attachments.conversation_id`) says so only for rows that have no
value in any of the others: what names its conversation itself belongs there, whatever else it
refers to.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from convault.models import Dataset, ForeignKey, Table, TableName


@dataclass(frozen=True, slots=True)
class Step:
    """A key along which rows are found: down, those that refer to a row; up, those referred to."""

    key: ForeignKey
    unless: tuple[tuple[str, ...], ...] = ()
    """of a step down: columns of other keys. A row with values in all columns of one is not this
    step's"""


class Descent:
    """The steps of one dataset that has a root."""

    def __init__(self, dataset: Dataset) -> None:
        assert dataset.root is not None
        self._root = dataset.root
        self._tables = {table.name: table for table in dataset.tables}
        self._keys = [key for key in dataset.foreign_keys if key.references in self._tables]
        self._lineages = {name: self._lineage_of(name) for name in self._tables}
        self._distances = self._measured()

    def down(self, table: Table) -> list[Step]:
        """To the rows that belong to those of `table`. The root's rows belong to nothing."""
        return [
            step
            for key in self._keys
            if self._covers(key, table.name) and (step := self._step_down(key)) is not None
        ]

    def up(self, table: Table) -> list[Step]:
        """To the rows that those of `table` refer to. By a masked key they refer to none in the
        backup, and which rows it held would tell the values."""
        masked = {column.name for column in table.columns if column.mask}
        return [
            Step(key)
            for key in self._keys
            if key.table in self._lineages[table.name] and not masked.intersection(key.columns)
        ]

    def settled(self, table: Table) -> Step | None:
        """The one step up that leads from a row of `table` that belongs to a row which is selected
        already: where one foreign key alone says whose the rows are."""
        nearest = [k for k in self._own(table.name) if self._is_nearer(k, table.name)]
        # A row that another key led to has no value in this one.
        if len(nearest) == 1 and not nearest[0].declared:
            return Step(nearest[0])
        return None

    def _step_down(self, key: ForeignKey) -> Step | None:
        if self._distances.get(self._whole(key.table)) == 0:
            return None
        if self._is_nearer(key, key.table):
            return Step(key)
        others = [k.columns for k in self._own(key.table) if self._is_nearer(k, key.table)]
        return Step(key, tuple(dict.fromkeys(others)))

    def _is_nearer(self, key: ForeignKey, table: TableName) -> bool:
        there, here = self._distance(key.references), self._distances.get(self._whole(table))
        return there is not None and here is not None and there < here

    def _own(self, name: TableName) -> list[ForeignKey]:
        """The keys of the table's rows, whichever table of its partition tree has them."""
        whole = self._whole(name)
        lineage = {
            above
            for other, lineage in self._lineages.items()
            if self._whole(other) == whole
            for above in lineage
        }
        return [key for key in self._keys if key.table in lineage]

    def _covers(self, key: ForeignKey, name: TableName) -> bool:
        """Whether rows of that very table can be what the key refers to. A foreign key refers to
        the rows of a partitioned table wherever they lie, but not to those of heirs."""
        if key.references == name:
            return True
        deep = key.declared or self._tables[key.references].kind == "p"
        return deep and key.references in self._lineages[name]

    def _measured(self) -> Mapping[TableName, int]:
        """By partition tree, the length of the shortest way to the root."""
        self._distances = {
            self._whole(name): 0
            for name, lineage in self._lineages.items()
            if self._root in lineage
        }
        while True:
            new: dict[TableName, int] = {}
            for name in self._tables:
                whole = self._whole(name)
                there = [self._distance(k.references) for k in self._own(name)]
                near = min((d for d in there if d is not None), default=None)
                if near is not None and near + 1 < self._distances.get(whole, len(self._tables)):
                    new[whole] = min(near + 1, new.get(whole, near + 1))
            if not new:
                return self._distances
            self._distances = {**self._distances, **new}

    def _distance(self, referenced: TableName) -> int | None:
        return self._distances.get(self._whole(referenced))

    def _whole(self, name: TableName) -> TableName:
        """The partitioned table that it is a part of, or itself."""
        for parent in self._tables[name].parents:
            if parent in self._tables and self._tables[parent].kind == "p":
                return self._whole(parent)
        return name

    def _lineage_of(self, name: TableName) -> frozenset[TableName]:
        """The table, and what it is a partition or a child of: their keys are its keys."""
        found, waiting = {name}, [name]
        while waiting:
            above = set(self._tables[waiting.pop()].parents) & self._tables.keys() - found
            found |= above
            waiting += above
        return frozenset(found)


def participant_columns(dataset: Dataset) -> Sequence[tuple[TableName, str]]:
    """Columns that may hold who takes part in a conversation: in a table that refers to the root
    and is named for participants, those that refer to something else."""
    found = []
    for table in dataset.tables:
        own = [key for key in dataset.foreign_keys if key.table == table.name]
        links = [key for key in own if key.references == dataset.root]
        if table.name == dataset.root or not links or not _is_of_participants(table.name.name):
            continue
        linking = {column for key in links for column in key.columns}
        others = [key.columns[0] for key in own if key not in links and len(key.columns) == 1]
        named = [c.name for c in table.columns if c.name.lower().endswith("_id")]
        columns = [c for c in others if c not in linking] or [
            c for c in named if c not in linking and (c,) != table.primary_key
        ]
        found += [(table.name, column) for column in dict.fromkeys(columns)]
    return found


def _is_of_participants(name: str) -> bool:
    return any(word in name.lower() for word in ("participa", "member", "attendee", "membro"))
