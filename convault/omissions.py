"""What a backup does not hold although somebody may think so: tables beside the dataset. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from convault.models import Dataset, Table, TableName


@dataclass(frozen=True, slots=True)
class Outsider:
    """A table that lies beside the dataset's tables and is not one of them."""

    name: TableName
    columns: tuple[str, ...]


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
