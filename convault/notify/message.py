"""What is said of incidents. Pure."""

from __future__ import annotations

import socket
from collections.abc import Sequence
from dataclasses import dataclass

from convault.incidents import Incident
from convault.settings import Settings

_SHOWN = 8
"""incidents in one message: Telegram takes 4,096 characters, and a message that is refused tells
nothing"""
_LONGEST = 400
"""characters of one; names of tables may be long"""


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
        title = ("" if begun else "Over: ") + ordered[0].title[: _LONGEST // 2]
    else:
        over = len(ordered) - begun
        wrong = f"{begun} things are wrong" if begun > 1 else "one thing is wrong"
        past = f"{over} are over" if over > 1 else "one is over"
        title = ", ".join([wrong] * bool(begun) + [past] * bool(over))
    texts = [_told(incident) for incident in ordered[:_SHOWN]]
    if len(ordered) > _SHOWN:
        texts.append(f"And {len(ordered) - _SHOWN} more: `convault notify` shows those that last.")
    return Message(f"Convault ({name}): {title}", "\n\n".join(texts), begun > 0)


def of_test(name: str) -> Message:
    """To see whether a channel works."""
    return Message(
        f"Convault ({name}): a test",
        "Somebody ran `convault notify --test`. Whoever reads this will be told when backups fail.",
        False,
    )


def _told(incident: Incident) -> str:
    title, detail = incident.title[: _LONGEST // 2], incident.detail[:_LONGEST]
    since = f"{incident.opened_at:%Y-%m-%d %H:%M} UTC"
    if incident.recovered_at is None:
        return f"{title}.\n{detail}\nNoticed {since}."
    return f"Over: {title}.\nFrom {since} to {incident.recovered_at:%Y-%m-%d %H:%M} UTC."
