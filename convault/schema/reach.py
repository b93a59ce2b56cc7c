"""What the tables of a dataset reach: the types, functions, sequences, ... that they need.

Postgres keeps this in pg_depend. The walk starts at the tables and at what belongs to them
(defaults, constraints, indexes, statistics, owned sequences) and follows each object to those that
it depends on. It ends at three kinds of object:

- what initdb made, which every database has,
- members of an extension: the extension is needed instead,
- what lies outside: relations that are not in the dataset, and whatever Supabase keeps in its
  managed schemas (`auth.users`, `auth.uid()`). Nothing is made of those; what depends on them names
  them in `Statement.needs`.

Then it goes on from the triggers and policies of the tables. Rows can do without these, so what is
reached only from here refuses nothing: what no statement can make lies outside, and an extension is
asked for only where the target can install it.

The bodies of functions that are kept as a string (PL/pgSQL, SQL without BEGIN ATOMIC) have no
dependencies in the catalogs. When the walk is over, functions and sequences whose names stand in
such a text are taken along (`named`), with what they need, until nothing new is found. What is
reached only so refuses nothing either: a function that cannot be made is left out.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable
from typing import Any

from convault.dataset.tables import is_managed
from convault.errors import UnsupportedSource
from convault.models import Dataset, TableName
from convault.schema.catalogs import Catalogs
from convault.schema.graph import Graph, Key, Thing
from convault.schema.named import named_in_texts

FIRST_OWN_OID = 16384
"""Objects below it are made by initdb (FirstNormalObjectId in access/transam.h)."""

_REPRODUCED = frozenset(
    {
        "pg_attrdef", "pg_class", "pg_collation", "pg_constraint", "pg_extension", "pg_namespace",
        "pg_policy", "pg_proc", "pg_statistic_ext", "pg_trigger", "pg_ts_config", "pg_ts_dict",
        "pg_type",
    }
)  # fmt: skip
"""catalogs whose objects this package has statements for"""

_FACTS = """
    SELECT n.catalog, n.oid::int8 AS oid, i.type AS kind, i.identity,
        coalesce(s.nspname, '') AS schema, e.refobjid::int8 AS extension,
        x.extname AS extension_name,
        r.relname, r.relkind::text AS relkind, r.reltype::int8 AS row_type,
        t.typtype::text AS typtype, tr.oid::int8 AS type_relation,
        tr.relkind::text AS type_relkind,
        el.oid::int8 AS element, g.rngtypid::int8 AS range_type, p.prokind::text AS prokind,
        p.oid::regprocedure::text AS signature
    FROM unnest(%(catalogs)s::text[], %(oids)s::oid[]) AS n(catalog, oid)
    CROSS JOIN LATERAL pg_catalog.pg_identify_object(n.catalog::regclass, n.oid, 0) i
    LEFT JOIN pg_catalog.pg_depend e ON e.classid = n.catalog::regclass AND e.objid = n.oid
        AND e.deptype = 'e'
    LEFT JOIN pg_catalog.pg_extension x ON n.catalog = 'pg_extension' AND x.oid = n.oid
    LEFT JOIN pg_catalog.pg_namespace s ON pg_catalog.quote_ident(s.nspname) = i.schema
    LEFT JOIN pg_catalog.pg_class r ON n.catalog = 'pg_class' AND r.oid = n.oid
    LEFT JOIN pg_catalog.pg_type t ON n.catalog = 'pg_type' AND t.oid = n.oid
    LEFT JOIN pg_catalog.pg_class tr ON tr.oid = t.typrelid
    LEFT JOIN pg_catalog.pg_type el ON el.oid = t.typelem AND el.typarray = t.oid
    LEFT JOIN pg_catalog.pg_range g ON g.rngmultitypid = t.oid
    LEFT JOIN pg_catalog.pg_proc p ON n.catalog = 'pg_proc' AND p.oid = n.oid
"""

# A sequence that a column owns ('a') is made before its table; that of an identity column ('i')
# comes with the table. 'x' (ALTER FUNCTION ... DEPENDS ON EXTENSION) says only what a DROP takes.
_DEPENDS = """
    SELECT DISTINCT n.catalog, n.oid::int8 AS oid, d.refclassid::regclass::text AS refcatalog,
        d.refobjid::int8 AS refoid
    FROM unnest(%(catalogs)s::text[], %(oids)s::oid[]) AS n(catalog, oid)
    JOIN pg_catalog.pg_depend d ON d.classid = n.catalog::regclass AND d.objid = n.oid
    LEFT JOIN pg_catalog.pg_class r ON n.catalog = 'pg_class' AND r.oid = n.oid
    WHERE d.deptype NOT IN ('e', 'x') AND d.refobjid >= %(first)s
        AND NOT coalesce(r.relkind = 'S' AND d.deptype = 'a', false)
"""

# Not here: foreign keys (what they refer to may be missing, so they are read by themselves),
# not-null constraints (they need nothing), constraint triggers (they belong to the trigger).
_BELONGS = """
    SELECT 'pg_class' AS owner, d.adrelid::int8 AS owner_oid, 'pg_attrdef' AS catalog,
        d.oid::int8 AS oid, true AS attached
    FROM pg_catalog.pg_attrdef d WHERE d.adrelid = ANY (%(tables)s::oid[])
    UNION ALL
    SELECT 'pg_class', c.conrelid::int8, 'pg_constraint', c.oid::int8, c.contype = 'c'
    FROM pg_catalog.pg_constraint c
    WHERE c.conrelid = ANY (%(tables)s::oid[]) AND c.contype IN ('c', 'p', 'u', 'x')
    UNION ALL
    SELECT 'pg_type', c.contypid::int8, 'pg_constraint', c.oid::int8, true
    FROM pg_catalog.pg_constraint c
    WHERE c.contypid = ANY (%(types)s::oid[]) AND c.contype = 'c'
    UNION ALL
    SELECT 'pg_type', t.oid::int8, 'pg_class', t.typrelid::int8, false
    FROM pg_catalog.pg_type t WHERE t.oid = ANY (%(types)s::oid[]) AND t.typtype = 'c'
    UNION ALL
    SELECT 'pg_class', i.indrelid::int8, 'pg_class', i.indexrelid::int8, false
    FROM pg_catalog.pg_index i WHERE i.indrelid = ANY (%(tables)s::oid[])
    UNION ALL
    SELECT 'pg_class', s.stxrelid::int8, 'pg_statistic_ext', s.oid::int8, false
    FROM pg_catalog.pg_statistic_ext s WHERE s.stxrelid = ANY (%(tables)s::oid[])
    UNION ALL
    SELECT 'pg_class', d.refobjid::int8, 'pg_class', d.objid::int8, false
    FROM pg_catalog.pg_depend d JOIN pg_catalog.pg_class s ON s.oid = d.objid AND s.relkind = 'S'
    WHERE d.classid = 'pg_class'::regclass AND d.refclassid = 'pg_class'::regclass
        AND d.refobjid = ANY (%(tables)s::oid[]) AND d.deptype IN ('a', 'i')
"""

# The triggers of constraints are Postgres' own; those of partitions come with their parent's.
_AFTER_ROWS = """
    SELECT 'pg_trigger' AS catalog, t.oid::int8 AS oid, t.tgrelid::int8 AS table
    FROM pg_catalog.pg_trigger t
    WHERE t.tgrelid = ANY (%(tables)s::oid[]) AND NOT t.tgisinternal AND t.tgparentid = 0
    UNION ALL
    SELECT 'pg_policy', p.oid::int8, p.polrelid::int8
    FROM pg_catalog.pg_policy p WHERE p.polrelid = ANY (%(tables)s::oid[])
"""


def read_graph(catalogs: Catalogs, dataset: Dataset) -> Graph:
    """Walk from the tables of the dataset. UnsupportedSource names what cannot be reproduced."""
    return _Walk(catalogs, dataset).run()


class _Walk:
    def __init__(self, catalogs: Catalogs, dataset: Dataset) -> None:
        self._catalogs = catalogs
        tables = frozenset(Key("pg_class", table.oid) for table in dataset.tables)
        self._graph = Graph(tables)
        self._meaning: dict[Key, Key | None] = {}
        """what a key stands for: an array for its element, a row type for its table, most things
        for themselves; None for what every database has"""
        self._wanted_by: dict[Key, Key] = {}
        """whoever led to a key first, for messages"""
        self._edges: list[tuple[Key, Key]] = []
        self._attached: list[tuple[Key, Key]] = []
        self._lenient = False
        """whether what is found now may be left out"""

    def run(self) -> Graph:
        self._walk(self._graph.tables)
        known = set(self._graph.things)
        self._lenient = True
        self._walk(self._after_rows())
        while named := self._named():
            self._walk(named)
        self._graph.guessed = self._graph.things.keys() - known
        for source, target in self._edges:
            one, other = self._resolved(source), self._resolved(target)
            if one is not None and other is not None and one != other:
                self._graph.edges[one].add(other)
        # A table's own entries name its pg_class entry; its row type is named by others alone.
        self._graph.row_types = {
            table
            for key in self._meaning
            if key.catalog == "pg_type"
            and (table := self._resolved(key)) is not None
            and table.catalog == "pg_class"
        }
        for owner, part in self._attached:
            self._graph.attached[owner].add(part)
        return self._graph

    def _after_rows(self) -> set[Key]:
        """Triggers and policies of the tables."""
        oids = {"tables": [key.oid for key in self._graph.tables]}
        rows = self._catalogs.rows(_AFTER_ROWS, oids)
        for row in rows:
            self._wanted_by[Key(row.catalog, row.oid)] = Key("pg_class", row.table)
        return {Key(row.catalog, row.oid) for row in rows}

    def _named(self) -> set[Key]:
        """What is new of that which the texts of functions and defaults name."""
        of = {catalog: [Key(catalog, oid) for oid in self._graph.oids(catalog)]
              for catalog in ("pg_proc", "pg_attrdef")}  # fmt: skip
        pairs = named_in_texts(self._catalogs, self._graph.tables, of["pg_proc"], of["pg_attrdef"])
        new = {(text, named) for text, named in pairs if named not in self._meaning}
        for text, named in sorted(new):
            self._wanted_by.setdefault(named, text)
        return {named for _, named in new}

    def _walk(self, start: Collection[Key]) -> None:
        pending = set(start)
        while pending:
            follow = self._learn(pending)
            needs = self._depends(follow)
            belongs = self._belongs(follow)
            for source, target in (*needs, *((owner, part) for owner, part, _ in belongs)):
                self._wanted_by.setdefault(target, source)
            self._edges += needs
            self._attached += [(owner, part) for owner, part, inside in belongs if inside]
            pending = {target for _, target in needs} | {part for _, part, _ in belongs}
            pending |= {key for key in self._meaning.values() if key is not None}
            pending -= self._meaning.keys()

    def _learn(self, keys: Collection[Key]) -> list[Key]:
        """Find out what the keys are; returns those whose dependencies matter."""
        follow = []
        for row in self._catalogs.rows(_FACTS, _arrays(keys)):
            key = Key(row.catalog, row.oid)
            self._meaning[key] = meaning = _meaning(key, row)
            if meaning == key:
                outside = self._outside(key, row)
                if outside is None and not _is_reproducible(key, row):
                    if not self._lenient:
                        raise self._refusal(key, row)
                    outside = str(row.identity)
                self._graph.things[key] = Thing(key, row.kind, row.identity, outside)
                if outside is None or key.catalog == "pg_extension":
                    follow.append(key)
            elif row.relkind == "c" and row.extension is None:
                follow.append(key)  # the attributes of a composite type hang on its pg_class entry
        return follow

    def _outside(self, key: Key, row: Any) -> str | None:
        if key in self._graph.tables:
            return None
        if key.catalog == "pg_extension" and self._lenient:
            return f"extension {row.extension_name}"
        if key.catalog == "pg_class" and row.relkind in "rpvmf":
            return str(TableName(row.schema, row.relname))
        if is_managed(row.schema):
            owner = self._wanted_by.get(key)
            belongs = row.relkind in ("i", "I") and owner in self._graph.tables
            return None if belongs else str(row.signature or row.identity)
        return None

    def _refusal(self, key: Key, row: Any) -> UnsupportedSource:
        owner = self._wanted_by.get(key)
        by = f" that {self._graph.things[owner].name} needs" if owner in self._graph.things else ""
        return UnsupportedSource(
            f"The {row.kind} {row.identity}{by} cannot be reproduced by a restore: only an "
            "extension can bring such an object. Nothing was backed up.",
            object=row.identity,
        )

    def _depends(self, keys: Collection[Key]) -> list[tuple[Key, Key]]:
        rows = self._catalogs.rows(_DEPENDS, {**_arrays(keys), "first": FIRST_OWN_OID})
        return [(Key(r.catalog, r.oid), Key(r.refcatalog, r.refoid)) for r in rows]

    def _belongs(self, keys: Iterable[Key]) -> list[tuple[Key, Key, bool]]:
        """Owner, what belongs to it, and whether it can be part of the owner's statement."""
        keys = list(keys)
        oids = {
            "tables": [key.oid for key in keys if key in self._graph.tables],
            "types": [key.oid for key in keys if key.catalog == "pg_type"],
        }
        rows = self._catalogs.rows(_BELONGS, oids)
        return [(Key(r.owner, r.owner_oid), Key(r.catalog, r.oid), r.attached) for r in rows]

    def _resolved(self, key: Key) -> Key | None:
        while (meaning := self._meaning[key]) != key:
            if meaning is None:
                return None
            key = meaning
        return key


def _is_reproducible(key: Key, row: Any) -> bool:
    return (
        key.catalog in _REPRODUCED and row.typtype not in ("b", "p") and row.prokind in (None, "f")
    )


def _meaning(key: Key, row: Any) -> Key | None:
    if row.extension is not None:
        return Key("pg_extension", row.extension)
    if key.oid < FIRST_OWN_OID or row.schema in ("pg_catalog", "information_schema"):
        return None
    if row.element is not None:
        return Key("pg_type", row.element)
    if row.range_type is not None:
        return Key("pg_type", row.range_type)
    if row.type_relation is not None and row.type_relkind != "c":
        return Key("pg_class", row.type_relation)
    if row.relkind == "c":
        return Key("pg_type", row.row_type)
    return key


def _arrays(keys: Collection[Key]) -> dict[str, object]:
    ordered = sorted(keys)
    return {"catalogs": [k.catalog for k in ordered], "oids": [k.oid for k in ordered]}
