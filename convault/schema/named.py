"""What only a text names: functions and sequences in the string bodies of functions, and sequences
in defaults like `nextval('tickets'::text)`.

Postgres keeps no dependency on these, so they are found by their names, as words of the text: all
of that name, in the schemas that the backup takes tables and functions from. One too many does no
harm; nothing that is found so may keep a backup from being made.
"""

from __future__ import annotations

import re
from collections.abc import Collection
from typing import Any

from convault.schema.catalogs import Catalogs
from convault.schema.graph import Key

_TEXTS = """
    SELECT 'pg_proc' AS catalog, p.oid::int8 AS oid, p.prosrc AS text
    FROM pg_catalog.pg_proc p JOIN pg_catalog.pg_language l ON l.oid = p.prolang
    WHERE p.oid = ANY (%(functions)s::oid[]) AND p.prosqlbody IS NULL
        AND l.lanname NOT IN ('c', 'internal')
    UNION ALL
    SELECT 'pg_attrdef', d.oid::int8, pg_get_expr(d.adbin, d.adrelid)
    FROM pg_catalog.pg_attrdef d WHERE d.oid = ANY (%(defaults)s::oid[])
"""

_CANDIDATES = """
    WITH schemas AS (
        SELECT c.relnamespace AS oid FROM pg_catalog.pg_class c
        WHERE c.oid = ANY (%(tables)s::oid[])
        UNION
        SELECT p.pronamespace FROM pg_catalog.pg_proc p WHERE p.oid = ANY (%(functions)s::oid[])
    )
    SELECT 'pg_proc' AS catalog, p.oid::int8 AS oid, p.proname AS name, true AS readable
    FROM pg_catalog.pg_proc p
    JOIN schemas s ON s.oid = p.pronamespace
    JOIN pg_catalog.pg_language l ON l.oid = p.prolang
    WHERE p.prokind = 'f' AND l.lanname NOT IN ('c', 'internal')
        AND p.prorettype NOT IN ('trigger'::regtype, 'event_trigger'::regtype)
        AND NOT EXISTS (SELECT FROM pg_catalog.pg_depend d
            WHERE d.classid = 'pg_proc'::regclass AND d.objid = p.oid AND d.deptype = 'e')
    UNION ALL
    SELECT 'pg_class', c.oid::int8, c.relname, has_sequence_privilege(c.oid, 'SELECT')
    FROM pg_catalog.pg_class c JOIN schemas s ON s.oid = c.relnamespace
    WHERE c.relkind = 'S' AND NOT EXISTS (SELECT FROM pg_catalog.pg_depend d
        WHERE d.classid = 'pg_class'::regclass AND d.objid = c.oid AND d.deptype IN ('e', 'i'))
    ORDER BY 1, 2
"""

_WORD = re.compile(r"[\w$]+")
_OF_SEQUENCES = frozenset({"nextval", "currval", "setval"})


def named_in_texts(
    catalogs: Catalogs,
    tables: Collection[Key],
    functions: Collection[Key],
    defaults: Collection[Key],
) -> set[tuple[Key, Key]]:
    """Pairs: a function or default, and a function or sequence that its text names."""
    oids = {
        "tables": [key.oid for key in tables],
        "functions": [key.oid for key in functions],
        "defaults": [key.oid for key in defaults],
    }
    texts = catalogs.rows(_TEXTS, oids)
    words: dict[str, list[Any]] = {}  # by name: most texts name few of many
    others = []
    for candidate in catalogs.rows(_CANDIDATES, oids) if texts else []:
        if _WORD.fullmatch(candidate.name):
            words.setdefault(candidate.name, []).append(candidate)
        else:
            others.append(candidate)
    found = set()
    for text in texts:
        named = set(_WORD.findall(text.text))
        named |= {word.lower() for word in named}
        for_sequences = not _OF_SEQUENCES.isdisjoint(named)
        for candidate in (
            *(candidate for word in named for candidate in words.get(word, ())),
            *(candidate for candidate in others if _quoted(candidate.name) in text.text),
        ):
            if _possible(candidate, text, for_sequences):
                pair = Key(text.catalog, text.oid), Key(candidate.catalog, candidate.oid)
                found.add(pair)
    return found


def _quoted(name: str) -> str:
    return '"' + name.replace('"', '""') + '"'


def _possible(candidate: Any, text: Any, for_sequences: bool) -> bool:
    in_default = text.catalog == "pg_attrdef"
    if candidate.catalog == "pg_class":
        # A default needs its sequence, so one that may not be read is told of; a body may not.
        return bool(for_sequences and (in_default or candidate.readable))
    return not in_default  # the functions of a default are known
