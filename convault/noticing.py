"""What is wrong with the backups, as far as the catalog tells. Pure.

Texts name kinds of errors, tables, schedules, numbers and times: never a value of a row, nor a
filter's (an id of a participant would be somebody's).
"""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from hashlib import sha256
from typing import Any
from uuid import UUID
from zoneinfo import ZoneInfo

from convault.catalog.base import BackupRecord, BackupStatus
from convault.dataset.filters import is_full
from convault.errors import QuotaExceeded, sentence_of
from convault.incidents import Incident, Kind, Notice
from convault.retention.groups import asked_for
from convault.retention.spans import Span
from convault.schedule import BackupSchedule

INTERRUPTED = "interrupted: "
"""how `error` begins of a run that `convault.reconcile` found dead"""
_EARLY = timedelta(minutes=1)
"""by which a scheduler may be ahead of its schedule"""


@dataclass(frozen=True, slots=True)
class Limits:
    """From when on something is wrong."""

    max_age: Span | None
    """of the last good backup; None: any is good enough"""
    overdue: timedelta
    """after the time of a schedule"""
    zone: ZoneInfo


@dataclass(frozen=True, slots=True)
class Facts:
    """What the catalog tells."""

    now: datetime
    """the catalog's time, from before the rest was asked"""
    rows: Sequence[BackupRecord]
    """of backups that are not deleted, newest first"""
    abandoned: Collection[UUID] = ()
    """of `processing` ones: those whose run is gone"""
    schedules: Sequence[BackupSchedule] = ()
    all_rows: bool = True
    """whether there are no older ones"""
    others: Sequence[Notice] = ()
    """what else was found, of kinds in `looked_at`"""
    looked_at: Collection[Kind] = ()

    def group(self, subject: str) -> list[BackupRecord]:
        """Rows of one kind of backups, newest first."""
        return [row for row in self.rows if subject_of(row.options) == subject]

    def is_failed(self, row: BackupRecord) -> bool:
        """Failed, or its run is gone."""
        return row.status is BackupStatus.FAILED or row.id in self.abandoned

    def last_over(self, subject: str) -> BackupRecord | None:
        """The newest of one kind that is complete or failed."""
        over = (r for r in self.group(subject) if is_completed(r) or self.is_failed(r))
        return next(over, None)

    def last_complete(self, subject: str) -> BackupRecord | None:
        """The newest complete one of one kind."""
        return next(filter(is_completed, self.group(subject)), None)


def is_completed(row: BackupRecord) -> bool:
    """Whether it is there."""
    return row.status is BackupStatus.COMPLETED


def subject_of(options: Mapping[str, Any]) -> str:
    """A name for backups that hold the same: '' for those of everything, or else letters that tell
    them apart and nothing of the filter."""
    if is_full(dict(options)):
        return ""
    text = json.dumps(asked_for(options), sort_keys=True, default=str)
    return sha256(text.encode()).hexdigest()[:8]


def notices(facts: Facts, limits: Limits) -> list[Notice]:
    """All that is wrong now."""
    subjects = dict.fromkeys(subject_of(row.options) for row in facts.rows)
    found: list[Notice | None] = [failed(facts, subject) for subject in subjects]
    found += [late(facts, schedule, limits) for schedule in facts.schedules]
    found += [aged(facts, limits)]
    found += [notice for subject in subjects for notice in shrunk(facts, subject)]
    return [*(notice for notice in found if notice is not None), *facts.others]


def is_over(facts: Facts, incident: Incident) -> bool:
    """Whether an incident that is not noticed any more is over, rather than out of sight."""
    if incident.kind in {Kind.OVERDUE, Kind.AGED}:
        return True
    if incident.kind in {Kind.FAILED, Kind.QUOTA}:
        return _went_well(facts, incident)
    if incident.kind == Kind.SHRUNK:
        return _is_back(facts, incident)
    return incident.kind in facts.looked_at


def failed(facts: Facts, subject: str) -> Notice | None:
    """Of one kind of backups: that the last run failed or crashed."""
    row = facts.last_over(subject)
    if row is None or is_completed(row):
        return None
    what = f"A backup{_named(subject)}"
    look = f"`convault show {row.id}` tells more."
    error, code = row.error or "", str((row.metrics or {}).get("error_code", ""))
    facts_ = {"backup": str(row.id)}
    if row.id in facts.abandoned or error.startswith(INTERRUPTED):
        return Notice(
            Kind.FAILED, subject, f"{what} crashed",
            f"Its process is gone, and nothing was committed. The next backup puts its row right. "
            f"{look}", facts_,
        )  # fmt: skip
    if code == QuotaExceeded.code:
        return Notice(
            Kind.QUOTA, subject, f"{what} failed: the store is over its quota",
            "It would hold more than CONVAULT_STORE_QUOTA allows. Remove backups that nobody "
            f"needs, or raise it. {look}", facts_,
        )  # fmt: skip
    return Notice(
        Kind.FAILED, subject, f"{what} failed" + (f": {code}" if code else ""),
        " ".join(filter(None, (sentence_of(code), look))), facts_,
    )  # fmt: skip


def overdue(schedule: BackupSchedule, facts: Facts, grace: timedelta) -> datetime | None:
    """The time at which a backup of this schedule should have begun and did not, longer than
    `grace` ago; None where none is missed.

    Any backup of the same kind that began since will do, and so does one that still runs. Changing
    the schedule begins its time anew, unless the Prefect server still owes that run."""
    if not schedule.is_active:
        return None
    slot = schedule.due_before(facts.now - grace - schedule.shifts)
    if slot is None or (schedule.created_at is not None and schedule.created_at >= slot):
        return None
    owed = schedule.next_run_at is not None and schedule.next_run_at <= slot
    if not owed and schedule.updated_at is not None and schedule.updated_at >= slot:
        return None
    for row in facts.group(subject_of(schedule.options)):
        runs = row.status is BackupStatus.PROCESSING and row.id not in facts.abandoned
        if runs or row.created_at >= slot - _EARLY - schedule.shifts:
            return None
    return slot


def late(facts: Facts, schedule: BackupSchedule, limits: Limits) -> Notice | None:
    """That a schedule is overdue."""
    slot = overdue(schedule, facts, limits.overdue)
    if slot is None:
        return None
    return Notice(
        Kind.OVERDUE, schedule.name, f"The backup of the schedule {schedule.name} is overdue",
        f"It should have begun at {slot:%Y-%m-%d %H:%M} ({schedule.timezone}). See whether the "
        "Prefect server and a worker run; `convault backup` makes one now.",
    )  # fmt: skip


def last_good(facts: Facts) -> BackupRecord | None:
    """The newest complete backup that is not empty: of everything, if ever one was."""
    good = [row for row in facts.rows if is_completed(row) and row.rows != 0]
    return next((row for row in good if is_full(row.options)), next(iter(good), None))


def aged(facts: Facts, limits: Limits) -> Notice | None:
    """That the last good backup is too old, or that there is none for that long."""
    if limits.max_age is None or not facts.rows:
        return None
    good, oldest = last_good(facts), facts.rows[-1].created_at
    limit = limits.max_age.before(facts.now, limits.zone)
    if (oldest if good is None else good.created_at) >= limit:
        return None
    age = f"{limits.max_age.number}{limits.max_age.unit}"
    when = (
        "there is none at all" if good is None else f"it is of {good.created_at:%Y-%m-%d %H:%M} UTC"
    )
    return Notice(
        Kind.AGED, "", f"The last good backup is older than {age}",
        f"CONVAULT_NOTIFY_MAX_AGE is {age}, and {when}. `convault list` shows what became of those "
        "since; `convault doctor` finds what is in the way.",
    )  # fmt: skip


def shrunk(facts: Facts, subject: str) -> list[Notice]:
    """Tables that the last complete backup of one kind found shrunken."""
    row = facts.last_complete(subject)
    if row is None or row.acknowledged_at is not None:
        return []
    return [
        Notice(
            Kind.SHRUNK, f"{subject} {one['table']}".strip(),
            f"The table {one['table']} shrank to {one['rows']} rows",
            f"{one['usual']:g} were usual. The backup{_named(subject)} is complete. If rows were "
            "lost, earlier backups have them, and none of these is removed until somebody says "
            f"that this is right: `convault acknowledge {row.id}`.",
            {"table": one["table"], "usual": one["usual"], "group": subject},
        )
        for one in (row.metrics or {}).get("shrunk", ())
    ]  # fmt: skip


def _went_well(facts: Facts, incident: Incident) -> bool:
    """The last run of that kind did; where one was refused before it was a row, one that came
    after."""
    last = facts.last_over(incident.subject)
    if incident.facts.get("refused"):
        done = None if last is None or not is_completed(last) else last.completed_at
        return done is not None and done > incident.opened_at
    return facts.all_rows if last is None else is_completed(last)


def refused(options: Mapping[str, Any], code: str) -> Notice:
    """That a backup was refused before there was a row of it."""
    subject = subject_of(options)
    return Notice(
        Kind.FAILED, subject, f"A backup{_named(subject)} could not begin: {code}",
        f"{sentence_of(code)} `convault doctor` tells more.", {"refused": True},
    )  # fmt: skip


def _is_back(facts: Facts, incident: Incident) -> bool:
    """The rows are back, or somebody said that it is right without them."""
    group = str(incident.facts.get("group", ""))
    if any((r.acknowledged_at or r.created_at) > incident.opened_at and r.acknowledged_at
           for r in facts.group(group)):  # fmt: skip
        return True
    row = facts.last_complete(group)
    tables = None if row is None else (row.metrics or {}).get("tables")
    if row is None or tables is None:
        return False
    usual = float(incident.facts.get("usual", 0))
    return float(tables.get(incident.facts.get("table"), 0)) * 2 >= usual


def _named(subject: str) -> str:
    return f" with a filter ({subject})" if subject else ""
