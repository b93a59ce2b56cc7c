"""Relations that the schema does not declare, as CONVAULT_RELATIONS gives them. Pure.

    messages.conversation_id -> conversations.id;
    billing.invoices(org, ticket) -> public.conversations(org, number)

Names stand as they are, or in double quotes where they hold anything else than letters, digits
and `_ $ -`. The schema is `public` where none is given.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from itertools import pairwise

from convault.models import TableName

_TOKENS = re.compile(r'\s*(?:"((?:[^"]|"")+)"|([^\W]([\w$-]*[\w$])?)|(->)|([.(),;]))')
"""a quoted name, a name, an arrow, punctuation"""


@dataclass(frozen=True, slots=True)
class DeclaredRelation:
    """`columns` of `table` hold what `referenced_columns` of `references` hold."""

    table: TableName
    columns: tuple[str, ...]
    references: TableName
    referenced_columns: tuple[str, ...]

    def __str__(self) -> str:
        left = _side(self.table, self.columns)
        return f"{left} -> {_side(self.references, self.referenced_columns)}"


def parse_relations(text: str) -> tuple[DeclaredRelation, ...]:
    """The relations, in their order. ValueError tells which one cannot be read, by its number."""
    tokens = _tokens(text)
    ends = [-1, *(n for n, token in enumerate(tokens) if token == (";", False)), len(tokens)]
    found = []
    for number, (begin, end) in enumerate(pairwise(ends), 1):
        part = tokens[begin + 1 : end]
        if part:
            found.append(_relation(part, number))
    return tuple(found)


def parse_column(text: str) -> tuple[TableName, str]:
    """`table.column` or `schema.table.column`. ValueError."""
    table, columns = _end(_tokens(text), "it")
    if len(columns) != 1:
        raise ValueError("must name one column: table.column")
    return table, columns[0]


def _tokens(text: str) -> list[tuple[str, bool]]:
    """Each token, and whether it is a name."""
    tokens = []
    place = 0
    while text[place:].strip():
        found = _TOKENS.match(text, place)
        if found is None:
            raise ValueError(
                f"cannot be read from character {place + 1} on; names with other characters than "
                "letters, digits and _ stand in double quotes"
            )
        place = found.end()
        name = found[1].replace('""', '"') if found[1] is not None else found[2]
        tokens.append((name, True) if name is not None else (found[4] or found[5], False))
    return tokens


def _relation(tokens: list[tuple[str, bool]], number: int) -> DeclaredRelation:
    which = f"relation {number}"
    arrows = [n for n, token in enumerate(tokens) if token == ("->", False)]
    if len(arrows) != 1:
        raise ValueError(f"{which} must have one arrow: table.column -> table.column")
    left, right = _end(tokens[: arrows[0]], which), _end(tokens[arrows[0] + 1 :], which)
    if len(left[1]) != len(right[1]):
        raise ValueError(f"{which} has more columns on one side than on the other")
    return DeclaredRelation(*left, *right)


def _end(tokens: list[tuple[str, bool]], which: str) -> tuple[TableName, tuple[str, ...]]:
    """`schema.table.column`, `schema.table(column, column)`, each also without the schema."""
    wrong = ValueError(
        f"{which} cannot be read: write table.column, schema.table.column or table(column, column)"
    )
    shape = "".join("n" if name else text for text, name in tokens)
    names = [text for text, name in tokens if name]
    if re.fullmatch(r"n\.n(\.n)?", shape):
        *table, column = names
        columns = [column]
    elif match := re.fullmatch(r"(n(?:\.n)?)\(n(,n)*\)", shape):
        head = match[1].count("n")
        table, columns = names[:head], names[head:]
    else:
        raise wrong
    if len(set(columns)) < len(columns):
        raise ValueError(f"{which} names a column twice")
    return TableName(*table) if len(table) == 2 else TableName("public", table[0]), tuple(columns)


def _side(table: TableName, columns: tuple[str, ...]) -> str:
    return f"{table}.{columns[0]}" if len(columns) == 1 else f"{table}({', '.join(columns)})"
