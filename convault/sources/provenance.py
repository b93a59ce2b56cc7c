"""Ask the catalogs what the text of a table's rows depends on (`convault.ranges.range_keys`)."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from hashlib import sha256
from typing import Any

import psycopg

from convault.dataset.belonging import belonging
from convault.dataset.masking import MaskKey, masked_value
from convault.models import Dataset, Range, Table, TableName
from convault.ranges import row_digest
from convault.ranges.range_keys import Provenance
from convault.sources.readers import range_query
from convault.sources.session import SETTINGS

_RELATIONS = """
    SELECT c.oid, ARRAY[c.oid::text, pg_catalog.pg_relation_filenode(c.oid)::text, a.amname]
    FROM pg_catalog.pg_class c
    LEFT JOIN pg_catalog.pg_am a ON a.oid = c.relam
    WHERE c.oid = ANY (%(tables)s)
"""

_COLUMNS = """
    SELECT a.attrelid, ARRAY[
        a.attnum::text, a.attname, a.atttypid::text, n.nspname, t.typname, a.atttypmod::text,
        a.attgenerated::text,
        CASE WHEN a.attgenerated <> '' THEN pg_catalog.pg_get_expr(d.adbin, d.adrelid) END,
        CASE WHEN pg_catalog.concat(a.attrelid, '.', a.attnum) = ANY (%(shown)s)
            THEN a.attmissingval::text END,
        a.attcollation::text]
    FROM pg_catalog.pg_attribute a
    JOIN pg_catalog.pg_type t ON t.oid = a.atttypid
    JOIN pg_catalog.pg_namespace n ON n.oid = t.typnamespace
    LEFT JOIN pg_catalog.pg_attrdef d ON d.adrelid = a.attrelid AND d.adnum = a.attnum
    WHERE a.attrelid = ANY (%(tables)s) AND a.attnum > 0 AND NOT a.attisdropped
    ORDER BY a.attrelid, a.attnum
"""
"""`attmissingval`: the value of a fast default, which rows written before it do not hold. That of a
column that is masked or left out stays where it is."""

_TYPES = """
    WITH RECURSIVE reached (relation, number, oid) AS (
        SELECT attrelid, attnum, atttypid FROM pg_catalog.pg_attribute
        WHERE attrelid = ANY (%(tables)s) AND attnum > 0 AND NOT attisdropped
        UNION
        SELECT r.relation, r.number, next.oid
        FROM reached r
        JOIN pg_catalog.pg_type t ON t.oid = r.oid
        LEFT JOIN pg_catalog.pg_range g ON t.oid IN (g.rngtypid, g.rngmultitypid)
        CROSS JOIN LATERAL (
            SELECT pg_catalog.unnest(ARRAY[t.typelem, t.typbasetype, g.rngtypid, g.rngsubtype])
            UNION ALL
            SELECT a.atttypid FROM pg_catalog.pg_attribute a
            WHERE a.attrelid = t.typrelid AND a.attnum > 0 AND NOT a.attisdropped
        ) next (oid)
        WHERE next.oid <> 0
    )
    SELECT r.relation, a.attname, n.nspname, t.typname, ARRAY[
        t.oid::text, t.xmin::text, t.typtype::text, t.typbasetype::text, t.typtypmod::text,
        t.typelem::text, t.typdelim::text, t.typoutput::oid::text, p.xmin::text, p.prosrc,
        p.probin,
        (SELECT pg_catalog.string_agg(pg_catalog.concat_ws(' ', e.oid, e.xmin, e.enumlabel), E'\\n'
                                      ORDER BY e.enumsortorder)
         FROM pg_catalog.pg_enum e WHERE e.enumtypid = t.oid),
        (SELECT pg_catalog.string_agg(
            pg_catalog.concat_ws(' ', c.attnum, c.attisdropped, c.atttypid, c.atttypmod, c.xmin,
                                 c.attname), E'\\n' ORDER BY c.attnum)
         FROM pg_catalog.pg_attribute c WHERE c.attrelid = t.typrelid AND c.attnum > 0),
        (SELECT pg_catalog.string_agg(pg_catalog.concat_ws(' ', x.extname, x.extversion), E'\\n'
                                      ORDER BY x.oid)
         FROM pg_catalog.pg_depend d JOIN pg_catalog.pg_extension x ON x.oid = d.refobjid
         WHERE d.classid = 'pg_catalog.pg_type'::pg_catalog.regclass AND d.objid = t.oid
           AND d.refclassid = 'pg_catalog.pg_extension'::pg_catalog.regclass)]
    FROM reached r
    JOIN pg_catalog.pg_attribute a ON a.attrelid = r.relation AND a.attnum = r.number
    JOIN pg_catalog.pg_type t ON t.oid = r.oid
    JOIN pg_catalog.pg_namespace n ON n.oid = t.typnamespace
    LEFT JOIN pg_catalog.pg_proc p ON p.oid = t.typoutput
    ORDER BY r.relation, r.number, t.oid
"""
"""Labels and attributes with their versions (xmin), because a name may have been another one in
between; of types of extensions their version and their output function."""


def read_provenance(
    connection: psycopg.Connection[Any], dataset: Dataset, mask_key: MaskKey | None = None
) -> dict[TableName, Provenance]:
    """Of every table of the dataset that holds rows, as the transaction's snapshot shows it.
    `mask_key` is there where columns are hashed."""
    tables = [table for table in dataset.tables if table.kind == "r"]
    oids: dict[str, Any] = {"tables": [table.oid for table in tables]}
    oids["shown"] = [f"{t.oid}.{c.number}" for t in tables for c in t.columns if not c.mask]
    relations = dict(connection.execute(_RELATIONS.encode(), oids).fetchall())
    columns: dict[int, list[Any]] = defaultdict(list)
    for oid, column in connection.execute(_COLUMNS.encode(), oids):
        columns[oid].append(column)
    types: dict[int, dict[str, Any]] = defaultdict(dict)
    unstable: dict[int, list[str]] = defaultdict(list)
    for oid, column, schema, type_, facts in connection.execute(_TYPES.encode(), oids):
        if schema != "pg_catalog":
            types[oid][facts[0]] = [schema, type_, *facts]
        elif type_.startswith("reg") or type_ == "aclitem":
            unstable[oid].append(f"{column} ({type_})")
    return {
        table.name: Provenance(
            depends={
                "relation": relations[table.oid],
                "columns": columns[table.oid],
                "types": types[table.oid],
                **_reading(dataset, table),
                **_masking(table, mask_key),
                "session": SETTINGS,
                "digest": sha256(
                    row_digest.aggregate(table.columns, masked_value).encode()
                ).hexdigest(),
            },
            obstacle=_obstacle(table, relations[table.oid], unstable[table.oid]),
        )
        for table in tables
    }


def _reading(dataset: Dataset, table: Table) -> dict[str, Any]:
    """How the rows are read, whatever the range: columns, casts, masks; and what sorts them."""
    belongs = belonging(dataset, table.name)
    extra = None if belongs is None else belongs.expression
    return {
        "query": range_query(table, Range(table.name, 0, None), extra=extra),
        "sorted_by": None if belongs is None else belongs.column,
    }


def _masking(table: Table, key: MaskKey | None) -> dict[str, str]:
    """Under another key the same rows have other masks."""
    hashed = any(column.mask == "hash" for column in table.columns)
    return {"mask_key": key.fingerprint()} if hashed and key is not None else {}


def _obstacle(table: Table, relation: Sequence[str | None], unstable: Sequence[str]) -> str:
    if table.reference_only:
        return "which of its rows are kept depends on the rows of other tables"
    _, filenode, method = relation
    if filenode is None or method != "heap":
        return f"its rows are not kept in Postgres' own heap, but by {method or 'nothing'}"
    virtual = [column.name for column in table.columns if column.generated == "v"]
    if virtual:
        return f"virtual generated columns are computed when they are read: {', '.join(virtual)}"
    if unstable:
        return f"the text of values depends on names that lie elsewhere: {', '.join(unstable)}"
    return ""
