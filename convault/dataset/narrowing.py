"""Columns that are left out or masked: which ones, and whether a restore could cope. Pure.

What is refused here would leak a value (a generated column that holds it in another form) or make
a backup that no database takes. What the restore survives, but not quite as it was, becomes a
warning (`convault.sources.columns`).
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass, replace
from difflib import get_close_matches
from typing import NamedTuple

from convault.dataset.masking import cannot_be_hashed
from convault.errors import OptionsError
from convault.formats.postgres_types import quoted
from convault.models import Absence, Column, Dataset, Mask, Table, TableName


class ColumnId(NamedTuple):
    """A column of a table."""

    table: TableName
    name: str

    def __str__(self) -> str:
        return f"{self.table}.{self.name}"


@dataclass(frozen=True, slots=True)
class Changes:
    """What is asked for, told apart: with a column those of its table's partitions and heirs."""

    excluded: frozenset[ColumnId]
    masked: dict[ColumnId, Mask]

    @property
    def all(self) -> frozenset[ColumnId]:
        """Every column that is left out or masked."""
        return self.excluded | frozenset(self.masked)


@dataclass(frozen=True, slots=True)
class ColumnFacts:
    """What the catalogs tell of a column that is to be left out or masked."""

    has_default: bool
    """its own, its domain's, or an identity"""
    constant_default: bool
    """a default that is the same for every row, surely"""
    takes_null: bool
    """whether its type takes NULL (a domain may not)"""
    partition_key: bool
    computed: tuple[str, ...] = ()
    """generated columns of its table that are computed from it"""
    unique: tuple[str, ...] = ()
    """unique indexes of its table that it is a key column of"""
    one_null: tuple[str, ...] = ()
    """those of them that take one NULL only (NULLS NOT DISTINCT)"""
    full_match: bool = False
    """part of a foreign key of several columns with MATCH FULL"""


def resolve(
    dataset: Dataset, excluded: Sequence[str], masked: Iterable[tuple[str, Mask]]
) -> Changes:
    """Which columns the names mean. A name may also be written as SQL would quote it, all three
    parts of it. Columns of tables that are left out as a whole are left out already.

    OptionsError for a name that means no column, or more than one, for a column that a partition
    has from its table, and for one that is both excluded and masked, or masked in two ways.
    """
    spelled = _spellings(dataset)
    out: set[ColumnId] = set()
    masks: dict[ColumnId, Mask] = {}
    for name in excluded:
        out.update(_meant(dataset, spelled, name, "excludeColumns"))
    for name, mask in masked:
        for column in _meant(dataset, spelled, name, "maskColumns"):
            if masks.setdefault(column, mask) != mask:
                raise OptionsError(f"maskColumns: {column} cannot have two masks: choose one.")
    both = sorted(out & set(masks))
    if both:
        raise OptionsError(f"{both[0]} cannot be both excluded and masked: choose one.")
    return Changes(frozenset(out), masks)


def narrowed(dataset: Dataset, changes: Changes, facts: dict[ColumnId, ColumnFacts]) -> Dataset:
    """The dataset without the excluded columns, with the masked ones marked. OptionsError, with the
    remedy, for what a restore could not take or what would leak."""
    tables = []
    absent = list(dataset.absent)
    for table in dataset.tables:
        for column in table.columns:
            this = ColumnId(table.name, column.name)
            if this in changes.excluded:
                _require_excludable(dataset, table, column, facts[this], changes)
                absent.append(Absence(table.name, column.name, "excluded"))
            elif this in changes.masked:
                _require_maskable(dataset, table, column, facts[this], changes)
        tables.append(_without(table, changes))
    return replace(dataset, tables=tuple(tables), absent=tuple(absent))


def _without(table: Table, changes: Changes) -> Table:
    kept = tuple(
        replace(c, mask=changes.masked.get(ColumnId(table.name, c.name), ""))
        for c in table.columns
        if ColumnId(table.name, c.name) not in changes.excluded
    )
    if any(not c.generated for c in table.columns) and all(c.generated for c in kept):
        raise OptionsError(
            f"excludeColumns: nothing of {table.name} would be left to restore a row from. Exclude "
            "the table instead (excludeTables), or keep a column.",
            table=table.name,
        )
    return replace(table, columns=kept)


def _require_excludable(
    dataset: Dataset, table: Table, column: Column, facts: ColumnFacts, changes: Changes
) -> None:
    role = _role(dataset, table, column)
    if column.generated and not role:
        return  # a restore computes it anyway
    if role == "the primary key" and table.reference_only:
        raise _refused(table, column, "excluded", "is what its rows are known by: leave it in")
    if table.reference_only:
        return
    if role or facts.partition_key:
        remedy = "Leave it in"
        if not column.not_null and role == "a foreign key" and not facts.partition_key:
            remedy += ", or mask it: null"
        raise _refused(
            table, column, "excluded",
            f"is part of {role or 'the partition key'}: without it the rows could not be restored. "
            f"{remedy}",
        )  # fmt: skip
    filled = facts.has_default
    if column.not_null and not filled:
        can = "" if cannot_be_hashed(column.type) else ", or mask it instead (hash)"
        raise _refused(
            table, column, "excluded",
            "is NOT NULL and has no default, so a restore would have nothing to put there. Give it "
            f"a default, allow NULL{can}",
        )  # fmt: skip
    if not filled:
        _require_null_fits(table, column, facts, "excluded")
    if facts.unique and facts.constant_default:
        raise _refused(
            table, column, "excluded",
            f"has the same default for every row, which its unique index {facts.unique[0]} would "
            "refuse. Drop the default, or mask the column instead",
        )  # fmt: skip
    _require_no_copies(table, column, facts, changes, "excluded")


def _require_maskable(
    dataset: Dataset, table: Table, column: Column, facts: ColumnFacts, changes: Changes
) -> None:
    mask = changes.masked[ColumnId(table.name, column.name)]
    if column.generated:
        raise _refused(
            table, column, "masked",
            "is generated: a restore computes it again, and cannot be given a mask. Exclude it, "
            "and mask what it is computed from",
        )  # fmt: skip
    role = _role(dataset, table, column)
    if facts.partition_key:
        raise _refused(table, column, "masked", "is part of the partition key: leave it as it is")
    if role and not (role == "a foreign key" and mask == "null"):
        null = role == "a foreign key" and not column.not_null
        raise _refused(
            table, column, "masked",
            f"is part of {role}: rows would no longer find each other. Leave it as it is"
            f"{', or mask it: null' if null else ''}",
        )  # fmt: skip
    if mask == "hash":
        reason = cannot_be_hashed(column.type)
        if reason is not None:
            widen = ", or widen it to varchar(64)" if "varying(" in column.type else ""
            raise _refused(
                table, column, "masked",
                f"cannot be hashed: {reason}. Mask it: null, exclude it{widen}",
            )  # fmt: skip
    elif not table.reference_only:
        if column.not_null:
            raise _refused(
                table, column, "masked",
                "is NOT NULL, so a restore would refuse the null. Allow NULL"
                f"{'' if cannot_be_hashed(column.type) else ', or mask it: hash'}",
            )  # fmt: skip
        _require_null_fits(table, column, facts, "masked")
    if not table.reference_only:
        _require_no_copies(table, column, facts, changes, "masked")


def _require_null_fits(table: Table, column: Column, facts: ColumnFacts, done: str) -> None:
    if not facts.takes_null:
        raise _refused(
            table, column, done,
            f"has the type {column.type}, a domain that does not take NULL, and there is nothing "
            "else to put there. Change the domain, or give it a default and exclude the column",
        )  # fmt: skip
    if facts.one_null:
        raise _refused(
            table, column, done,
            f"is in the unique index {facts.one_null[0]}, which takes NULL only once (NULLS NOT "
            "DISTINCT). Mask it: hash, or change the index",
        )  # fmt: skip
    if facts.full_match:
        raise _refused(
            table, column, done,
            "is part of a foreign key with MATCH FULL, which takes all of its columns as NULL, or "
            "none. Leave it as it is",
        )  # fmt: skip


def _require_no_copies(
    table: Table, column: Column, facts: ColumnFacts, changes: Changes, done: str
) -> None:
    """A generated column holds its values in another form, and a restore would compute it anew."""
    left = [c for c in facts.computed if ColumnId(table.name, c) not in changes.excluded]
    if left:
        raise _refused(
            table, column, done,
            f"is what the generated column {left[0]} is computed from, so its values would be in "
            f"the backup all the same. Exclude {table.name}.{left[0]} too",
        )  # fmt: skip


def _role(dataset: Dataset, table: Table, column: Column) -> str:
    """What the column is for, where it ties rows together; '' for any other."""
    if column.name in table.primary_key:
        return "the primary key"
    for key in dataset.foreign_keys:
        if key.references == table.name and column.name in key.referenced_columns:
            return f"the key that {key.table} references"
    for key in dataset.foreign_keys:
        if key.table == table.name and column.name in key.columns:
            return "a foreign key"
    return ""


def _refused(table: Table, column: Column, done: str, why: str) -> OptionsError:
    option = "excludeColumns" if done == "excluded" else "maskColumns"
    return OptionsError(
        f"{option}: {table.name}.{column.name} cannot be {done}, as it {why}.",
        table=table.name,
        column=column.name,
    )


def _spellings(dataset: Dataset) -> dict[str, list[ColumnId]]:
    found: dict[str, list[ColumnId]] = {}
    for table in dataset.tables:
        for column in table.columns:
            this = ColumnId(table.name, column.name)
            names = [str(this), f"{table.name.quoted}.{quoted(column.name)}"]
            if table.name.schema == "public":
                names.append(f"{table.name.name}.{column.name}")
            for name in names:
                found.setdefault(name, []).append(this)
    return found


def _meant(
    dataset: Dataset, spelled: dict[str, list[ColumnId]], name: str, option: str
) -> list[ColumnId]:
    """The column of that name, and the same one of partitions and heirs."""
    found = spelled.get(name, [])
    if not found and any(name.startswith(start) for start in _starts(dataset.absent)):
        return []
    if not found:
        close = get_close_matches(name, spelled, n=3, cutoff=0.5)
        hint = f"Perhaps {' or '.join(close)} is meant?" if close else (
            "Names are written as in the catalog, `table.column` or `schema.table.column`."
        )  # fmt: skip
        raise OptionsError(f"{option}: the backup has no column {name}. {hint}")
    if len(found) > 1:
        quoted_ = " or ".join(f"{c.table.quoted}.{quoted(c.name)}" for c in found)
        raise OptionsError(f"{option}: {name} may mean several columns: write {quoted_}.")
    (column,) = found
    for parent in dataset.table(column.table).parents:
        if any(table.name == parent and table.kind == "p" for table in dataset.tables):
            raise OptionsError(
                f"{option}: {column.table} is a partition of {parent}; name the column of that, "
                f"{parent}.{column.name}, which stands for all of its partitions."
            )
    return [ColumnId(table, column.name) for table in _below(dataset, column)]


def _starts(absent: Collection[Absence]) -> set[str]:
    """How names of columns begin whose tables are left out."""
    names = {a.table for a in absent if a.column is None}
    return {f"{n}." for n in names} | {f"{n.name}." for n in names if n.schema == "public"}


def _below(dataset: Dataset, column: ColumnId) -> list[TableName]:
    """The tables that have the column from this one, itself included."""
    found = [column.table]
    for above in found:
        found += [t.name for t in dataset.tables if above in t.parents and t.name not in found]
    return [t.name for t in dataset.tables if t.name in found and _has(t, column.name)]


def _has(table: Table, name: str) -> bool:
    return any(column.name == name for column in table.columns)
