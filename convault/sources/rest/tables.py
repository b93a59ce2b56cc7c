"""Which tables of a described schema a backup holds, and the statements that make them. Pure."""

from __future__ import annotations

from collections.abc import Collection, Sequence

from convault.dataset.closure import closure_of
from convault.dataset.declared import DeclaredRelation
from convault.dataset.narrowing import ColumnFacts, narrowed, resolve
from convault.dataset.scope import Scope
from convault.dataset.tables import Relation
from convault.errors import ConfigurationError, MissingTable, OptionsError, UnsupportedSource
from convault.formats.postgres_types import quoted
from convault.models import Dataset, ForeignKey, Statement, Table, TableName
from convault.sources.rest.described import Described, Description

NEEDS_SQL = "Set DATABASE_URL, which reads by SQL, or leave it out."


def require_possible(scope: Scope) -> None:
    """OptionsError, by name, for what cannot be asked of the REST API."""
    if scope.include_users:
        raise OptionsError(
            "includeUsers cannot be used when rows are read by REST, which does not expose the "
            f"schema auth. {NEEDS_SQL}"
        )
    if any(mask == "hash" for _, mask in scope.mask_columns):
        raise OptionsError(
            "maskColumns: a hash is computed by the database, so that values do not leave it, and "
            f"the REST API does not do that. {NEEDS_SQL} NULL can be had: mask with null."
        )
    other = {scope.messages.schema} - {scope.root.schema}
    if other and scope.include_messages and not scope.tables:
        raise ConfigurationError(
            f"By REST one schema is read, and {scope.root} and {scope.messages} lie in two. Set "
            "DATABASE_URL."
        )


def choose(description: Description, scope: Scope) -> Dataset:
    """The dataset, as `sources.relations.read_dataset` finds it by SQL. Its errors, and
    UnsupportedSource for a table without a primary key."""
    described = {r.name: r for r in description.relations if not r.is_view}
    relations = [Relation(name) for name in described]
    keys = list(description.foreign_keys)
    keys += _declared(scope.relations, described, keys)
    try:
        closure, absent = closure_of(scope, relations, keys)
    except MissingTable as error:
        raise MissingTable(
            f"{error.message} (Asked by REST: a table is only seen there when its schema is "
            "exposed and service_role may read it: GRANT SELECT.)",
            **error.ids,
        ) from None
    _require_keys([described[name] for name in closure])
    dataset = Dataset(
        root=None if scope.tables else scope.root,
        tables=tuple(
            Table(name, n, "r", described[name].columns, described[name].primary_key, ())
            for n, name in enumerate(closure, 1)
        ),
        foreign_keys=tuple(key for key in keys if key.table in set(closure)),
        absent=absent,
    )
    if not (scope.exclude_columns or scope.mask_columns):
        return dataset
    changes = resolve(dataset, scope.exclude_columns, scope.mask_columns)
    # Whether a column has a default is not told: a restore can count on none.
    known = ColumnFacts(
        has_default=False, constant_default=False, takes_null=True, partition_key=False
    )
    return narrowed(dataset, changes, dict.fromkeys(changes.all, known))


def _require_keys(tables: Sequence[Described]) -> None:
    for table in tables:
        if any(column.name == "*" for column in table.columns):
            raise UnsupportedSource(
                f"{table.name} has a column called *, which the REST API takes for all of them. "
                "Rename it, exclude the table (excludeTables), or set DATABASE_URL.",
                table=table.name,
            )
        if not table.primary_key:
            what = " (If it is a view: leave it out, excludeTables.)" if table.may_be_view else ""
            raise UnsupportedSource(
                f"{table.name} has no primary key, and by REST rows are read in the order of "
                "their key: nothing else tells where one page ends and the next begins. Add a "
                f"primary key, exclude the table (excludeTables), or set DATABASE_URL.{what}",
                table=table.name,
            )


def _declared(
    relations: Sequence[DeclaredRelation],
    described: dict[TableName, Described],
    known: Collection[ForeignKey],
) -> list[ForeignKey]:
    """CONVAULT_RELATIONS as keys. ConfigurationError when a table or column is not there."""
    have = {(key.table, key.columns, key.references, key.referenced_columns) for key in known}
    made = []
    for relation in relations:
        for table, columns in (
            (relation.table, relation.columns),
            (relation.references, relation.referenced_columns),
        ):
            there = {c.name for c in described[table].columns} if table in described else None
            if there is None or not set(columns) <= there:
                what = "is not seen by REST" if there is None else "lacks a column of it"
                raise ConfigurationError(
                    f"CONVAULT_RELATIONS: {relation}: {table} {what}.", table=table
                )
        key = ForeignKey(
            "", relation.table, relation.columns, relation.references,
            relation.referenced_columns, declared=True,
        )  # fmt: skip
        if (key.table, key.columns, key.references, key.referenced_columns) not in have:
            made.append(key)
    return list(dict.fromkeys(made))


def statements(
    description: Description, dataset: Dataset, broken: Collection[ForeignKey] = ()
) -> tuple[Statement, ...]:
    """What makes the tables again, as far as REST tells: enums, tables, primary and foreign keys.
    Foreign keys that are `broken` are asked of new rows only."""
    described = {relation.name: relation for relation in description.relations}
    found: dict[str, Statement] = {}
    schemas = {t.name.schema for t in dataset.tables} - {"public"}
    for schema in sorted(schemas):
        sql = f"CREATE SCHEMA {quoted(schema)}"
        found[schema] = Statement("schema", schema, sql, after_data=False)
    for table in dataset.tables:
        for column in table.columns:
            labels = described[table.name].labels.get(column.name)
            if labels and "." in column.type and not column.type.endswith("[]"):
                listed = ", ".join("'" + label.replace("'", "''") + "'" for label in labels)
                found[column.type] = Statement(
                    "type", column.type, f"CREATE TYPE {column.type} AS ENUM ({listed})",
                    after_data=False,
                )  # fmt: skip
    made = list(found.values())
    for table in dataset.tables:
        made += _table(table, set(found))
    after = [_primary_key(table) for table in dataset.tables]
    after += [
        _foreign_key(key, not_valid=key in broken)
        for key in dataset.foreign_keys
        if _can_be_made(dataset, key)
    ]
    return (*made, *after)


def _table(table: Table, types: Collection[str]) -> list[Statement]:
    name = table.name.quoted
    columns = ", ".join(
        f"{quoted(c.name)} {c.type}{' NOT NULL' if c.not_null and not c.mask else ''}"
        for c in table.columns
    )
    # Types of somebody's own, other than enums, are only known by name.
    needs = tuple(sorted({c.type.removesuffix("[]") for c in table.columns if "." in c.type}
                         - set(types)))  # fmt: skip
    return [
        Statement(
            "table", str(table.name), f"CREATE TABLE {name} ({columns})", after_data=False,
            needs=needs,
        ),
        Statement(
            "row security", str(table.name),
            f"ALTER TABLE ONLY {name} ENABLE ROW LEVEL SECURITY", after_data=False, needs=needs,
        ),
    ]  # fmt: skip


def _primary_key(table: Table) -> Statement:
    columns = ", ".join(map(quoted, table.primary_key))
    name = quoted(f"{table.name.name[:50]}_pkey")
    sql = f"ALTER TABLE ONLY {table.name.quoted} ADD CONSTRAINT {name} PRIMARY KEY ({columns})"
    return Statement("primary key", str(table.name), sql, after_data=True)


def _can_be_made(dataset: Dataset, key: ForeignKey) -> bool:
    """Whether the columns that are referenced are known to be unique."""
    target = next((t for t in dataset.tables if t.name == key.references), None)
    own = dataset.table(key.table)
    masked = {column.name for column in own.columns if column.mask}
    return (
        not key.declared
        and target is not None
        and set(target.primary_key) == set(key.referenced_columns)
        and not masked & set(key.columns)
    )


def _foreign_key(key: ForeignKey, *, not_valid: bool) -> Statement:
    own, other = (", ".join(map(quoted, c)) for c in (key.columns, key.referenced_columns))
    sql = (
        f"ALTER TABLE ONLY {key.table.quoted} ADD CONSTRAINT {quoted(key.name[:60])} FOREIGN KEY"
        f" ({own}) REFERENCES {key.references.quoted} ({other})"
    )
    return Statement(
        "foreign key", str(key.table), f"{sql} NOT VALID" if not_valid else sql, after_data=True
    )
