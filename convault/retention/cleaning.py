"""One clean-up: decide by a policy, and move what goes to the trash."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from zoneinfo import ZoneInfo

from convault.adoption import require_ours
from convault.catalog.base import AuditEntry, Catalog
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


def apply(repository: Repository, catalog: Catalog, cleaned: Cleaned, actor: Actor) -> None:
    """Move what goes to the trash, and write every decision down. Rows that changed since they were
    looked at stay as they are: the next clean-up sees them."""
    rows = {row.id: row for row in catalog.list()}
    with audited(catalog, actor, "retain") as note:
        going: Sequence[Decision] = cleaned.going
        note.detail = f"{len(going)} of {len(cleaned.decisions)} go"
        with catalog.guard(repository.repository_id) as guard:
            for decision in cleaned.decisions:
                row = rows.get(decision.backup.id)
                unchanged = (
                    row is not None
                    and row.status is decision.backup.status
                    and row.pinned == decision.backup.pinned
                )
                if decision.goes and row is not None and unchanged:
                    discard(repository, catalog, row, guard.check)
                catalog.audit(
                    AuditEntry(
                        actor=actor.name, origin=actor.origin,
                        action="delete" if decision.goes else "keep",
                        backup_id=decision.backup.id,
                        result="done" if unchanged or not decision.goes else "changed meanwhile",
                        detail=decision.reason,
                    )
                )  # fmt: skip
