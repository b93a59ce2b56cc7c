"""What a manifest says of its tables: which belong together, and where a conversation is named."""

from __future__ import annotations

from collections.abc import Collection

from convault.dataset.belonging import way_to_root
from convault.errors import NotFoundError, OptionsError
from convault.manifest import Manifest, TableEntry
from convault.models import Column, Dataset, Table, TableName

CREATED_COLUMNS = ("created_at", "inserted_at", "opened_at", "started_at")
"""names under which a root table says when a row of it came to be, the likeliest first"""
_TIMES = ("timestamp", "date")


class Outline:
    """Answers from a manifest alone."""

    def __init__(self, manifest: Manifest) -> None:
        self.manifest = manifest
        self.entries = {table.name: table for table in manifest.tables}
        self.dataset = dataset_of(manifest)

    @property
    def root(self) -> TableEntry:
        """The root table; there must be one (`require_conversations`)."""
        assert self.manifest.root is not None  # `check` has seen to that
        return self.entries[self.manifest.root]

    def named(self, text: str) -> TableName:
        """The table that somebody named. NotFoundError."""
        schema, dot, name = text.partition(".")
        found = [
            table
            for table in self.entries
            if (table == TableName(schema, name) if dot else table.name == text)
        ]
        exact = [table for table in found if dot or table.schema == "public"]
        chosen = exact or found
        if len(chosen) != 1:
            listed = ", ".join(str(table) for table in (chosen or self.entries))
            raise NotFoundError(
                f"The backup has {'several tables' if chosen else 'no table'} {text}: "
                f"{'name one of' if chosen else 'it holds'} {listed}."
            )
        return chosen[0]

    def tree(self, name: TableName, *, partitions_only: bool = False) -> list[TableName]:
        """A table with its partitions, and those that inherit from it."""
        found = [name]
        for above in found:
            if partitions_only and self.entries[above].kind != "p":
                continue
            found += [
                t.name for t in self.manifest.tables if above in t.parents and t.name not in found
            ]
        return found

    def with_ways(self, names: Collection[TableName]) -> set[TableName]:
        """With the tables by whose rows it is told which rows of these belong to a conversation."""
        found = set(names)
        for name in names:
            for key in way_to_root(self.dataset, name) or ():
                if key.references != self.manifest.root:
                    found |= set(self.tree(key.references))
        return found

    def with_references(self, names: Collection[TableName]) -> set[TableName]:
        """With the tables that these reference, and those they are partitions or children of."""
        found = set(names)
        waiting = list(names)
        while waiting:
            name = waiting.pop()
            lineage = {name, *self.entries[name].parents}
            for key in self.manifest.foreign_keys:
                if key.table in lineage and key.references in self.entries:
                    new = {*self.tree(key.references, partitions_only=True)} - found
                    found |= new
                    waiting += new
            # A partition's rows are its parent's as well, whose keys they must keep.
            above = {p for p in self.entries[name].parents if p in self.entries} - found
            found |= above
            waiting += above
        return found

    def require_conversations(self) -> None:
        """OptionsError where no conversation of the backup can be named."""
        if self.manifest.root is None:
            raise OptionsError(
                "This backup was made of tables that were named, and knows of no conversations: "
                "use --table, or restore everything."
            )
        if self.manifest.index is None:
            raise OptionsError(
                f"{self.manifest.root} has no primary key, so conversations of this backup have "
                "no IDs and no index: use --table, or restore everything."
            )

    def distance(self, table: TableEntry) -> int:
        """Foreign keys from the table to the root; very many where there is no way."""
        way = way_to_root(self.dataset, table.name)
        return 1 << 16 if way is None else len(way)

    def root_key(self, table: TableEntry) -> list[Column]:
        """The columns of the root, or of a partition or child of it, that name a conversation."""
        root = self.root
        columns = {column.name: column for column in table.columns}
        return [columns[name] for name in root.primary_key]

    def created_column(self, name: str | None, table: TableEntry | None = None) -> Column:
        """The column that says when a conversation was created: the one of that `name`, or the
        likeliest. OptionsError names those that there are."""
        root = table or self.root
        times = {c.name: c for c in root.columns if c.type.startswith(_TIMES)}
        if name is None:
            name = next((n for n in CREATED_COLUMNS if n in times), None)
        if name is None or name not in times:
            listed = ", ".join(times) or "none"
            raise OptionsError(
                f"Which column of {self.manifest.root} says when a conversation was created? Set "
                f"CONVAULT_CREATED_COLUMN, or use --created-column. Columns that hold times: "
                f"{listed}."
            )
        return times[name]


def dataset_of(manifest: Manifest) -> Dataset:
    """What the backup says of its tables, as what is read of a source says it."""
    return Dataset(
        manifest.root,
        tuple(
            Table(t.name, 0, t.kind, t.columns, t.primary_key, t.parents, t.reference_only)
            for t in manifest.tables
        ),
        manifest.foreign_keys,
        manifest.absent,
    )
