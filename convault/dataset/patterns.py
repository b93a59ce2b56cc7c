"""Tables that the patterns of `--tables` mean, among those of the catalog. Pure: no pattern is ever
part of a query."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from fnmatch import fnmatchcase

from convault.dataset.tables import Relation, is_managed, lookalikes, own_tables
from convault.errors import OptionsError
from convault.models import TableName

_WILD = frozenset("*?[")


def matching(patterns: Iterable[str], relations: Collection[Relation]) -> tuple[TableName, ...]:
    """Every table that one of the patterns matches, by name.

    `schema.table`, each with `*`, `?` and `[...]` as in file names, capitals told apart; without a
    dot the schema is `public`. Tables of managed schemas, of extensions and Convault's own are
    matched by no wildcard, and refused where a pattern names them. OptionsError for these, and
    for a pattern that matches nothing.
    """
    closed = _closed(relations)
    open_ = [relation.name for relation in relations if relation.name not in closed]
    found: set[TableName] = set()
    for pattern in patterns:
        ends = _ends(pattern)
        _refuse_named(pattern, ends, closed)
        new = {name for name in open_ if _matches(name, ends)}
        if not new:
            raise OptionsError(_no_match(pattern, ends, open_))
        found |= new
    return tuple(sorted(found))


def _closed(relations: Iterable[Relation]) -> dict[TableName, str]:
    """Tables that no wildcard matches, and whose they are."""
    known = list(relations)
    own = own_tables(relation.name for relation in known)
    return {
        relation.name: "is Convault's own" if relation.name in own
        else "is managed by Supabase or Postgres" if is_managed(relation.name.schema)
        else "belongs to an extension, which brings it along"
        for relation in known
        if relation.of_extension or relation.name in own or is_managed(relation.name.schema)
    }  # fmt: skip


def _ends(pattern: str) -> list[tuple[str, str]]:
    """Schema and table as the pattern may mean them: a name may hold a dot, too."""
    dots = [place for place, character in enumerate(pattern) if character == "."]
    return [(pattern[:dot], pattern[dot + 1 :]) for dot in dots] or [("public", pattern)]


def _matches(name: TableName, ends: Iterable[tuple[str, str]]) -> bool:
    return any(fnmatchcase(name.schema, s) and fnmatchcase(name.name, t) for s, t in ends)


def _refuse_named(
    pattern: str, ends: Iterable[tuple[str, str]], closed: dict[TableName, str]
) -> None:
    for schema, table in ends:
        if _WILD & set(schema):
            continue
        if is_managed(schema):
            raise OptionsError(
                f"tables: {pattern!r} lies in the schema {schema}, which Supabase or Postgres "
                "manages: such a schema is never backed up, and the place that is restored into "
                "has its own. Leave it out."
            )
        name = TableName(schema, table)
        if name in closed:
            raise OptionsError(f"tables: {name} {closed[name]}, and is never backed up.")


def _no_match(
    pattern: str, ends: list[tuple[str, str]], names: Collection[TableName]
) -> str:  # fmt: skip
    said = f"tables: {pattern!r} matches no table"
    if '"' in pattern:
        return f"{said}. Names are written as they are, without SQL's double quotes."
    close = lookalikes(TableName(*ends[-1]), names)
    if close:
        return f"{said}. Perhaps {' or '.join(map(str, close))} is meant?"
    schemas = sorted({name.schema for name in names})
    return f"{said}. There are tables in these schemas: {', '.join(schemas) or 'none'}."
