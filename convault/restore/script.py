"""Which statements of a backup a restore runs, and which of them hold code of its source."""

from __future__ import annotations

import re

from convault.formats.postgres_types import quoted
from convault.manifest import Manifest, TableEntry
from convault.models import Statement, TableName

CODE_KINDS = frozenset(
    {"function", "trigger", "policy", "rule", "view", "materialized view", "column default",
     "event trigger"}
)  # fmt: skip
"""kinds of statements that are code, whatever they hold"""

_CODE = re.compile(
    r"\bDEFAULT\b|\bCHECK\b|\bGENERATED ALWAYS AS \(|\bEXCLUDE\b|\bWHERE\b|\bPARTITION BY\b.*\(.*\("
)
"""What else runs when rows come: defaults, checks, generated columns, expressions"""
_EXPRESSION_INDEX = re.compile(r"CREATE (UNIQUE )?INDEX .*\(.*\(", re.DOTALL)
_NAME = r'([\w$]+|"(?:[^"]|"")+")'
_ALTER = re.compile(rf"ALTER TABLE (?:ONLY )?{_NAME}\.{_NAME} ")
_DOMAIN = re.compile(
    r"(CREATE DOMAIN .*?)( COLLATE (?:[^\s\"]|\"[^\"]*\")+)?"
    r"\s+(?:DEFAULT|CONSTRAINT|CHECK|NOT NULL)\b.*",
    re.DOTALL,
)


def holds_code(statement: Statement) -> bool:
    """Whether the statement brings code that runs in the target, now or later."""
    if statement.kind in CODE_KINDS:
        return True
    if statement.kind in ("comment", "foreign key", "primary key", "sequence value"):
        return False
    found = _CODE.search(statement.sql) or _EXPRESSION_INDEX.match(statement.sql)
    return found is not None


def script_of(manifest: Manifest, *, data_only: bool) -> list[Statement]:
    """The statements in their order. With `data_only`, those that make types, tables of the same
    names, columns and types with row security on, primary and foreign keys: no functions, triggers,
    policies, checks, defaults, generated columns, partitions or other constraints and indexes."""
    if not data_only:
        return list(manifest.statements)
    whole = tops(manifest)
    kept: list[Statement] = []
    for statement in manifest.statements:
        if statement.kind in ("schema", "extension", "collation"):
            kept.append(statement)
        elif statement.kind == "type" and statement.sql.startswith("CREATE "):
            domain = _DOMAIN.match(statement.sql)
            sql = domain[1] + (domain[2] or "") if domain else statement.sql
            kept.append(Statement("type", statement.name, sql, statement.after_data))
    for table in manifest.tables:
        if table.name in whole:
            kept += _plain_table(table)
    kept += [
        statement
        for statement in manifest.statements
        if statement.kind in ("primary key", "foreign key") and _altered(statement) in whole
    ]
    return kept


def _altered(statement: Statement) -> TableName | None:
    found = _ALTER.match(statement.sql)
    return TableName(_plain(found[1]), _plain(found[2])) if found else None


def _plain(name: str) -> str:
    return name[1:-1].replace('""', '"') if name.startswith('"') else name


def tops(manifest: Manifest) -> set[TableName]:
    """Tables that are no partitions: what `data_only` makes."""
    partitioned = {table.name for table in manifest.tables if table.kind == "p"}
    return {t.name for t in manifest.tables if not partitioned & set(t.parents)}


def top_of(manifest: Manifest, table: TableEntry) -> TableName:
    """The topmost table that a table is a partition of; itself when it is none."""
    entries = {entry.name: entry for entry in manifest.tables}
    for parent in table.parents:
        above = entries.get(parent)
        if above is not None and above.kind == "p":
            return top_of(manifest, above)
    return table.name


def _plain_table(table: TableEntry) -> list[Statement]:
    columns = ", ".join(
        f"{quoted(column.name)} {column.type}{' NOT NULL' if column.not_null else ''}"
        for column in table.columns
    )
    name = table.name.quoted
    return [
        Statement("table", str(table.name), f"CREATE TABLE {name} ({columns})", after_data=False),
        Statement(
            "row security", str(table.name),
            f"ALTER TABLE ONLY {name} ENABLE ROW LEVEL SECURITY", after_data=False,
        ),
    ]  # fmt: skip
