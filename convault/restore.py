"""A backup into an empty database: everything in one transaction, or nothing."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import Any

import psycopg

from convault import target
from convault.errors import IntegrityError
from convault.loading import check_objects, load_part
from convault.manifest import Manifest
from convault.models import Statement, TableName
from convault.progress import report
from convault.repository import Repository


@dataclass(frozen=True, slots=True)
class RestoreResult:
    """What a restore did."""

    rows: dict[TableName, int]
    """per table, as counted in the target"""
    seconds: float
    left_out: tuple[Statement, ...]
    """statements about a relation outside the dataset that the target does not have"""


def restore(repository: Repository, manifest: Manifest, target_url: str) -> RestoreResult:
    """Make the tables of the backup in the empty database at `target_url` and fill them.

    Memory is bounded by one part. On any error the target is as it was: IntegrityError names the
    object that is not what was stored, StoreError is the store's, RestoreError the target's.
    """
    started = time.monotonic()
    check_objects(repository.store, manifest)
    with target.transaction(target_url) as connection:
        target.require_empty(connection)
        left_out = _run(connection, manifest, after_data=False)
        _load(connection, repository, manifest)
        rows = _count(connection, manifest)
        left_out += _run(connection, manifest, after_data=True)
    return RestoreResult(rows, time.monotonic() - started, tuple(left_out))


def _run(
    connection: psycopg.Connection[Any], manifest: Manifest, *, after_data: bool
) -> list[Statement]:
    """Execute the statements of that half in their order; returns those that were left out."""
    statements = [s for s in manifest.statements if s.after_data is after_data]
    left_out = []
    for number, statement in enumerate(statements):
        what = f"{statement.kind} {statement.name}"
        report("schema", what, done=number, total=len(statements), unit="statements")
        if statement.needs is not None and not target.exists(connection, statement.needs):
            left_out.append(statement)
            continue
        with target.refusals(what):
            connection.execute(statement.sql.encode())
    return left_out


def _load(connection: psycopg.Connection[Any], repository: Repository, manifest: Manifest) -> None:
    done = 0
    for table in manifest.tables:
        for part in table.parts:
            report("load", str(table.name), done=done, total=manifest.rows, unit="rows")
            with target.refusals(f"rows of {table.name}"):
                load_part(connection, repository.store, table, part)
            done += part.rows
    report("load", "rows", done=done, total=manifest.rows, unit="rows")


def _count(connection: psycopg.Connection[Any], manifest: Manifest) -> dict[TableName, int]:
    """count(*) of every table; IntegrityError when the backup promised another number."""
    counts = {}
    for table in manifest.tables:
        query = f"SELECT count(*) FROM ONLY {table.name.quoted}"
        row = connection.execute(query.encode()).fetchone()
        counts[table.name] = row[0] if row else 0
        if counts[table.name] != table.rows:
            raise IntegrityError(
                f"Table {table.name} has {counts[table.name]} rows after loading, and the backup "
                f"counted {table.rows}. Nothing was changed.",
                table=table.name,
            )
    return counts
