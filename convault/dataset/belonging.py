"""Which conversation a row belongs to: the row of the root table that its foreign keys lead to.

Pure: from the dataset alone follows where the key of that row stands, in the table's own column, or
behind foreign keys, at the end of a scalar subquery (which, unlike a join, leaves rows in the order
of their pages).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from convault.formats.postgres_types import quoted, value_expression
from convault.models import Column, Dataset, ForeignKey, Table, TableName


@dataclass(frozen=True, slots=True)
class Belonging:
    """Where the key of a row's conversation stands; one of the two."""

    column: str | None
    """the table's own column that holds it"""
    expression: str | None
    """SQL that gives it: a boolean, an integer or text, NULL for none. It calls the table by its
    full name"""
    elsewhere: bool = False
    """whether the expression looks into other tables: then the conversation of a row may change
    while the row does not"""


def belonging(dataset: Dataset, name: TableName) -> Belonging | None:
    """How the conversation of the table's rows is found; None when no foreign key leads to the
    root, when there is no root or it has no primary key, or when a column on the way is not in the
    backup as it is.

    The shortest way counts, and of several the one over the columns that come first.
    """
    table = dataset.table(name)
    way = way_to_root(dataset, name)
    if way is None:
        return None
    primary_key = _root(dataset).primary_key
    if not way:
        own = [_column(table, column) for column in primary_key]
        return _here(own, table.name.quoted)
    first = way[0]
    if len(way) == 1 and set(primary_key) <= set(first.referenced_columns):
        own = [_column(table, column) for column in key_columns(dataset, first)]
        return _here(own, table.name.quoted)
    expression = _subquery(dataset, way, table, table.name.quoted)
    return None if expression is None else Belonging(None, expression, elsewhere=True)


def indexed(dataset: Dataset) -> tuple[TableName, ...]:
    """The tables whose rows' conversation can be told, in the dataset's order."""
    return tuple(
        table.name
        for table in dataset.tables
        if table.kind == "r" and belonging(dataset, table.name) is not None
    )


def way_to_root(dataset: Dataset, name: TableName) -> tuple[ForeignKey, ...] | None:
    """The foreign keys from the table to the root, one behind the other; () for the root (and what
    it is a partition or a child of). None when there are none, or the root has no primary key."""
    if dataset.root is None or not _root(dataset).primary_key:
        return None
    waiting: list[tuple[TableName, tuple[ForeignKey, ...]]] = [(name, ())]
    seen = {name}
    for table, way in waiting:
        lineage = _lineage(dataset, table)
        if dataset.root in lineage:
            return way
        for key in sorted(dataset.foreign_keys, key=lambda key: _place(dataset, key)):
            if key.table in lineage and key.references not in seen and _has(dataset, key):
                seen.add(key.references)
                waiting.append((key.references, (*way, key)))
    return None


def _root(dataset: Dataset) -> Table:
    assert dataset.root is not None  # without a root no way leads to it
    return dataset.table(dataset.root)


def _lineage(dataset: Dataset, name: TableName) -> set[TableName]:
    """The table, and what it is a partition or a child of: their keys are its keys."""
    found = {name}
    waiting = [name]
    while waiting:
        above = set(dataset.table(waiting.pop()).parents) - found
        above &= {table.name for table in dataset.tables}
        found |= above
        waiting += above
    return found


def _has(dataset: Dataset, key: ForeignKey) -> bool:
    """Whether the key can be followed: of a column that is masked the backup must not tell where
    it leads to."""
    if all(table.name != key.references for table in dataset.tables):
        return False
    own, above = dataset.table(key.table), dataset.table(key.references)
    masked = {c.name for c in own.columns if c.mask} & set(key.columns)
    return not masked and not {c.name for c in above.columns if c.mask} & set(
        key.referenced_columns
    )


def _place(dataset: Dataset, key: ForeignKey) -> tuple[list[int], str]:
    """By the columns' numbers, because names of constraints are made up."""
    numbers = {column.name: column.number for column in dataset.table(key.table).columns}
    return [numbers.get(column, 1 << 16) for column in key.columns], key.name


def key_columns(dataset: Dataset, key: ForeignKey) -> list[str]:
    """The columns of a foreign key to the root that hold its primary key, in the order of that."""
    pairs = dict(zip(key.referenced_columns, key.columns, strict=True))
    return [pairs[column] for column in _root(dataset).primary_key]


def _column(table: Table, name: str) -> Column | None:
    """None where its values are not in the backup."""
    return next((c for c in table.columns if c.name == name and not c.mask), None)


def _here(columns: Sequence[Column | None], qualifier: str) -> Belonging | None:
    if len(columns) == 1:
        return None if columns[0] is None else Belonging(columns[0].name, None)
    expression = _key(columns, qualifier)
    return None if expression is None else Belonging(None, expression)


def _key(columns: Sequence[Column | None], qualifier: str) -> str | None:
    """The root's primary key, as its columns are written; of several columns as Postgres writes a
    row: `(a,b)`."""
    if any(column is None for column in columns):
        return None
    values = [value_expression(column, qualifier) for column in columns if column is not None]
    if len(values) == 1:
        return values[0]
    nulls = ", ".join(values)
    return f"CASE WHEN pg_catalog.num_nulls({nulls}) = 0 THEN ROW({nulls})::pg_catalog.text END"


def _subquery(
    dataset: Dataset, way: Sequence[ForeignKey], table: Table, qualifier: str, depth: int = 1
) -> str | None:
    """The key of the root's row at the end of the way, for the row of `table` that `qualifier`
    names in the query around it."""
    root = _root(dataset)
    if not way:
        return _key([_column(table, column) for column in root.primary_key], qualifier)
    key, rest = way[0], way[1:]
    if not rest and set(root.primary_key) <= set(key.referenced_columns):
        return _key([_column(table, c) for c in key_columns(dataset, key)], qualifier)
    above = dataset.table(key.references)
    alias = quoted(f"convault {depth}")
    wanted = _subquery(dataset, rest, above, alias, depth + 1)
    conditions = []
    for own, referenced in zip(key.columns, key.referenced_columns, strict=True):
        left, right = _column(table, own), _column(above, referenced)
        if left is None or right is None or not _comparable(left, right):
            return None
        conditions.append(
            f"{alias}.{quoted(referenced)} OPERATOR(pg_catalog.=) {qualifier}.{quoted(own)}"
        )
    if wanted is None:
        return None
    only = "" if above.kind == "p" else "ONLY "
    # There is one at most, or the key would not be unique; a broken index must not end a backup.
    return (
        f"(SELECT {wanted} FROM {only}{above.name.quoted} AS {alias}"
        f" WHERE {' AND '.join(conditions)} ORDER BY 1 LIMIT 1)"
    )


def _comparable(left: Column, right: Column) -> bool:
    """Whether `pg_catalog.=` is what the foreign key compares with: not for types of somebody's
    own (which format_type spells with a schema), whose operator may be another or none."""
    return "." not in left.type and "." not in right.type
