"""The decision: of each backup whether it stays, and why. Pure."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any
from uuid import UUID
from zoneinfo import ZoneInfo

from convault.catalog.base import BackupStatus
from convault.retention.candidates import Candidate
from convault.retention.policy import Policy
from convault.retention.rules import kept_by, newest_first
from convault.retention.shrinkage import shrunk
from convault.retention.spans import Span

SHARE = 3
"""an unattended run removes at most one in so many of a group's good backups"""
LIMITED = "an unattended run removes at most a third of a group's good ones"


@dataclass(frozen=True, slots=True)
class Decision:
    """What becomes of one backup."""

    backup: Candidate
    goes: bool
    reason: str
    """for people; holds no row's value"""

    def __str__(self) -> str:
        return f"{self.backup.id} {'goes' if self.goes else 'stays'}: {self.reason}"

    def to_json(self) -> dict[str, Any]:
        """For programs."""
        return {
            "id": str(self.backup.id),
            "status": self.backup.status,
            "taken_at": self.backup.taken_at.isoformat(),
            "group": self.backup.group_name,
            "goes": self.goes,
            "reason": self.reason,
        }


def decide(
    backups: Iterable[Candidate],
    policy: Policy,
    now: datetime,
    zone: ZoneInfo,
    *,
    unattended: bool = False,
    clocks: str | None = None,
) -> list[Decision]:
    """Of every backup whether it stays, newest first. `now` is the database's time; `clocks` says
    why it cannot be relied on, and then nothing goes; `unattended`: nobody looks at it before."""
    groups: dict[str, list[Candidate]] = defaultdict(list)
    failed = []
    for backup in backups:
        if backup.status is BackupStatus.FAILED:
            failed.append(backup)
        else:
            groups[backup.group].append(backup)
    decisions = _of_failed(failed, policy, now, zone)
    for members in groups.values():
        decided = _of_group(members, policy, now, zone)
        decisions += _limited(decided) if unattended else decided
    if clocks is not None:
        decisions = [replace(d, goes=False, reason=clocks) if d.goes else d for d in decisions]
    return sorted(decisions, key=lambda d: (d.backup.taken_at, d.backup.id), reverse=True)


def always_kept(group: Sequence[Candidate], now: datetime, minimum: int = 1) -> dict[UUID, str]:
    """Those of one group that no rule may let go, and why."""
    kept: dict[UUID, str] = {}
    ordered = newest_first(group)
    future = [b for b in ordered if b.taken_at > now]
    good = [b for b in ordered if b.good and b not in future]
    for backup in ordered:
        if backup.pinned is not None:
            kept[backup.id] = f"pinned: {backup.pinned}"
        elif backup in future:
            kept[backup.id] = "it is dated in the future"
        elif not backup.readable:
            kept[backup.id] = "its manifest cannot be read, so nobody knows what it is"
    # What is dated in the future may be no younger than the others: it stands for nothing.
    whole = good or [b for b in ordered if b.readable and b not in future]
    for number, backup in enumerate(whole[: max(1, minimum)]):
        word = "good one" if good else "one"
        reason = f"the last {word} of its group" if number == 0 else (
            f"one of the {minimum} good ones that always stay"
        )  # fmt: skip
        kept.setdefault(backup.id, reason)
        if not good:
            break
    verified = [(b.verified_at, b.id) for b in ordered if b.verified_at is not None]
    if verified:
        kept.setdefault(max(verified)[1], "the last one that a drill proved")
    return kept


def _of_group(
    group: Sequence[Candidate], policy: Policy, now: datetime, zone: ZoneInfo
) -> list[Decision]:
    always = always_kept(group, now, policy.minimum_good)
    held = shrunk(group)
    # An empty one takes no good one's place.
    ruled = {
        **kept_by(policy, [b for b in group if b.good], now, zone),
        **kept_by(policy, [b for b in group if not b.good], now, zone),
    }
    newest = _newest(group, policy)
    most = None if policy.keep_at_most is None else Span.parse(policy.keep_at_most)
    limit = None if most is None else most.before(now, zone)
    decisions = []
    for backup in newest_first(group):
        if backup.id in always:
            decisions.append(Decision(backup, False, always[backup.id]))
        elif held is not None:
            decisions.append(Decision(backup, False, held))
        elif _not_asked(backup, policy):
            decisions.append(Decision(backup, False, "only failed ones are to go"))
        elif limit is not None and backup.taken_at < limit:
            reason = f"older than {policy.keep_at_most}, the most that may be kept"
            decisions.append(Decision(backup, True, reason))
        elif backup.id in ruled:
            decisions.append(Decision(backup, False, ", ".join(ruled[backup.id])))
        else:
            decisions.append(_by_the_others(backup, policy, now, zone, newest))
    return decisions


def _by_the_others(
    backup: Candidate, policy: Policy, now: datetime, zone: ZoneInfo, newest: set[UUID]
) -> Decision:
    """By `older_than` and `keep_count`, after the rules kept nothing."""
    if backup.id in newest:
        return Decision(backup, False, f"one of the newest {policy.keep_count}")
    if policy.older_than is not None:
        since = Span.parse(policy.older_than).before(now, zone)
        if backup.taken_at >= since:
            return Decision(backup, False, f"not older than {policy.older_than}")
    if policy.good_rules:
        return Decision(backup, True, "no rule keeps it")
    if policy.older_than is not None:
        return Decision(backup, True, f"older than {policy.older_than}")
    if policy.keep_count is not None:
        return Decision(backup, True, f"not one of the newest {policy.keep_count}")
    if policy.status == ("failed",) and backup.status is BackupStatus.FAILED:
        return Decision(backup, True, "failed ones are to go")
    return Decision(backup, False, "no rule lets it go")


def _of_failed(
    failed: Sequence[Candidate], policy: Policy, now: datetime, zone: ZoneInfo
) -> list[Decision]:
    """Rows of failed runs: only what is said of age, status and count is about them."""
    about = policy.model_copy(update=dict.fromkeys(policy.good_rules))
    newest = _newest(failed, policy)
    decisions = []
    for row in newest_first(failed):
        if row.pinned is not None:
            decisions.append(Decision(row, False, f"pinned: {row.pinned}"))
        elif row.lost:
            reason = "its manifest was lost: put it back, or `convault delete` it"
            decisions.append(Decision(row, False, reason))
        elif row.taken_at > now:
            decisions.append(Decision(row, False, "it is dated in the future"))
        elif _not_asked(row, policy):
            decisions.append(Decision(row, False, "only completed ones are to go"))
        else:
            decisions.append(_by_the_others(row, about, now, zone, newest))
    return decisions


def _newest(backups: Sequence[Candidate], policy: Policy) -> set[UUID]:
    return {b.id for b in newest_first(backups)[: policy.keep_count or 0]}


def _not_asked(backup: Candidate, policy: Policy) -> bool:
    return policy.status is not None and backup.status.value not in policy.status


def _limited(decisions: Sequence[Decision]) -> list[Decision]:
    """Of one group: at most a third of its good ones go, the oldest first."""
    good = [d for d in decisions if d.backup.good]
    allowed = len(good) // SHARE
    going = sorted((d for d in good if d.goes), key=lambda d: (d.backup.taken_at, d.backup.id))
    late = {d.backup.id for d in going[allowed:]}
    return [
        replace(d, goes=False, reason=f"{LIMITED}; it would go: {d.reason}")
        if d.backup.id in late
        else d
        for d in decisions
    ]
