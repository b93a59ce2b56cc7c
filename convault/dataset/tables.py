"""Which tables belong together. Everything here is pure: names in, names out."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from difflib import get_close_matches

from convault.errors import MissingTable, UnsupportedSource
from convault.models import ForeignKey, TableName

MANAGED_SCHEMAS = frozenset(
    {
        "_analytics", "_realtime", "auth", "cron", "extensions", "graphql", "graphql_public",
        "information_schema", "net", "pgbouncer", "pgmq", "pgsodium", "pgsodium_masks", "realtime",
        "storage", "vault",
    }
)  # fmt: skip
"""Schemas that Supabase or Postgres itself fills (and `supabase_*`, `pg_*`): never copied whole,
because the place that is restored into has its own. Source: Supabase's documentation."""

_OWN = (
    "backups", "backup_audit", "backup_copies", "backup_incidents", "backup_leases",
    "backup_objects", "backup_recipients", "backup_repositories", "backup_schedules",
    "backup_verify_turns", "convault_migrations",
)  # fmt: skip
OWN_TABLES = frozenset(TableName("public", name) for name in _OWN)
"""Convault's own catalog, which may live in the database that it backs up."""


@dataclass(frozen=True, slots=True)
class Relation:
    """What the closure must know of a table."""

    name: TableName
    parents: tuple[TableName, ...] = ()
    """the table that this is a partition of, or those it inherits from"""
    is_partition: bool = False
    of_extension: bool = False
    """whether an extension made it, and makes it again"""


def is_managed(schema: str) -> bool:
    """Whether the schema is filled by Supabase or Postgres rather than by the application."""
    return schema in MANAGED_SCHEMAS or schema.startswith(("supabase_", "pg_"))


def own_tables(names: Iterable[TableName]) -> frozenset[TableName]:
    """Those of Convault's own tables that are among `names`."""
    found = OWN_TABLES.intersection(names)
    # Without Convault's migrations, a table called `backups` is the application's own.
    return found if TableName("public", "convault_migrations") in found else frozenset()


def close_over(
    root: TableName,
    relations: Iterable[Relation],
    foreign_keys: Iterable[ForeignKey],
    *,
    excluded: Collection[TableName] = (),
) -> tuple[TableName, ...]:
    """The tables that belong to `root`, each after those that it needs, wherever cycles allow.

    First down: what references a table of the dataset, until nothing new comes. Then up: what these
    tables reference, and what that references, so that a restore breaks no foreign key; never down
    again from there, or `channels` would bring along everything else that uses a channel. With a
    table come its partition tree, those that inherit from it (its rows include theirs), and those
    that it inherits from (it cannot be created without them, but their other heirs stay away).

    Managed schemas are a boundary, and Convault's own tables are left out, as are the `excluded`
    ones with all that shares their rows. Raises MissingTable when `root` is not there,
    UnsupportedSource when it, or a table that holds rows of the dataset, lies in a managed schema.
    """
    keys = list(foreign_keys)
    family = _Family(relations, excluded)
    if is_managed(root.schema):
        raise UnsupportedSource(
            f"{root} lies in the schema {root.schema}, which Supabase manages: such a schema is "
            "never backed up. Set CONVAULT_ROOT_TABLE to a table of your own.",
            table=root,
        )
    if root not in family.relations:
        raise MissingTable(
            f"There is no table {root}, from which the dataset starts. "
            f"{_suggestion(root, family.relations)} Set CONVAULT_ROOT_TABLE to the right one.",
            table=root,
        )
    return _with_needs(_down(root, keys, family), keys, family)


def close_over_named(
    names: Iterable[TableName], relations: Iterable[Relation], foreign_keys: Iterable[ForeignKey]
) -> tuple[TableName, ...]:
    """The named tables, with what shares their rows and what they reference, in the order of
    `close_over`, whose errors it raises."""
    keys = list(foreign_keys)
    return _with_needs(names, keys, _Family(relations, ()))


def only_below(
    tables: Collection[TableName],
    root: TableName,
    relations: Iterable[Relation],
    foreign_keys: Iterable[ForeignKey],
) -> tuple[TableName, ...]:
    """What belongs to `root` only through `tables`: these, what shares their rows, and what is
    reached downward from the root no more when they are left out."""
    known, keys = list(relations), list(foreign_keys)
    whole, less = _Family(known, ()), _Family(known, tables)
    if root not in less.relations:
        return tuple(sorted(less.excluded))
    lost = set(_down(root, keys, whole)) - set(_down(root, keys, less))
    return tuple(sorted(lost | less.excluded))


def _down(root: TableName, keys: Collection[ForeignKey], family: _Family) -> list[TableName]:
    below: dict[TableName, list[TableName]] = {}
    for key in keys:
        below.setdefault(key.references, []).append(key.table)
    return _reach([root], below, family)


def _with_needs(
    names: Iterable[TableName], keys: Collection[ForeignKey], family: _Family
) -> tuple[TableName, ...]:
    above: dict[TableName, list[TableName]] = {}
    for key in keys:
        above.setdefault(key.table, []).append(key.references)
    return _in_order(_reach(names, above, family, ancestors=True), keys, family)


def require_messages(
    messages: TableName, root: TableName, closure: Collection[TableName], all_: Iterable[TableName]
) -> None:
    """MissingTable unless the table of messages is in the closure: a backup of conversations
    without what was said in them would be an empty success."""
    if messages in closure:
        return
    everything = set(all_)
    if messages in everything:
        raise MissingTable(
            f"{messages} is there, but no chain of foreign keys ties it to {root}, so its rows "
            f"would not be backed up. Add the foreign key, declare it in CONVAULT_RELATIONS, or "
            f"set CONVAULT_ROOT_TABLE and CONVAULT_MESSAGES_TABLE to tables that belong together.",
            table=messages,
        )
    raise MissingTable(
        f"There is no table {messages}, where the messages should be. "
        f"{_suggestion(messages, everything)} Set CONVAULT_MESSAGES_TABLE to the right one.",
        table=messages,
    )


def lookalikes(wanted: TableName, names: Iterable[TableName]) -> list[TableName]:
    """At most five tables that may be meant by `wanted`, the likeliest first."""
    usable = sorted(n for n in names if not is_managed(n.schema) and n != wanted)
    stem = wanted.name.lower().rstrip("s")
    close = get_close_matches(wanted.name.lower(), {n.name.lower() for n in usable}, n=5)
    words = _SAME_THING.get(stem, ())

    def rank(name: TableName) -> int | None:
        lower = name.name.lower()
        tests = (
            lower == wanted.name.lower(),
            lower in close,
            bool(stem) and stem in lower,
            any(word in lower for word in words),
        )
        return tests.index(True) if any(tests) else None

    ranked = [(place, name) for name in usable if (place := rank(name)) is not None]
    return [name for _, name in sorted(ranked)[:5]]


_SAME_THING = {
    "conversation": ("chat", "thread", "dialog", "room", "ticket", "conversa", "atendimento"),
    "message": ("msg", "chat", "post", "mensage", "reply", "replies"),
}
"""Other words that applications use for these tables, in English and Portuguese."""


def _suggestion(wanted: TableName, names: Iterable[TableName]) -> str:
    found = lookalikes(wanted, names)
    if not found:
        return "No table of this database looks like it: is this the right database?"
    return f"Perhaps {' or '.join(map(str, found))} is meant?"


class _Family:
    """Partition trees and inheritance, both ways."""

    def __init__(self, relations: Iterable[Relation], excluded: Collection[TableName]) -> None:
        self.relations = {relation.name: relation for relation in relations}
        for name in own_tables(self.relations):
            del self.relations[name]
        self.heirs: dict[TableName, list[TableName]] = {}
        for relation in self.relations.values():
            for parent in relation.parents:
                self.heirs.setdefault(parent, []).append(relation.name)
        self.excluded: set[TableName] = set()
        waiting = [name for name in excluded if name in self.relations]
        while waiting:
            name = waiting.pop()
            if name not in self.excluded:
                self.excluded.add(name)
                waiting += self.heirs.get(name, ())
        for name in self.excluded:
            del self.relations[name]

    def may_join(self, name: TableName) -> bool:
        return name in self.relations and not is_managed(name.schema)

    def rows_of(self, name: TableName) -> list[TableName]:
        """Tables whose rows are rows of `name`, and the table that it is a partition of."""
        relation = self.relations[name]
        found = [*self.heirs.get(name, ()), *(relation.parents if relation.is_partition else ())]
        found = [other for other in found if other not in self.excluded]
        for other in found:
            if other not in self.relations or is_managed(other.schema):
                raise UnsupportedSource(
                    f"{other} shares the rows of {name}, but lies in the schema {other.schema}, "
                    "which Supabase manages and which is never backed up. Move it to a schema of "
                    "your own.",
                    table=other,
                )
        return found


def _reach(
    start: Iterable[TableName],
    edges: Mapping[TableName, Iterable[TableName]],
    family: _Family,
    *,
    ancestors: bool = False,
) -> list[TableName]:
    """Everything that `edges` lead to from `start`, with its rows and, if asked, its ancestors."""
    whole: dict[TableName, None] = {}
    alone: dict[TableName, None] = {}
    """ancestors: taken without their other heirs, unless an edge leads to them as well"""
    waiting = [(name, True) for name in start]
    while waiting:
        name, with_rows = waiting.pop()
        if name in whole or (not with_rows and name in alone):
            continue
        (whole if with_rows else alone)[name] = None
        if with_rows:
            waiting += [(other, True) for other in family.rows_of(name)]
        if ancestors and not family.relations[name].is_partition:
            waiting += [(p, False) for p in family.relations[name].parents if family.may_join(p)]
        waiting += [(other, True) for other in edges.get(name, ()) if family.may_join(other)]
    return [*whole, *(name for name in alone if name not in whole)]


def _in_order(
    names: Iterable[TableName], keys: Iterable[ForeignKey], family: _Family
) -> tuple[TableName, ...]:
    """Each table after the tables it needs; a cycle of foreign keys is entered at the table that
    needs the least, but never before a table's own parents."""
    left = set(names)
    parents = {name: set(family.relations[name].parents) & left for name in left}
    needs = {name: set(above) for name, above in parents.items()}
    for key in keys:
        if key.table in left and key.references in left and key.table != key.references:
            needs[key.table].add(key.references)
    order: list[TableName] = []
    while left:
        ready = sorted(name for name in left if not needs[name] & left)
        if not ready:
            # A table with the fewest tables below it lies in a cycle that needs nothing else.
            cycle = min((_below(name, needs, left) for name in sorted(left)), key=len)
            ready = sorted(name for name in cycle if not parents[name] & left)[:1]
        order += ready
        left.difference_update(ready)
    return tuple(order)


def _below(
    name: TableName, needs: Mapping[TableName, set[TableName]], left: set[TableName]
) -> set[TableName]:
    """`name` and everything left that it needs, directly or not."""
    found = {name}
    waiting = [name]
    while waiting:
        new = (needs[waiting.pop()] & left) - found
        found |= new
        waiting += new
    return found
