"""What a backup does not hold although somebody may think so: tables beside the dataset, and what
it was asked to leave out or to mask. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import NamedTuple, Protocol

from convault.models import Absence, Column, Dataset, Table, TableName


@dataclass(frozen=True, slots=True)
class Outsider:
    """A table that lies beside the dataset's tables and is not one of them."""

    name: TableName
    columns: tuple[str, ...]


class _Holder(Protocol):
    @property
    def name(self) -> TableName: ...
    @property
    def columns(self) -> tuple[Column, ...]: ...
    @property
    def parents(self) -> tuple[TableName, ...]: ...
    @property
    def reference_only(self) -> bool: ...


class Holding(Protocol):
    """A dataset, or the manifest of a backup."""

    @property
    def tables(self) -> Sequence[_Holder]: ...
    @property
    def absent(self) -> tuple[Absence, ...]: ...


class LeftOut(NamedTuple):
    """What is not held as it is in the source, by names. A column stands for the same one of its
    table's partitions and heirs."""

    excluded: tuple[str, ...]
    """tables"""
    unreachable: tuple[str, ...]
    """tables"""
    columns: tuple[str, ...]
    masked: tuple[tuple[str, str], ...]
    """columns and their masks"""
    reference_only: tuple[str, ...]
    """tables of which only what is referenced is held"""


def left_out(held: Holding) -> LeftOut:
    """What was left out of a backup or masked, for telling."""
    parents = {table.name: table.parents for table in held.tables}
    columns = {(a.table, a.column) for a in held.absent if a.column is not None}
    masked = {(t.name, c.name): c.mask for t in held.tables for c in t.columns if c.mask}

    def first(table: TableName, column: str | None) -> bool:
        above = {(parent, column) for parent in parents.get(table, ())}
        return not above & columns and not above & set(masked)

    return LeftOut(
        excluded=tuple(a.name for a in held.absent if a.column is None and a.reason == "excluded"),
        unreachable=tuple(a.name for a in held.absent if a.reason == "unreachable"),
        columns=tuple(a.name for a in held.absent if a.column and first(a.table, a.column)),
        masked=tuple(
            (f"{table}.{column}", mask)
            for (table, column), mask in masked.items()
            if first(table, column)
        ),
        reference_only=tuple(str(t.name) for t in held.tables if t.reference_only),
    )


def in_lines(found: LeftOut) -> tuple[str, ...]:
    """What is absent, in words, for people who restore or look at a backup."""
    return (
        *(f"left out: table {name}, as asked for" for name in found.excluded),
        *(
            f"left out: table {name}, which belongs to the backup only through what was left out"
            for name in found.unreachable
        ),
        *(f"left out: column {name}, which has its default or NULL" for name in found.columns),
        *(f"masked: column {name} ({mask})" for name, mask in found.masked),
        *(f"for reference only, not restored: {name}" for name in found.reference_only),
    )


def warnings(dataset: Dataset, outsiders: Iterable[Outsider]) -> tuple[str, ...]:
    """A sentence for every outsider that seems to belong to a conversation: one of its columns is
    named after a table whose rows do (`message_id`, `messageId`). Had it the foreign key, it would
    be part of the dataset. Names only."""
    named = {
        _squeezed(f"{word}_id"): table.name
        for table in belonging(dataset)
        for word in _words(table.name.name)
    }
    return tuple(
        f"{outsider.name} is not in the backup, although its column {column} looks like a reference"
        f" to {named[_squeezed(column)]}: there is no foreign key. Add it, or declare it in"
        " CONVAULT_RELATIONS, if these rows belong to the conversations."
        for outsider in outsiders
        for column in outsider.columns
        if _squeezed(column) in named
    )


def unreachable(dataset: Dataset) -> tuple[str, ...]:
    """A sentence for every table that is not in the backup because others are excluded."""
    return tuple(
        f"{absence.table} is left out as well: it belongs to the backup only through what is"
        " excluded."
        for absence in dataset.absent
        if absence.reason == "unreachable"
    )


def belonging(dataset: Dataset) -> Sequence[Table]:
    """The root and what references it, directly or not, with partitions and heirs: a table with a
    foreign key to one of these is taken along, one with a key to any other is not."""
    found = set() if dataset.root is None else {dataset.root}
    while True:
        parents_of_found = {
            parent for t in dataset.tables if t.name in found for parent in t.parents
        }
        new = {key.table for key in dataset.foreign_keys if key.references in found}
        new |= {table.name for table in dataset.tables if found & set(table.parents)}
        new |= {t.name for t in dataset.tables if t.kind == "p" and t.name in parents_of_found}
        if new <= found:
            return [table for table in dataset.tables if table.name in found]
        found |= new


_SINGULARS = (("ies", "y"), ("ches", "ch"), ("shes", "sh"), ("sses", "ss"), ("xes", "x"),
              ("oes", "ao"), ("ões", "ão"), ("ns", "m"), ("s", ""))  # fmt: skip
"""Ends of plurals, and of their singulars, in English and Portuguese."""


def _words(table: str) -> set[str]:
    name = table.lower()
    return {name} | {
        name.removesuffix(plural) + singular
        for plural, singular in _SINGULARS
        if name.endswith(plural)
    }


def _squeezed(name: str) -> str:
    """`message_id`, `messageId` and `MessageID` are one name."""
    return name.replace("_", "").lower()
