"""What the OpenAPI description of PostgREST tells of a schema: tables, columns, keys. Pure.

It tells types without lengths (those of text it gives apart), which columns are never NULL, the
primary key, of every column one foreign key of a single column, and the labels of enums. Nothing of
other constraints, defaults that are expressions, indexes, triggers, policies or rights.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from convault.errors import SourceError
from convault.formats.postgres_types import encoding_of
from convault.models import Column, ForeignKey, TableName

_FOREIGN_KEY = re.compile(r"<fk table='(?P<table>.*?)' column='(?P<column>.*?)'/>", re.DOTALL)
_PRIMARY_KEY = "<pk/>"
_WITH_LENGTH = frozenset({"character varying", "character", "bit", "bit varying"})

_UNBOUNDED = {"bit": '"bit"', "bit[]": '"bit"[]', "character": "bpchar", "character[]": "bpchar[]"}
"""In SQL these names mean a length of one where none is given."""


@dataclass(frozen=True, slots=True)
class Described:
    """A table or a view."""

    name: TableName
    columns: tuple[Column, ...]
    primary_key: tuple[str, ...]
    labels: Mapping[str, tuple[str, ...]]
    """of columns whose type is an enum"""

    @property
    def is_view(self) -> bool:
        """Postgres knows of no column of a view that it is never NULL; a key's columns are."""
        by_name = {column.name: column for column in self.columns}
        return bool(self.primary_key) and not any(by_name[n].not_null for n in self.primary_key)

    @property
    def may_be_view(self) -> bool:
        """Without a key nothing tells for sure."""
        return not self.primary_key and not any(column.not_null for column in self.columns)


@dataclass(frozen=True, slots=True)
class Description:
    """A schema."""

    relations: tuple[Described, ...]
    foreign_keys: tuple[ForeignKey, ...]
    outside: tuple[tuple[TableName, str, str], ...]
    """columns that reference a table which is not exposed: table, column, the other's name"""


def read(document: Any, schema: str) -> Description:
    """SourceError when it is no such description; nothing of it is quoted."""
    try:
        definitions = dict(document["definitions"])
        relations = [_relation(TableName(schema, n), d) for n, d in definitions.items()]
        return _tied(definitions, relations, schema)
    except (KeyError, TypeError, AttributeError, ValueError):
        raise SourceError(
            "The REST API gave no OpenAPI description of its tables. Let the Data API give it "
            "(openapi-mode `follow-privileges`) to the service key, or set DATABASE_URL."
        ) from None


def _relation(name: TableName, definition: Any) -> Described:
    required = set(definition.get("required") or ())
    columns, key, labels = [], [], {}
    for number, (column, facts) in enumerate((definition.get("properties") or {}).items(), 1):
        type_ = _type(facts)
        not_null = column in required
        columns.append(Column(column, number, type_, encoding_of(type_), not_null, "", ""))
        if _PRIMARY_KEY in (facts.get("description") or ""):
            key.append(column)
        if facts.get("enum"):
            labels[column] = tuple(map(str, facts["enum"]))
    return Described(name, tuple(columns), tuple(key), labels)


def _type(facts: Mapping[str, Any]) -> str:
    named = str(facts["format"])
    length = facts.get("maxLength")
    if named in _WITH_LENGTH and isinstance(length, int):
        return f"{named}({length})"
    return _UNBOUNDED.get(named, named)


def _tied(definitions: Any, relations: list[Described], schema: str) -> Description:
    known = {relation.name: relation for relation in relations}
    keys, outside = [], []
    for relation in relations:
        if relation.is_view:
            continue
        for column, facts in definitions[relation.name.name]["properties"].items():
            found = _FOREIGN_KEY.search(facts.get("description") or "")
            if found is None:
                continue
            target = TableName(schema, found["table"])
            if target not in known or known[target].is_view:
                outside.append((relation.name, column, found["table"]))
                continue
            keys.append(
                ForeignKey(
                    f"{relation.name.name}_{column}_fkey", relation.name, (column,), target,
                    (found["column"],),
                )
            )  # fmt: skip
    return Description(tuple(relations), tuple(keys), tuple(outside))
