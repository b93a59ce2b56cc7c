"""Tables that a backup is asked to leave out, and what goes with them. Pure: names in and out."""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence

from convault.dataset.tables import Relation, lookalikes
from convault.errors import OptionsError
from convault.models import Absence, TableName

Close = Callable[[Iterable[Relation]], tuple[TableName, ...]]
"""The tables of the dataset, out of a database that has these (`dataset.close_over`)."""


def leave_out(
    patterns: Sequence[str],
    relations: Collection[Relation],
    close: Close,
    *,
    root: TableName | None,
    messages: TableName | None,
) -> tuple[tuple[TableName, ...], tuple[Absence, ...]]:
    """The dataset as if the tables that `patterns` match were not in the database, and what is
    absent for it: with a table go its partitions and those that inherit from it (its rows include
    theirs), and every table that belongs to the dataset only through these.

    OptionsError when a pattern matches nothing, when it matches a partition without its table, and
    when `root` or `messages` would be gone.
    """
    whole = close(relations)
    excluded = _excluded(patterns, {relation.name: relation for relation in relations})
    if root is not None and root in excluded:
        raise OptionsError(
            f"excludeTables: {root} is the table that the dataset starts from; without it there is "
            "nothing to back up. Leave it in, or set CONVAULT_ROOT_TABLE to another table.",
            table=root,
        )
    kept = close(relation for relation in relations if relation.name not in excluded)
    if messages is not None and messages in whole and messages not in kept:
        how = "is excluded" if messages in excluded else "belongs to the backup only through tables"
        how += "" if messages in excluded else " that are excluded"
        raise OptionsError(
            f"excludeTables: {messages} {how}, so the backup would hold no messages. If that is "
            "what you want, say so: includeMessages false.",
            table=messages,
        )
    partitions = {relation.name for relation in relations if relation.is_partition}
    absent = tuple(
        Absence(name, None, "excluded" if name in excluded else "unreachable")
        for name in whole
        if name not in kept and name not in partitions
    )
    return kept, absent


def matching(pattern: str, names: Iterable[TableName]) -> set[TableName]:
    """The tables that `pattern` names: `table` or `schema.table`, of schema `public` unless told;
    `*` stands for any characters. Letters count as they are in the catalog."""
    schema, dot, name = pattern.partition(".")
    wanted = (schema, name) if dot else ("public", pattern)
    tests = [re.compile(".*".join(map(re.escape, part.split("*"))), re.DOTALL) for part in wanted]
    return {n for n in names if all(t.fullmatch(part) for t, part in zip(tests, n, strict=True))}


def _excluded(
    patterns: Sequence[str], relations: Mapping[TableName, Relation]
) -> frozenset[TableName]:
    """What the patterns match, and all tables whose rows are rows of these."""
    found: set[TableName] = set()
    for pattern in patterns:
        matched = matching(pattern, relations)
        if not matched:
            raise OptionsError(
                f"excludeTables: no table of this database is called {pattern}. "
                f"{_suggestion(pattern, relations)}"
            )
        found |= matched
    waiting = list(found)
    while waiting:
        above = waiting.pop()
        new = {r.name for r in relations.values() if above in r.parents} - found
        found |= new
        waiting += new
    for name in sorted(found):
        relation = relations[name]
        if relation.is_partition and not found & set(relation.parents):
            raise OptionsError(
                f"excludeTables: {name} is a partition of {relation.parents[0]}; what references "
                "its rows could not be restored without it. Exclude the whole table, or detach the "
                "partition.",
                table=name,
            )
    return frozenset(found)


def _suggestion(pattern: str, names: Iterable[TableName]) -> str:
    schema, dot, name = pattern.partition(".")
    found = lookalikes(TableName(schema, name) if dot else TableName("public", pattern), names)
    if not found:
        return "Names are written as in the catalog, `table` or `schema.table`."
    return f"Perhaps {' or '.join(map(str, found))} is meant?"
