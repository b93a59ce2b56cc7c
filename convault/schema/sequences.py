"""Sequences: their parameters, the column that owns them, and where they stand."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from convault.errors import MissingPrivilege
from convault.models import Statement
from convault.schema.catalogs import Catalogs
from convault.schema.graph import Graph, Key

_SEQUENCES = """
    SELECT c.oid::int8 AS oid, quote_literal(c.oid::regclass::text) AS literal,
        s.seqtypid::regtype::text AS type, s.seqstart, s.seqincrement, s.seqmin, s.seqmax,
        s.seqcache, s.seqcycle, c.relpersistence::text AS persistence,
        t.oid::int8 AS table, t.relpersistence::text AS table_persistence,
        quote_ident(a.attname) AS column, d.deptype = 'i' AS of_identity,
        a.attidentity::text AS identity,
        a.atttypid IN ('int2'::regtype, 'int4'::regtype, 'int8'::regtype) AS counts,
        has_sequence_privilege(c.oid, 'SELECT') AS readable
    FROM pg_catalog.pg_class c
    JOIN pg_catalog.pg_sequence s ON s.seqrelid = c.oid
    LEFT JOIN pg_catalog.pg_depend d ON d.classid = 'pg_class'::regclass AND d.objid = c.oid
        AND d.refclassid = 'pg_class'::regclass AND d.refobjsubid > 0 AND d.deptype IN ('a', 'i')
    LEFT JOIN pg_catalog.pg_class t ON t.oid = d.refobjid
    LEFT JOIN pg_catalog.pg_attribute a ON a.attrelid = t.oid AND a.attnum = d.refobjsubid
    WHERE c.oid = ANY (%(oids)s::oid[]) AND c.relkind = 'S'
    ORDER BY c.oid::regclass::text
"""

_READ_AT_ONCE = 200
"""sequences whose positions one query reads: each costs a lock until the reading is over"""


@dataclass(slots=True)
class Sequences:
    """The statements of sequences, by when they run."""

    free: dict[Key, list[Statement]] = field(default_factory=dict)
    """CREATE SEQUENCE"""
    identities: dict[Key, list[Statement]] = field(default_factory=dict)
    """ADD GENERATED for identity columns, which needs the table"""
    owned: list[Statement] = field(default_factory=list)
    """OWNED BY, once all tables are there"""
    values: list[Statement] = field(default_factory=list)
    """where each stands; after the rows"""


def sequence_statements(catalogs: Catalogs, graph: Graph) -> Sequences:
    """Statements for every sequence. MissingPrivilege names one whose position may not be read.

    A sequence is not part of a snapshot: what is read here is what it has reached by now, at or
    behind what the rows of the snapshot have used. Where rows hold higher values all the same
    (imported with their own ids), the restored sequence goes on behind them.
    """
    found = [
        row
        for row in catalogs.rows(_SEQUENCES, {"oids": graph.oids("pg_class")})
        if not row.of_identity or Key("pg_class", row.table) in graph.tables
    ]
    for row in found:
        if not row.readable:
            raise MissingPrivilege(
                f"The role may not read where the sequence {graph.name('pg_class', row.oid)} "
                f"stands. Nothing was backed up: GRANT SELECT ON SEQUENCE "
                f"{graph.name('pg_class', row.oid)} to it.",
                sequence=graph.name("pg_class", row.oid),
            )
    positions = _positions(catalogs, graph, found)
    sequences = Sequences()
    since_15 = catalogs.version >= 15  # before, every sequence is logged
    for row in found:
        key = Key("pg_class", row.oid)
        name = graph.things[key].name
        sql = _add_identity(graph, row) if row.of_identity else _create(graph, row)
        made = sequences.identities if row.of_identity else sequences.free
        made[key] = [Statement("sequence", name, sql, after_data=False)]
        table = Key("pg_class", row.table or 0)
        if table in graph.tables and not row.of_identity:
            owner = f"{graph.things[table].name}.{row.column}"
            sql = f"ALTER SEQUENCE {name} OWNED BY {owner}"
            sequences.owned.append(Statement("sequence", name, sql, after_data=False))
        elif row.of_identity and row.persistence != row.table_persistence and since_15:
            logged = "UNLOGGED" if row.persistence == "u" else "LOGGED"
            sql = f"ALTER SEQUENCE {name} SET {logged}"
            sequences.owned.append(Statement("sequence", name, sql, after_data=False))
        value = _value(graph, row, *positions[row.oid])
        sequences.values.append(Statement("sequence value", name, value, after_data=True))
    return sequences


def _positions(catalogs: Catalogs, graph: Graph, rows: list[Any]) -> dict[int, tuple[int, bool]]:
    positions = {}
    for start in range(0, len(rows), _READ_AT_ONCE):
        queries = (
            f"SELECT {row.oid} AS oid, last_value, is_called FROM {graph.name('pg_class', row.oid)}"
            for row in rows[start : start + _READ_AT_ONCE]
        )
        for row in catalogs.rows(" UNION ALL ".join(queries)):
            positions[row.oid] = (row.last_value, row.is_called)
    return positions


def _parameters(row: Any) -> str:
    return (
        f"INCREMENT BY {row.seqincrement} MINVALUE {row.seqmin} MAXVALUE {row.seqmax} "
        f"START WITH {row.seqstart} CACHE {row.seqcache}{' CYCLE' if row.seqcycle else ''}"
    )


def _create(graph: Graph, row: Any) -> str:
    unlogged = "UNLOGGED " if row.persistence == "u" else ""
    name = graph.name("pg_class", row.oid)
    return f"CREATE {unlogged}SEQUENCE {name} AS {row.type} {_parameters(row)}"


def _add_identity(graph: Graph, row: Any) -> str:
    always = "ALWAYS" if row.identity == "a" else "BY DEFAULT"
    return (
        f"ALTER TABLE {graph.name('pg_class', row.table)} ALTER COLUMN {row.column} "
        f"ADD GENERATED {always} AS IDENTITY "
        f"(SEQUENCE NAME {graph.name('pg_class', row.oid)} {_parameters(row)})"
    )


def _value(graph: Graph, row: Any, last: int, called: bool) -> str:
    table = Key("pg_class", row.table or 0)
    if table not in graph.tables or not row.counts or row.seqincrement < 0 or row.seqcycle:
        return f"SELECT pg_catalog.setval({row.literal}, {last}, {str(called).lower()})"
    highest = f"pg_catalog.max({row.column})"
    is_called = "true" if called else f"coalesce({highest} >= {last}, false)"
    # A row at the very end of the sequence would leave it with nothing to give.
    return (
        f"SELECT pg_catalog.setval({row.literal}, greatest({last}, {highest}), {is_called}) "
        f"FROM {graph.things[table].name} WHERE {row.column} < {row.seqmax}"
    )
