"""Triggers: made after the rows, so that none fires while these are loaded."""

from __future__ import annotations

import logging
from collections.abc import Set
from typing import Any

from convault.models import Statement
from convault.schema.catalogs import Catalogs
from convault.schema.graph import Graph, Key

_logger = logging.getLogger(__name__)

# A partition's clone of its parent's trigger is told of for its state and its comment alone. Before
# 15 clones are internal, and no internal trigger has a parent but these.
_TRIGGERS = """
    WITH RECURSIVE found (oid, root, depth, parent_state) AS (
        SELECT t.oid, t.oid, 0, NULL::"char" FROM pg_catalog.pg_trigger t
        WHERE t.tgrelid = ANY (%(oids)s::oid[]) AND NOT t.tgisinternal AND t.tgparentid = 0
        UNION ALL
        SELECT t.oid, f.root, f.depth + 1, p.tgenabled
        FROM found f
        JOIN pg_catalog.pg_trigger p ON p.oid = f.oid
        JOIN pg_catalog.pg_trigger t ON t.tgparentid = f.oid)
    SELECT t.oid::int8 AS oid, f.root::int8 AS root, t.tgrelid::int8 AS relation,
        quote_ident(t.tgname) AS name, f.depth = 0 AS own, pg_get_triggerdef(t.oid) AS definition,
        t.tgenabled::text AS state, t.tgenabled <> coalesce(f.parent_state, 'O') AS other_state,
        quote_literal(obj_description(t.oid, 'pg_trigger')) AS comment,
        quote_literal(CASE WHEN f.depth = 0 THEN obj_description(c.oid, 'pg_constraint') END)
            AS constraint_comment
    FROM found f
    JOIN pg_catalog.pg_trigger t ON t.oid = f.oid
    LEFT JOIN pg_catalog.pg_constraint c ON c.oid = t.tgconstraint AND c.contype = 't'
    WHERE t.tgrelid = ANY (%(oids)s::oid[])
    ORDER BY f.depth, t.tgrelid::regclass::text, t.tgname
"""

_STATES = {"O": "ENABLE", "D": "DISABLE", "R": "ENABLE REPLICA", "A": "ENABLE ALWAYS"}


def trigger_statements(catalogs: Catalogs, graph: Graph, not_made: Set[Key]) -> list[Statement]:
    """CREATE TRIGGER for each of the tables' own, with its state and comments. One whose function
    is among `not_made` is left out with a warning.

    A state is given to the whole tree below a partitioned table, and then to partitions that have
    another one.
    """
    statements: list[Statement] = []
    for row in catalogs.rows(_TRIGGERS, {"oids": [key.oid for key in graph.tables]}):
        root = Key("pg_trigger", row.root)
        if not_made and not not_made.isdisjoint(graph.closure([root], stop=graph.tables)):
            if row.own:
                _logger.warning(
                    "The trigger %s was left out: its function could not be.",
                    graph.things[root].name,
                )
            continue
        statements += _statements(row, graph, graph.outside(root))
    return statements


def _statements(row: Any, graph: Graph, needs: tuple[str, ...]) -> list[Statement]:
    table = graph.name("pg_class", row.relation)
    on = f"{row.name} ON {table}"

    def statement(sql: str, kind: str = "trigger") -> Statement:
        return Statement(kind, f"{row.name} on {table}", sql, after_data=True, needs=needs)

    made = [statement(row.definition)] if row.own else []
    if row.other_state:
        made.append(statement(f"ALTER TABLE {table} {_STATES[row.state]} TRIGGER {row.name}"))
    if row.comment is not None:
        made.append(statement(f"COMMENT ON TRIGGER {on} IS {row.comment}", "comment"))
    if row.constraint_comment is not None:
        comment = f"COMMENT ON CONSTRAINT {on} IS {row.constraint_comment}"
        made.append(statement(comment, "comment"))
    return made
