"""Sequences of live tables go on behind the rows that came."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import psycopg

from convault.errors import RestoreError
from convault.formats.postgres_types import quoted

_SEQUENCES = """
    SELECT DISTINCT s.seqrelid::pg_catalog.int8, s.seqrelid::pg_catalog.regclass::pg_catalog.text,
        a.attname, s.seqincrement, s.seqmin, s.seqmax,
        has_sequence_privilege(s.seqrelid, 'UPDATE')
            AND has_sequence_privilege(s.seqrelid, 'SELECT')
    FROM (
        SELECT d.objid AS sequence, d.refobjsubid AS attnum
        FROM pg_catalog.pg_depend d
        WHERE d.classid = 'pg_catalog.pg_class'::pg_catalog.regclass
            AND d.refclassid = 'pg_catalog.pg_class'::pg_catalog.regclass
            AND d.refobjid = %(oid)s::pg_catalog.oid AND d.deptype IN ('a', 'i')
        UNION
        SELECT d.refobjid, f.adnum
        FROM pg_catalog.pg_attrdef f
        JOIN pg_catalog.pg_depend d ON d.classid = 'pg_catalog.pg_attrdef'::pg_catalog.regclass
            AND d.objid = f.oid AND d.refclassid = 'pg_catalog.pg_class'::pg_catalog.regclass
        WHERE f.adrelid = %(oid)s::pg_catalog.oid
    ) used
    JOIN pg_catalog.pg_sequence s ON s.seqrelid = used.sequence
    JOIN pg_catalog.pg_attribute a ON a.attrelid = %(oid)s::pg_catalog.oid
        AND a.attnum = used.attnum AND a.atttypid IN (20, 21, 23)
    ORDER BY 2
"""


def advance(connection: psycopg.Connection[Any], oid: int, places: Sequence[str]) -> None:
    """Set each sequence of the table past the highest value of its column in `places` (past the
    lowest, where it counts down), unless it is there already. RestoreError where the role may
    not. A sequence does not go back when the transaction does: that leaves a gap, and no harm."""
    for _, sequence, column, step, least, most, allowed in connection.execute(
        _SEQUENCES, {"oid": oid}
    ).fetchall():
        extreme = "max" if step > 0 else "min"
        inner = " UNION ALL ".join(f"SELECT {quoted(column)} AS v FROM {p}" for p in places)
        row = connection.execute(f"SELECT {extreme}(v) FROM ({inner}) u".encode()).fetchone()
        value = row[0] if row else None
        if value is None or not least <= value <= most:
            continue
        if not allowed:
            raise RestoreError(
                f"The role may not set the sequence {sequence}, which would give out values that "
                f"restored rows have. Nothing was changed: GRANT SELECT, UPDATE ON SEQUENCE "
                f"{sequence} to it.",
                sequence=sequence,
            )
        behind = ">" if step > 0 else "<"
        connection.execute(
            f"SELECT pg_catalog.setval({_literal(sequence)}::pg_catalog.regclass, {value})"
            f" FROM {sequence} WHERE {value} {behind} last_value"
            f" OR ({value} = last_value AND NOT is_called)".encode()
        )


def _literal(text: str) -> str:
    return "'" + text.replace("'", "''") + "'"
