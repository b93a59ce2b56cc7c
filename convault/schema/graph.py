"""Objects of the database and what they depend on, as a graph in memory."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterable, Iterator
from dataclasses import dataclass, field
from typing import NamedTuple


class Key(NamedTuple):
    """An object of the database."""

    catalog: str
    """pg_class, pg_type, pg_proc, ..."""
    oid: int


@dataclass(frozen=True, slots=True)
class Thing:
    """An object that is needed, or one outside that something needs."""

    key: Key
    kind: str
    """as pg_identify_object says: table, type, function, default value, ..."""
    name: str
    """schema-qualified, quoted where SQL wants it"""
    outside: str | None
    """how `Statement.needs` names it, when it is not part of the backup"""


@dataclass(slots=True)
class Graph:
    """What is needed; `edges` lead from an object to those that it depends on."""

    tables: frozenset[Key]
    """the tables of the dataset"""
    things: dict[Key, Thing] = field(default_factory=dict)
    edges: dict[Key, set[Key]] = field(default_factory=lambda: defaultdict(set))
    attached: dict[Key, set[Key]] = field(default_factory=lambda: defaultdict(set))
    """defaults and checks of a table, checks of a domain: they depend on it, and can be part of
    the statement that makes it"""

    guessed: set[Key] = field(default_factory=set)
    """what only triggers and policies need, or a text names, and what that needs: rows can do
    without, so it may be left out, and must refuse nothing"""
    row_types: set[Key] = field(default_factory=set)
    """tables whose rows something takes as a value: a column, a type, a function"""

    def oids(self, catalog: str) -> list[int]:
        """The things of that catalog that are part of the backup."""
        return sorted(
            key.oid
            for key, thing in self.things.items()
            if key.catalog == catalog and thing.outside is None
        )

    def name(self, catalog: str, oid: int) -> str:
        """Schema-qualified and quoted."""
        return self.things[Key(catalog, oid)].name

    def closure(
        self, start: Iterable[Key], *, stop: Collection[Key] = (), attached: bool = False
    ) -> Iterator[Key]:
        """`start` and whatever it depends on. What `stop` holds is named but not followed; with
        `attached`, an object is taken to need its defaults and checks too."""
        seen: set[Key] = set()
        pending = list(start)
        while pending:
            key = pending.pop()
            if key in seen:
                continue
            seen.add(key)
            yield key
            if key not in stop:
                pending.extend(self.edges.get(key, ()))
                if attached:
                    pending.extend(self.attached.get(key, ()))

    def outside(self, key: Key) -> tuple[str, ...]:
        """What `key` needs that is not part of the backup, in the order of the names.

        The tables of the dataset are not followed: what they need is asked of them.
        """
        start = self.edges.get(key, set()) - self.tables
        found = (self.things[k].outside for k in self.closure(start, stop=self.tables))
        return tuple(sorted({name for name in found if name is not None}))
