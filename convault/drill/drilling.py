"""One drill, step by step: a scratch database, the restore into it, the checks, the report."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, closing
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from uuid import UUID

import psycopg

from convault.catalog.base import Catalog
from convault.drill.assertions import Assertion, assertion_checks, read_assertions
from convault.drill.borrowed import borrowed
from convault.drill.files import file_checks
from convault.drill.references import reference_checks
from convault.drill.rehearsal import Rehearsal, rehearse
from convault.drill.report import Check, DrillReport, Outcome, not_verified
from convault.drill.rows import row_checks
from convault.drill.scratch import Scratch, embedded
from convault.drill.sequences import sequence_checks
from convault.encryption.age import Identity
from convault.encryption.objects import unlocked
from convault.errors import DrillFailed
from convault.home import home
from convault.installation import Installation
from convault.manifest import Manifest
from convault.newest import newest_full
from convault.settings import Settings
from convault.signing.signature import judged
from convault.sources import session
from convault.sources.failures import translated
from convault.stores.base import Store


@dataclass(frozen=True, slots=True)
class Plan:
    """What is drilled, and with what; everything that can be refused beforehand has not been."""

    manifest: Manifest
    target_url: str | None
    """of a scratch database; None for an embedded server"""
    folder: Path
    """for embedded servers"""
    assertions: tuple[Assertion, ...]
    timeout: float
    """seconds for each assertion"""
    store: Store
    """where the backup lies"""
    identities: tuple[Identity, ...] = ()
    """that open it, if it is encrypted"""

    def scratch(self) -> AbstractContextManager[Scratch]:
        """An empty database for the block."""
        if self.target_url is not None:
            return borrowed(self.target_url, self.manifest)
        return embedded(self.folder, self.manifest)


def plan(
    installation: Installation, backup_id: UUID | None = None, into: str | None = None,
    *, folder: Path | None = None, identities: Sequence[Identity] = (),
) -> Plan:  # fmt: skip
    """Drill that backup, or the newest full one; `into` names a target. NotFoundError,
    RepositoryError, ConfigurationError; SignatureError and EncryptionError, before anything is
    started."""
    settings = installation.settings
    url = None if into is None else settings.target_url(into)
    assertions = _assertions(settings)
    wanted = backup_id or newest_full(installation.catalog)
    manifest, data = installation.repository.stored_manifest(wanted)
    superseded = installation.repository.superseded(manifest)
    judged(data, installation.signing, what=f"backup {wanted}", superseded=superseded)
    unlocked(manifest, identities)
    timeout = settings.convault_drill_timeout
    store = installation.repository.store
    return Plan(
        manifest, url, folder or home() / "drill", tuple(assertions), timeout, store,
        tuple(identities),
    )  # fmt: skip


def examine(planned: Plan, rehearsal: Rehearsal, scratch: Scratch) -> tuple[Check, ...]:
    """Every check of what was restored. SourceError when the database cannot be reached."""
    if not rehearsal.restored:
        why = "nothing was restored"
        return (*rehearsal.checks, *(not_verified(w, "", why) for w in ("rows", "digest")))
    with translated(), closing(session.connect(scratch.url)) as connection:
        connection.execute("SET default_transaction_read_only = on")
        return (*rehearsal.checks, *_checks(planned, rehearsal, connection))


def _checks(
    planned: Plan, rehearsal: Rehearsal, connection: psycopg.Connection[Any]
) -> Iterator[Check]:
    left_out = rehearsal.left_out
    whole = planned.manifest
    there = whole.model_copy(
        update={"tables": tuple(t for t in whole.restored if t.name not in left_out)}
    )
    for table in sorted(left_out):
        for what in ("rows", "digest"):
            yield not_verified(what, str(table), "the table could not be made here")
    yield from row_checks(connection, there)
    yield from reference_checks(connection, whole, left_out, rehearsal.stand_ins)
    yield from sequence_checks(connection, there)
    yield from file_checks(connection, whole, planned.store, left_out)
    if planned.assertions:
        queries, timeout = planned.assertions, planned.timeout
        yield from assertion_checks(connection, queries, whole.root, timeout=timeout)
    else:
        yield not_verified("assertions", "", "CONVAULT_DRILL_SQL names no file of queries")


def drill(
    installation: Installation, backup_id: UUID | None = None, into: str | None = None,
    *, folder: Path | None = None, identities: Sequence[Identity] = (),
) -> DrillReport:  # fmt: skip
    """All of it. What the drill found is in the report, which stands in the catalog as well; errors
    say that nothing could be found out."""
    planned = plan(installation, backup_id, into, folder=folder, identities=identities)
    started = datetime.now(UTC)
    with planned.scratch() as scratch:
        rehearsal = rehearse(installation.repository, planned.manifest, scratch, planned.identities)
        checks = examine(planned, rehearsal, scratch)
    return record(installation.catalog, concluded(planned, scratch, started, checks))


def concluded(
    planned: Plan, scratch: Scratch, started: datetime, checks: tuple[Check, ...]
) -> DrillReport:
    """The report of these checks."""
    id_ = planned.manifest.backup_id
    return DrillReport(id_, scratch.place, started, datetime.now(UTC), checks)


def record(catalog: Catalog, report: DrillReport) -> DrillReport:
    """Let the report stay with the backup's row; the repository is not changed. CatalogError;
    NotFoundError when the backup has no row."""
    passed = report.outcome is Outcome.PASSED
    catalog.update(
        report.backup_id,
        verified_at=report.finished_at if passed else None,
        drill=report.to_json(),
    )
    return report


def require_passed(report: DrillReport) -> None:
    """DrillFailed when a check failed, or when nothing was proven."""
    if report.outcome is Outcome.PASSED:
        return
    failed = [check for check in report.checks if check.outcome is Outcome.FAILED]
    named = "; ".join(f"{c.what} {c.subject}: {c.detail}".replace(" :", ":") for c in failed[:3])
    more = f", and {len(failed) - 3} more" if len(failed) > 3 else ""
    what = f"{named}{more}" if failed else "no table could be proven by its digest"
    raise DrillFailed(
        f"The drill of backup {report.backup_id} did not pass: {what}. `convault show "
        f"{report.backup_id}` has the report; see whether an earlier backup passes.",
        backup=report.backup_id,
    )


def _assertions(settings: Settings) -> list[Assertion]:
    path = settings.convault_drill_sql
    return [] if path is None else read_assertions(path)
