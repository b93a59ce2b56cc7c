"""What a verification says of the incident that an earlier one began."""

from __future__ import annotations

from convault.incidents import Incident
from convault.installation import Installation
from convault.notify.reporting import Outcome
from convault.verification.findings import FindingKind, Verification

_REMEMBERED = 1000
"""damaged objects"""


def judge(
    outcome: Outcome, found: Verification, installation: Installation, *, whole: bool
) -> None:
    """Note what was found. A sound verification of everything (`whole`) ends an incident; of damage
    that was read only if those bytes were read again since, for another slice tells nothing of
    them. CatalogError."""
    hurting = [finding for finding in found.findings if finding.hurts]
    damaged = [f.key for f in hurting if f.kind is FindingKind.DAMAGED]
    outcome.facts = {"objects": len(hurting), "damaged": damaged[:_REMEMBERED]}
    repository_id = installation.repository.repository_id
    reads = installation.catalog.objects_read(repository_id) if found.sound and whole else {}
    oldest = found.oldest_unread

    def ends(incident: Incident) -> bool:
        since = incident.opened_at
        if not (found.sound and whole):
            return False
        if oldest is None or oldest.since > since:
            return True  # whatever was damaged: all that is needed now was written or read since
        return all(key in reads and reads[key] > since for key in incident.facts.get("damaged", ()))

    outcome.ends = ends
