"""What is said of incidents. Pure."""

from __future__ import annotations

import socket
from collections.abc import Sequence
from dataclasses import dataclass

from convault.incidents import Incident
from convault.settings import Settings


@dataclass(frozen=True, slots=True)
class Message:
    """For one channel."""

    title: str
    body: str
    bad: bool
    """whether something began, rather than ended"""


def name_of(settings: Settings) -> str:
    """What this installation is called."""
    return settings.convault_notify_name.strip() or socket.gethostname()


def of_incidents(incidents: Sequence[Incident], name: str) -> Message:
    """One message of all of them, what began first."""
    ordered = sorted(incidents, key=lambda i: (not i.is_open, i.opened_at))
    begun = sum(i.is_open for i in ordered)
    if len(ordered) == 1:
        title = ordered[0].title if begun else f"Over: {ordered[0].title}"
    else:
        over = len(ordered) - begun
        parts = [f"{begun} things are wrong"] * bool(begun) + [f"{over} are over"] * bool(over)
        title = ", ".join(parts)
    return Message(f"Convault ({name}): {title}", "\n\n".join(map(_told, ordered)), begun > 0)


def of_test(name: str) -> Message:
    """To see whether a channel works."""
    return Message(
        f"Convault ({name}): a test",
        "Somebody ran `convault notify --test`. Whoever reads this will be told when backups fail.",
        False,
    )


def _told(incident: Incident) -> str:
    since = f"{incident.opened_at:%Y-%m-%d %H:%M} UTC"
    if incident.recovered_at is None:
        return f"{incident.title}.\n{incident.detail}\nNoticed {since}."
    return f"Over: {incident.title}.\nFrom {since} to {incident.recovered_at:%Y-%m-%d %H:%M} UTC."
