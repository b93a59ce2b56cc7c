"""Which definitions go into the statement of their table, and what must be made before what.

A default or a check is written into its table's or domain's own statement, unless it needs
something that needs that table (a function that reads it), or something outside the backup: then it
is a statement of its own, which can come later or be left out.
"""

from __future__ import annotations

import logging
from collections.abc import Collection, Mapping, Sequence

from convault.errors import UnsupportedSource
from convault.models import Statement
from convault.schema.graph import Graph, Key

_logger = logging.getLogger(__name__)


def set_apart(graph: Graph) -> set[Key]:
    """Defaults and checks that need a statement of their own."""
    return {
        part
        for owner, parts in graph.attached.items()
        for part in parts
        if graph.outside(part)
        or owner in graph.closure(graph.edges.get(part, set()) - {owner}, attached=True)
    }


def in_order(
    graph: Graph,
    made: Mapping[Key, Sequence[Statement]],
    apart: Collection[Key],
) -> tuple[list[Statement], set[Key]]:
    """The statements of `made` in its order, but each after what its object depends on; and the
    keys of those that are left out.

    What is only guessed to be needed comes last, and what Postgres could not make of it is left
    out. `apart` are the defaults and checks that are not part of their owner's statement. Raises
    UnsupportedSource for a circle, which Postgres allows between functions that replaced others,
    and for a function whose body needs a primary key, which is made after the rows are loaded.
    """
    statements: list[Statement] = []
    done: set[Key] = set()
    path: list[Key] = []

    def visit(key: Key) -> None:
        if key in done:
            return
        if key in path or (key.catalog == "pg_constraint" and key not in made):
            raise UnsupportedSource(
                f"{graph.things[path[-1]].name} needs {graph.things[key].name} before it can be "
                "made, and a restore has to make it later. Nothing was backed up. Write the "
                "function's body as a string instead of BEGIN ATOMIC, or change what needs it.",
                object=graph.things[path[-1]].name,
            )
        path.append(key)
        for needed in sorted(needs(key)):
            visit(needed)
        path.pop()
        done.add(key)
        statements.extend(made.get(key, ()))

    def needs(key: Key) -> set[Key]:
        needed = set(graph.edges.get(key, ()))
        for part in graph.attached.get(key, set()).difference(apart):
            needed |= graph.edges.get(part, set())
        return needed - {key}

    for root in sorted(made, key=graph.guessed.__contains__):
        try:
            visit(root)
        except UnsupportedSource:
            if root not in graph.guessed:
                raise
            path.clear()
            _logger.warning(
                "%s may be called by a function of the backup, but a restore could not make it: it "
                "was left out.",
                graph.things[root].name,
            )
    return statements, set(made) - done
