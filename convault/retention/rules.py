"""The rules that keep good backups, each with the words that say so. Pure."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from datetime import datetime
from uuid import UUID
from zoneinfo import ZoneInfo

from convault.retention.candidates import Candidate
from convault.retention.policy import Policy
from convault.retention.spans import Span

_Bucket = Callable[[datetime], tuple[object, ...]]
_BUCKETS: dict[str, tuple[str, _Bucket]] = {
    # The offset tells apart the two hours of one name when clocks are put back.
    "keep_hourly": ("hour", lambda t: (t.date(), t.hour, t.utcoffset())),
    "keep_daily": ("day", lambda t: (t.date(),)),
    "keep_weekly": ("week", lambda t: tuple(t.isocalendar()[:2])),
    "keep_monthly": ("month", lambda t: (t.year, t.month)),
    "keep_yearly": ("year", lambda t: (t.year,)),
}


def newest_first(backups: Sequence[Candidate]) -> list[Candidate]:
    """By the time of the snapshot; where two have the same, by id, so that nothing is left to
    chance."""
    return sorted(backups, key=lambda backup: (backup.taken_at, backup.id), reverse=True)


def kept_by(
    policy: Policy, backups: Sequence[Candidate], now: datetime, zone: ZoneInfo
) -> dict[UUID, list[str]]:
    """Why each of these backups of one group is kept by rules; those that none keeps are absent."""
    kept: dict[UUID, list[str]] = defaultdict(list)
    for backup, reason in _kept(policy, newest_first(backups), now, zone):
        kept[backup.id].append(reason)
    return dict(kept)


def _kept(
    policy: Policy, ordered: list[Candidate], now: datetime, zone: ZoneInfo
) -> Iterator[tuple[Candidate, str]]:
    if policy.keep_last is not None:
        yield from ((b, f"one of the last {policy.keep_last}") for b in ordered[: policy.keep_last])
    if policy.keep_within is not None:
        since = Span.parse(policy.keep_within).before(now, zone)
        yield from (
            (b, f"younger than {policy.keep_within}") for b in ordered if b.taken_at >= since
        )
    for name, count in policy.buckets.items():
        word, bucket_of = _BUCKETS[name]
        seen: set[tuple[object, ...]] = set()
        for backup in ordered:
            bucket = bucket_of(backup.taken_at.astimezone(zone))
            if bucket in seen:
                continue
            if len(seen) == count:
                break
            seen.add(bucket)
            yield backup, f"the last of its {word}, of {count}"
