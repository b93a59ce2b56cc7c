"""The tables of a backup, filled and counted in the target."""

from __future__ import annotations

from collections import defaultdict
from typing import Any

import psycopg

from convault import target
from convault.encryption import Opener
from convault.errors import IntegrityError, RestoreError
from convault.generated import expected
from convault.loading import load_part
from convault.manifest import Manifest, TableEntry
from convault.models import TableName
from convault.progress import report
from convault.stores.base import Store

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


def trees(connection: psycopg.Connection[Any], manifest: Manifest) -> Trees:
    """Every table of the backup under what its rows are to be loaded into: itself, or the topmost
    table above it that is partitioned by hash. Which of such partitions a row belongs to is
    another one in every database for an enum (by oid), and for text under another encoding."""
    tops = {
        TableName(schema, name): TableName(top_schema, top)
        for schema, name, top_schema, top in connection.execute(_HASH_TREES)
    }
    found: Trees = defaultdict(list)
    for table in manifest.restored:
        found[tops.get(table.name, table.name)].append(table)
    return found


def load(
    connection: psycopg.Connection[Any],
    store: Store,
    manifest: Manifest,
    opener: Opener,
    *,
    tolerate: bool,
) -> dict[TableName, int]:
    """All rows of the backup, each proven before it is loaded. IntegrityError, StoreError,
    RestoreError.

    Returns how many rows, of which tables, have other generated values than in the backup; none
    may, unless `tolerate`.
    """
    done, recomputed = 0, {}
    total = sum(table.rows for table in manifest.restored)
    for into, tables in trees(connection, manifest).items():
        with target.refusals(f"rows of {into}"), expected(connection, into, tables) as room:
            for table in tables:
                for part in table.parts:
                    report("load", str(table.name), done=done, total=total, unit="rows")
                    load_part(connection, store, table, part, opener, into=into, expected=room)
                    done += part.rows
            differing = room.differing(connection) if room else 0
        if differing and not tolerate:
            raise RestoreError(
                f"{differing} rows of {into} get other values in their generated columns than "
                "they have in the backup: the function that computes them was changed, or is "
                "another one in this version of Postgres. Nothing was changed; `convault restore "
                "--tolerate-constraints` takes the new values.",
                table=into,
            )
        if differing:
            recomputed[into] = differing
    report("load", "rows", done=done, total=total, unit="rows")
    return recomputed


def count(connection: psycopg.Connection[Any], manifest: Manifest) -> dict[TableName, int]:
    """count(*) of every table; IntegrityError when the backup promised another number, of a tree
    that is partitioned by hash as a whole."""
    counts = {}
    for table in manifest.restored:
        row = connection.execute(
            f"SELECT count(*) FROM ONLY {table.name.quoted}".encode()
        ).fetchone()
        counts[table.name] = row[0] if row else 0
    for into, tables in trees(connection, manifest).items():
        found, promised = sum(counts[t.name] for t in tables), sum(t.rows for t in tables)
        if found != promised:
            raise IntegrityError(
                f"Table {into} has {found} rows after loading, and the backup counted {promised}. "
                "Nothing was changed.",
                table=into,
            )
    return counts
