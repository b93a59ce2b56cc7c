"""The restore of a drill: into a scratch database, and what it says of itself."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass

from convault.drill.extensions import adapt
from convault.drill.references import is_of, types_of
from convault.drill.report import Check, Outcome, not_verified
from convault.drill.scratch import Scratch
from convault.encryption.age import Identity
from convault.errors import IntegrityError, RestoreError
from convault.manifest import Manifest
from convault.models import Statement, TableName
from convault.repository import Repository
from convault.restore import RestoreResult, restore
from convault.sources import session
from convault.sources.failures import translated


@dataclass(frozen=True, slots=True)
class Rehearsal:
    """What was restored, and what was not."""

    manifest: Manifest
    """of the whole backup"""
    left_out: frozenset[TableName]
    """tables that could not be made here"""
    restored: bool
    checks: tuple[Check, ...]
    stand_ins: frozenset[str] = frozenset()
    """types that are not here what they are in the source"""


def rehearse(
    repository: Repository,
    manifest: Manifest,
    scratch: Scratch,
    identities: Sequence[Identity] = (),
) -> Rehearsal:
    """Restore the backup. Objects that are damaged, or a database that does not take them, are
    what a drill is for: a failed check. StoreUnavailable, SourceError: nothing was found out."""
    with translated(), closing(session.connect(scratch.url)) as connection:
        adapted = adapt(connection, manifest)
    try:
        result = restore(
            repository, adapted.manifest, scratch.url, tolerate=True, identities=identities
        )
    except (IntegrityError, RestoreError) as error:
        failed = Check("restore", "", Outcome.FAILED, error.message)
        return Rehearsal(manifest, adapted.left_out, False, (failed, *adapted.checks))
    rows = sum(result.rows.values())
    passed = Check("restore", "", Outcome.PASSED, f"{rows} rows in {result.seconds:.1f} s")
    checks = (passed, *adapted.checks, *_imperfections(result, manifest, adapted.stand_ins))
    return Rehearsal(manifest, adapted.left_out, True, checks, adapted.stand_ins)


def _imperfections(
    result: RestoreResult, manifest: Manifest, stand_ins: frozenset[str]
) -> Iterator[Check]:
    for statement in result.left_out:
        if statement.kind == "foreign key":
            continue  # the checks of references tell of each key
        yield not_verified(statement.kind, statement.name, f"{_named(statement)} not there")
    for fault in result.faults:
        statement = fault.statement
        if _leans_on(stand_ins, statement, manifest):
            continue  # as above
        if fault.outside:
            why = f"it leans on {', '.join(statement.needs)}, and was refused: {fault.reason}"
            yield not_verified(statement.kind, statement.name, why)
        else:
            yield Check(statement.kind, statement.name, Outcome.FAILED, fault.reason)
    for statement in result.redacted:
        why = "a marker stands where the source has a secret"
        yield not_verified("secret", f"{statement.kind} {statement.name}", why)
    for table, rows in result.recomputed.items():
        why = f"{rows} rows get other values than they have in the backup"
        yield Check("generated columns", str(table), Outcome.FAILED, why)


def _leans_on(stand_ins: frozenset[str], statement: Statement, manifest: Manifest) -> bool:
    """Whether it is a foreign key that compares values of such a type."""
    tables = {table.name: table for table in manifest.restored}
    return any(
        is_of(statement, key) and types_of(key, tables[key.table]) & stand_ins
        for key in manifest.foreign_keys
        if key.table in tables
    )


def _named(statement: Statement) -> str:
    return f"{', '.join(statement.needs)} {'is' if len(statement.needs) == 1 else 'are'}"
