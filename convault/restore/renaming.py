"""The schema of a backup under another name: `public.messages` becomes `restored.messages`.

Statements of a backup spell out every name, so that a schema's name before a dot is nothing else;
in a quoted text only where that is a name by its use.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import replace

from convault.dataset.tables import is_managed
from convault.errors import RestoreError
from convault.formats.postgres_types import quoted
from convault.manifest import Manifest
from convault.models import Statement, TableName

LEFT_OUT = frozenset(
    {"trigger", "policy", "view", "materialized view", "rule", "publication", "grant", "privilege",
     "privileges", "owner", "default privileges", "event trigger"}
)  # fmt: skip
"""Kinds of statements that are for the live place: in a copy nothing reacts to rows, and nobody but
its owner reaches them."""

_OF_LEFT_OUT = re.compile(r"COMMENT ON (TRIGGER|POLICY|RULE|VIEW)\b")
_NAME = r'[A-Za-z_\x80-\U0010ffff][\w$]*|"(?:[^"]|"")+"'
_TOKEN = re.compile(
    rf"(?P<dollar>\$(?P<tag>[A-Za-z_]\w*)?\$.*?\$(?P=tag)?\$)|(?P<dollar0>\$\$.*?\$\$)"
    r"|(?P<text>[eE]?'(?:[^']|'')*')"
    rf"|(?P<name>{_NAME})(?P<dot>\s*\.)?",
    re.DOTALL,
)
_NAMED_BY = re.compile(r"\s*::\s*(pg_catalog\.)?reg\w+")
_CALLS = re.compile(r"(setval|nextval|currval)\(\s*$")


def renamed(statements: Iterable[Statement], manifest: Manifest, schema: str) -> list[Statement]:
    """The statements that make the same in `schema`, with row security on for every table before
    its rows. RestoreError when two tables would get one name."""
    names = [table.name.name for table in manifest.tables]
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise RestoreError(
            f"The backup has tables called {', '.join(twice)} in several schemas, which cannot be "
            "in one. Nothing was changed: restore into an empty database, or name tables (--table)."
        )
    old = _schemas(manifest)
    made = [Statement("schema", schema, f"CREATE SCHEMA {quoted(schema)}", after_data=False)]
    secured: set[str] = set()
    for statement in statements:
        if statement.kind in LEFT_OUT or _OF_LEFT_OUT.match(statement.sql):
            continue
        if statement.kind == "schema" and _plain(statement.name) in old:
            continue
        sql = rename(statement.sql, old, schema, bodies=statement.kind == "function")
        made.append(replace(statement, sql=sql))
        if statement.kind == "row security":
            secured.add(statement.name)
    place = next((n for n, s in enumerate(made) if s.after_data), len(made))
    closed = [
        Statement(
            "row security", str(name),
            f"ALTER TABLE ONLY {name.quoted} ENABLE ROW LEVEL SECURITY", after_data=False,
        )
        for name in (TableName(schema, table.name.name) for table in manifest.tables)
    ]  # fmt: skip
    return [*made[:place], *closed, *made[place:]]


def rename(sql: str, old: set[str], new: str, *, bodies: bool = False) -> str:
    """`sql` with `new` for each of the schemas `old`; with `bodies`, in dollar quotes too."""

    def replaced(found: re.Match[str]) -> str:
        text = found[0]
        if found["name"] is not None:
            if found["dot"] is None or _plain(found["name"]) not in old:
                return text
            before = sql[: found.start()].rstrip()
            return text if before.endswith(".") else quoted(new) + found["dot"]
        if found["text"] is None:
            if not bodies:
                return text
            tag = text[: text.index("$", 1) + 1]
            return tag + rename(text[len(tag) : -len(tag)], old, new, bodies=True) + tag
        # 'public.messages_id_seq'::regclass, and setval('public.messages_id_seq', ...)
        if _NAMED_BY.match(sql, found.end()) or _CALLS.search(sql, 0, found.start()):
            return rename_within(text, old, new)
        return text

    return _TOKEN.sub(replaced, sql)


def rename_within(literal: str, old: set[str], new: str) -> str:
    """A quoted name of something, such as `'public.messages_id_seq'`."""
    start = literal.index("'")
    inner = literal[start + 1 : -1].replace("''", "'")
    changed = rename(inner, old, new).replace("'", "''")
    return f"{literal[:start]}'{changed}'"


def _schemas(manifest: Manifest) -> set[str]:
    """Every schema that the backup makes something in."""
    found = {table.name.schema for table in manifest.tables} | {"public"}
    found |= {_plain(s.name) for s in manifest.statements if s.kind == "schema"}
    return {schema for schema in found if not is_managed(schema)}


def _plain(name: str) -> str:
    return name[1:-1].replace('""', '"') if name.startswith('"') else name
