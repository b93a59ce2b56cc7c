"""Find the tables that lie beside the dataset's and are not part of it."""

from __future__ import annotations

from typing import Any

import psycopg

from convault.dataset.omissions import Outsider
from convault.dataset.tables import own_tables
from convault.models import Dataset, TableName

_OUTSIDERS = """
    SELECT n.nspname, c.relname, c.oid <> ALL (%(tables)s::pg_catalog.oid[]) AND NOT EXISTS (
            SELECT FROM pg_catalog.pg_depend d
            WHERE d.classid = 'pg_catalog.pg_class'::pg_catalog.regclass AND d.objid = c.oid
              AND d.refclassid = 'pg_catalog.pg_extension'::pg_catalog.regclass
              AND d.deptype = 'e'
        ),
        ARRAY(
            SELECT a.attname::text FROM pg_catalog.pg_attribute a
            WHERE a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped ORDER BY a.attnum
        )
    FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
    WHERE c.relkind IN ('r', 'p', 'f') AND c.relpersistence <> 't' AND NOT c.relispartition
      AND n.nspname = ANY (%(schemas)s)
    ORDER BY n.nspname, c.relname
"""
"""A partition goes wherever its table goes, so it is not named beside it."""


def read_outsiders(connection: psycopg.Connection[Any], dataset: Dataset) -> tuple[Outsider, ...]:
    """Tables of the dataset's schemas, and of `public`, that are not in the dataset. Those of
    extensions and Convault's own are nobody's to miss, and those left out on purpose are known."""
    rows = connection.execute(
        _OUTSIDERS,
        {
            "tables": [table.oid for table in dataset.tables],
            "schemas": sorted({"public", *(table.name.schema for table in dataset.restored)}),
        },
    ).fetchall()
    own = own_tables(TableName(schema, name) for schema, name, _, _ in rows)
    left_out = {absence.table for absence in dataset.absent if absence.column is None}
    return tuple(
        Outsider(TableName(schema, name), tuple(columns))
        for schema, name, outside, columns in rows
        if outside and TableName(schema, name) not in own | left_out
    )
