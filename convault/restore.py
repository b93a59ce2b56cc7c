"""A backup into an empty database: everything in one transaction, or nothing."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import Any

import psycopg

from convault import statements, target
from convault.errors import IntegrityError
from convault.loading import check_objects, load_part
from convault.manifest import Manifest
from convault.models import Statement, TableName
from convault.progress import report
from convault.repository import Repository
from convault.statements import Fault


@dataclass(frozen=True, slots=True)
class RestoreResult:
    """What a restore did."""

    rows: dict[TableName, int]
    """per table, as counted in the target"""
    seconds: float
    left_out: tuple[Statement, ...]
    """statements about a relation outside the dataset that the target does not have"""
    faults: tuple[Fault, ...]
    """statements that the target refused"""

    @property
    def complete(self) -> bool:
        """Whether all that leans on nothing outside the backup is as it was."""
        return all(fault.outside for fault in self.faults)


def restore(
    repository: Repository, manifest: Manifest, target_url: str, *, tolerate: bool = False
) -> RestoreResult:
    """Make the tables of the backup in the empty database at `target_url` and fill them.

    With `tolerate`, an index or a constraint that the target refuses is a fault in the result
    instead of an error (`convault.statements.run`). Memory is bounded by one part. On any error
    the target is as it was: IntegrityError names the object that is not what was stored,
    StoreError is the store's, RestoreError the target's.
    """
    started = time.monotonic()
    check_objects(repository.store, manifest)
    before, after = ([s for s in manifest.statements if s.after_data is a] for a in (False, True))
    with target.transaction(target_url) as connection:
        target.require_empty(connection)
        outcomes = [statements.run(connection, before, tolerate=tolerate)]
        _load(connection, repository, manifest)
        rows = _count(connection, manifest)
        outcomes.append(statements.run(connection, after, tolerate=tolerate))
    return RestoreResult(
        rows=rows,
        seconds=time.monotonic() - started,
        left_out=tuple(s for outcome in outcomes for s in outcome.left_out),
        faults=tuple(f for outcome in outcomes for f in outcome.faults),
    )


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
