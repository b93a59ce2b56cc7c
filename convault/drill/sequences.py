"""Sequences of the restored tables: whether the next value is one that no row has."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import psycopg

from convault.drill.report import Check, not_verified, passed_or_failed
from convault.formats.postgres_types import quoted
from convault.manifest import Manifest
from convault.models import TableName
from convault.sources.failures import reason

# A column's own sequence, and one that only its default names.
_SEQUENCES = """
    WITH fed AS (
        SELECT d.objid AS sequence, d.refobjid AS relation, d.refobjsubid AS number
        FROM pg_catalog.pg_depend d
        WHERE d.classid = 'pg_catalog.pg_class'::pg_catalog.regclass
            AND d.refclassid = 'pg_catalog.pg_class'::pg_catalog.regclass
            AND d.deptype IN ('a', 'i') AND d.refobjsubid > 0
        UNION
        SELECT d.refobjid, a.adrelid, a.adnum FROM pg_catalog.pg_attrdef a
        JOIN pg_catalog.pg_depend d ON d.classid = 'pg_catalog.pg_attrdef'::pg_catalog.regclass
            AND d.objid = a.oid AND d.refclassid = 'pg_catalog.pg_class'::pg_catalog.regclass
    )
    SELECT sn.nspname, s.relname, tn.nspname, t.relname, a.attname, q.seqincrement, q.seqcycle,
        a.atttypid IN ('int2'::pg_catalog.regtype, 'int4'::pg_catalog.regtype,
                       'int8'::pg_catalog.regtype)
    FROM fed f
    JOIN pg_catalog.pg_sequence q ON q.seqrelid = f.sequence
    JOIN pg_catalog.pg_class s ON s.oid = f.sequence
    JOIN pg_catalog.pg_namespace sn ON sn.oid = s.relnamespace
    JOIN pg_catalog.pg_class t ON t.oid = f.relation
    JOIN pg_catalog.pg_namespace tn ON tn.oid = t.relnamespace
    JOIN pg_catalog.pg_attribute a ON a.attrelid = t.oid AND a.attnum = f.number
    WHERE NOT EXISTS (  -- rows of a partition are rows of what it is a partition of
        SELECT FROM pg_catalog.pg_inherits i JOIN fed above ON above.relation = i.inhparent
        WHERE t.relispartition AND i.inhrelid = t.oid AND above.sequence = f.sequence)
    ORDER BY 1, 2, 3, 4
"""


def sequence_checks(connection: psycopg.Connection[Any], manifest: Manifest) -> Iterator[Check]:
    """One for each sequence that gives a column of the backup its values."""
    tables = {table.name for table in manifest.restored}
    for row in connection.execute(_SEQUENCES).fetchall():
        sequence, table = TableName(*row[:2]), TableName(*row[2:4])
        column, increment, cycles, counts = row[4:]
        if table not in tables:
            continue
        subject = f"{sequence} of {table}.{column}"
        if not counts:
            yield not_verified("sequence", subject, "the column is no integer")
            continue
        try:
            with connection.transaction():
                behind = _behind(connection, sequence, table, column, up=increment > 0)
        except psycopg.Error as error:
            yield not_verified("sequence", subject, f"cannot be asked: {reason(error)}")
            continue
        if behind and cycles:
            yield not_verified("sequence", subject, "it begins anew at its end")
        else:
            faults = ["its next value is one that rows have, or had before them"] if behind else []
            yield passed_or_failed("sequence", subject, faults)


def _behind(
    connection: psycopg.Connection[Any], sequence: TableName, table: TableName, column: str,
    *, up: bool,
) -> bool:  # fmt: skip
    """Whether the next value is not past every row's. A sequence that has come to its end gives
    none any more."""
    end, compare = ("max", "<=") if up else ("min", ">=")
    row = connection.execute(
        f"""
        SELECT coalesce(
            CASE WHEN s.is_called THEN s.last_value + q.seqincrement ELSE s.last_value END
                {compare} r.edge, false)
        FROM {sequence.quoted} s,
            (SELECT pg_catalog.{end}({quoted(column)})::pg_catalog.numeric AS edge
             FROM {table.quoted}) r,
            (SELECT seqincrement::pg_catalog.numeric FROM pg_catalog.pg_sequence
             WHERE seqrelid = %s::pg_catalog.regclass) q
        """.encode(),
        (sequence.quoted,),
    ).fetchone()
    return row == (True,)
