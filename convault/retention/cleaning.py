"""One clean-up: decide by a policy, and move what goes to the trash."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any
from zoneinfo import ZoneInfo

from convault.adoption import require_ours
from convault.catalog.base import AuditEntry, BackupRecord, Catalog
from convault.repository import Repository
from convault.retention.audited import Actor, audited
from convault.retention.candidates import candidates
from convault.retention.clocks import disagreement, other_clocks
from convault.retention.deciding import Decision, decide
from convault.retention.operating import discard
from convault.retention.policy import Policy


@dataclass(frozen=True, slots=True)
class Cleaned:
    """What a clean-up decided, and whether it was done."""

    at: datetime
    dry_run: bool
    decisions: tuple[Decision, ...]

    @property
    def going(self) -> tuple[Decision, ...]:
        """Those that go, or would."""
        return tuple(decision for decision in self.decisions if decision.goes)

    def to_json(self) -> dict[str, Any]:
        """For programs."""
        return {
            "at": self.at.isoformat(),
            "dryRun": self.dry_run,
            "removed": [str(decision.backup.id) for decision in self.going],
            "decisions": [decision.to_json() for decision in self.decisions],
        }


def plan(
    repository: Repository,
    catalog: Catalog,
    policy: Policy,
    zone: ZoneInfo,
    *,
    unattended: bool,
    dry_run: bool = False,
) -> Cleaned:
    """Decide, and change nothing. Reads every manifest. StoreError, CatalogError; NotAdopted where
    this installation may not write."""
    require_ours(repository, catalog)
    now = catalog.now()
    found = candidates(catalog.list(), dict(repository.manifests()), repository.repository_id)
    clocks = disagreement(now, other_clocks(repository))
    decisions = decide(found, policy, now, zone, unattended=unattended, clocks=clocks)
    return Cleaned(now, dry_run, tuple(decisions))


def apply(repository: Repository, catalog: Catalog, cleaned: Cleaned, actor: Actor) -> Cleaned:
    """Move what goes to the trash, and write every decision down. What changed since it was looked
    at stays as it is, and so does what goes because one that stays was there, which is gone by now:
    the next clean-up sees them. Returns what was done."""
    with audited(catalog, actor, "retain") as note:
        going: Sequence[Decision] = cleaned.going
        note.detail = f"{len(going)} of {len(cleaned.decisions)} go"
        with catalog.guard(repository.repository_id) as guard:
            rows = {row.id: row for row in catalog.list()}
            unsure = {
                decision.backup.group
                for decision in cleaned.decisions
                if not decision.goes and decision.backup.good
                and not _as_it_was(rows.get(decision.backup.id), decision)
            }  # fmt: skip
            made = []
            for decision in cleaned.decisions:
                done = not decision.goes
                if decision.goes and decision.backup.group not in unsure:
                    # Who pins takes no guard, and it takes a while to come here.
                    row = catalog.get(decision.backup.id) if decision.backup.id in rows else None
                    if row is not None and _as_it_was(row, decision):
                        discard(repository, catalog, row, guard.check)
                        done = True
                made.append(decision if done else _stayed(decision))
                catalog.audit(
                    AuditEntry(
                        actor=actor.name, origin=actor.origin,
                        action="delete" if decision.goes else "keep",
                        backup_id=decision.backup.id,
                        result="done" if done else "changed meanwhile",
                        detail=decision.reason,
                    )
                )  # fmt: skip
        return replace(cleaned, decisions=tuple(made))


def _stayed(decision: Decision) -> Decision:
    return replace(
        decision, goes=False, reason=f"changed meanwhile; it would go: {decision.reason}"
    )


def _as_it_was(row: BackupRecord | None, decision: Decision) -> bool:
    """Whether nobody deleted, pinned or proved the backup since it was decided about."""
    was = decision.backup
    return row is not None and (row.status, row.pinned, row.verified_at) == (
        was.status, was.pinned, was.verified_at,
    )  # fmt: skip
