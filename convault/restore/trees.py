"""What rows are loaded into: their own table, or the one above it that knows where they belong.

Which hash partition a row belongs to is another one in every database for an enum (by oid), and for
text under another encoding.
"""

from __future__ import annotations

from collections import defaultdict
from typing import Any

import psycopg

from convault.manifest import Manifest, TableEntry
from convault.models import TableName

Trees = dict[TableName, list[TableEntry]]
"""what rows are loaded into, and the tables whose rows they are"""

_HASH_TREES = """
    SELECT n.nspname, c.relname, tn.nspname, t.relname
    FROM pg_catalog.pg_class c
    JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
    CROSS JOIN LATERAL (
        SELECT a.relid FROM pg_catalog.pg_partition_ancestors(c.oid) WITH ORDINALITY a (relid, up)
        JOIN pg_catalog.pg_partitioned_table p ON p.partrelid = a.relid AND p.partstrat = 'h'
        ORDER BY a.up DESC LIMIT 1
    ) top
    JOIN pg_catalog.pg_class t ON t.oid = top.relid
    JOIN pg_catalog.pg_namespace tn ON tn.oid = t.relnamespace
    WHERE c.relispartition AND c.relkind = 'r'
"""


def hash_tops(connection: psycopg.Connection[Any]) -> dict[TableName, TableName]:
    """For each partition in the database below one by hash, the topmost that is partitioned so."""
    return {
        TableName(schema, name): TableName(top_schema, top)
        for schema, name, top_schema, top in connection.execute(_HASH_TREES)
    }


def trees(connection: psycopg.Connection[Any], manifest: Manifest) -> Trees:
    """Every table of the backup under what its rows are loaded into, where the tables are as they
    were."""
    tops = hash_tops(connection)
    found: Trees = defaultdict(list)
    for table in manifest.restored:
        found[tops.get(table.name, table.name)].append(table)
    return found
