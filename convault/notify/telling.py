"""Looking what is wrong, and telling somebody: once when it begins, once when it is over."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from functools import partial

from convault.catalog.base import BackupStatus, Catalog
from convault.incidents import Incident, Kind, Notice, decide, wait_before
from convault.noticing import Facts, Limits, is_over, notices
from convault.notify import apart
from convault.notify.channels import SECONDS, Channel
from convault.notify.message import Message, of_incidents
from convault.retention.spans import Span
from convault.settings import Settings

CLAIMED = 3 * SECONDS
"""seconds for which who tells keeps others from telling the same"""
_ROWS = 500
"""newest backups that are looked at"""


@dataclass(frozen=True, slots=True)
class Watched:
    """What was found and done."""

    begun: Sequence[Notice] = ()
    over: Sequence[Incident] = ()
    incidents: Sequence[Incident] = ()
    """afterwards: open ones, then the newest"""
    failures: dict[str, str] = field(default_factory=dict)
    """why a channel was not reached, by its label"""

    @property
    def open(self) -> list[Incident]:
        """Those that last."""
        return [i for i in self.incidents if i.is_open]


def limits_of(settings: Settings) -> Limits:
    """As the operator sets them."""
    age = settings.convault_notify_max_age
    return Limits(
        None if age == "0" else Span.parse(age),
        timedelta(minutes=settings.convault_notify_overdue),
        settings.convault_timezone,
    )


def facts_of(catalog: Catalog, others: Sequence[Notice], looked_at: Sequence[Kind]) -> Facts:
    """What the catalog tells now. CatalogError."""
    now = catalog.now()
    current = {catalog.repository_id(), None}
    listed = catalog.list(limit=_ROWS)
    return Facts(
        now,
        [
            row
            for row in listed
            if row.status is not BackupStatus.DELETED and row.repository_id in current
        ],
        catalog.abandoned(),
        catalog.schedules(),
        all_rows=len(listed) < _ROWS,
        others=others,
        looked_at=looked_at,
    )


def watch(
    catalog: Catalog, settings: Settings, through: Sequence[Channel], name: str,
    *, others: Sequence[Notice] = (), looked_at: Sequence[Kind] = (),
    ended: Callable[[Incident], bool] | None = None,
) -> Watched:  # fmt: skip
    """Look, write down what began and what is over, and tell what nobody was told of. `others`:
    what else was found to be wrong, of the kinds that were `looked_at`; `ended`: whether an
    incident of these is over when it is not among them (it is, unless told).

    May be done by several processes at the same time. CatalogError; never for a channel.
    """
    facts = facts_of(catalog, others, looked_at)

    def over(incident: Incident) -> bool:
        of_others = incident.kind in looked_at and ended is not None
        return ended(incident) if of_others and ended else is_over(facts, incident)

    changes = decide(catalog.incidents(), notices(facts, limits_of(settings)), over)
    begun = [n for n in changes.begun if catalog.open_incident(n, facts.now)]
    closed = [i for i in changes.over if catalog.close_incident(i.id, facts.now)]
    failures = tell(catalog, through, name)
    return Watched(begun, closed, catalog.incidents(), failures)


def tell(catalog: Catalog, through: Sequence[Channel], name: str) -> dict[str, str]:
    """Tell through these channels what they were not told of yet: one message each. Why one was not
    reached, by its label; it is tried again later. CatalogError."""
    if not through:
        return {}
    now = catalog.now()
    mine = [
        incident
        for incident in catalog.incidents()
        if incident.untold(now)
        and catalog.claim_incident(incident.id, recovery=not incident.is_open, seconds=CLAIMED)
    ]
    wanted = {channel.label: [i for i in mine if channel.label not in i.told_to]
              for channel in through}  # fmt: skip
    asked = [channel for channel in through if wanted[channel.label]]
    messages = {label: of_incidents(of, name) for label, of in wanted.items() if of}
    failures = send({channel: messages[channel.label] for channel in asked})
    for incident in mine:
        labels = [channel.label for channel in through]
        told = tuple(label for label in labels if label not in failures)
        missed = [label for label in labels if label in failures]
        catalog.told_incident(
            incident.id,
            recovery=not incident.is_open,
            told_to=tuple(dict.fromkeys((*incident.told_to, *told))),
            done=not [label for label in missed if label not in incident.told_to],
            problem="; ".join(f"{label}: {failures[label]}" for label in missed),
            seconds=wait_before(incident.attempts),
        )
    return failures


def send(messages: dict[Channel, Message]) -> dict[str, str]:
    """Send each through its channel, all at the same time, in 20 s at most; why it failed, by the
    labels of those that did."""
    calls = [
        partial(channel.send, message.title, message.body, bad=message.bad)
        for channel, message in messages.items()
    ]
    ends = apart.each(calls, SECONDS)
    return {channel.label: end for channel, end in zip(messages, ends, strict=True) if end}
