"""What the text of a value depends on besides its row: labels of enums, attributes of composites.

Somebody may change them at any time: ALTER TYPE takes no lock on the tables that use the type, and
Postgres writes values by the type's present state, whatever the snapshot shows.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import psycopg

from convault.models import Dataset

_TYPES = """
    WITH RECURSIVE reached (oid) AS (
        SELECT atttypid FROM pg_catalog.pg_attribute
        WHERE attrelid = ANY (%(tables)s::pg_catalog.oid[]) AND attnum > 0 AND NOT attisdropped
        UNION
        SELECT next.oid
        FROM reached r
        JOIN pg_catalog.pg_type t ON t.oid = r.oid
        LEFT JOIN pg_catalog.pg_range g ON t.oid IN (g.rngtypid, g.rngmultitypid)
        CROSS JOIN LATERAL (
            SELECT unnest(ARRAY[t.typelem, t.typbasetype, g.rngtypid, g.rngsubtype])
            UNION ALL
            SELECT a.atttypid FROM pg_catalog.pg_attribute a
            WHERE a.attrelid = t.typrelid AND a.attnum > 0 AND NOT a.attisdropped
        ) next (oid)
        WHERE next.oid <> 0
    ), types AS (
        SELECT t.*, n.nspname || '.' || t.typname AS name
        FROM pg_catalog.pg_type t
        JOIN pg_catalog.pg_namespace n ON n.oid = t.typnamespace
        WHERE t.oid IN (SELECT oid FROM reached) AND n.nspname <> 'pg_catalog'
    )
    SELECT name, ARRAY['type', oid::text], ARRAY[name, typbasetype::text, typtypmod::text]
    FROM types
    UNION ALL
    SELECT name, ARRAY['label', e.oid::text], ARRAY[e.enumlabel, e.xmin::text]
    FROM types t JOIN pg_catalog.pg_enum e ON e.enumtypid = t.oid
    UNION ALL
    SELECT name, ARRAY['attributes', t.oid::text],
        array_agg(concat_ws(' ', a.attnum, a.attisdropped, a.atttypid, a.xmin, a.attname)
                  ORDER BY a.attnum)
    FROM types t JOIN pg_catalog.pg_attribute a ON a.attrelid = t.typrelid AND a.attnum > 0
    GROUP BY name, t.oid
"""
"""The version of a label or attribute (xmin) stands beside its name, which may have been another
one in between. Row types of the dataset's own tables are among them where a column has one."""

_SCHEMAS = """
    SELECT nspname, ARRAY['schema', oid::text], ARRAY[nspname::text]
    FROM pg_catalog.pg_namespace
    WHERE oid IN (SELECT relnamespace FROM pg_catalog.pg_class
                  WHERE oid = ANY (%(tables)s::pg_catalog.oid[]))
"""

Facts = Mapping[tuple[str, ...], tuple[str, Sequence[str]]]
"""By what it is and its oid: a name to tell people, and what must stay as it is."""


def read_facts(connection: psycopg.Connection[Any], dataset: Dataset) -> Facts:
    """The types that the dataset's columns reach, and its schemas, as the transaction's snapshot
    shows them."""
    oids = {"tables": [table.oid for table in dataset.tables]}
    return {
        tuple(key): (name, values)
        for query in (_TYPES, _SCHEMAS)
        for name, key, values in connection.execute(query.encode(), oids)
    }


def changed(before: Facts, now: Facts) -> str | None:
    """The name of something that is not what it was; None when all of it is. What is new, such as
    a further label, has no value yet in the snapshot."""
    for key, (name, values) in before.items():
        if key not in now or now[key] != (name, values):
            return name
    return None
