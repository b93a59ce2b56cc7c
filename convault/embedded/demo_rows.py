"""The rows of the demo data, drawn from one random generator in a fixed order."""

from __future__ import annotations

import base64
import heapq
import json
import random
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

from convault.embedded import demo_text
from convault.embedded.demo_text import Language

Row = tuple[Any, ...]

END = datetime(2026, 3, 1, tzinfo=UTC)
_DAYS = 365
EVENT_MONTHS = [datetime(2025, month, 1, tzinfo=UTC) for month in (9, 10, 11, 12)] + [
    datetime(2026, month, 1, tzinfo=UTC) for month in (1, 2)
]
"""Events of these months have a partition each; anything later goes to the default one."""

_COLUMNS = {
    "channels": ("id", "kind", "name", "settings", "active"),
    "contacts": ("id", "full_name", "email", "phone", "locale", "students", "born", "fee_balance",
                 "notes", "created_at"),
    "conversations": ("id", "channel_id", "contact_id", "subject", "status", "legacy_ticket",
                      "priority", "created_at", "closed_at"),
    "conversation_participants": ("conversation_id", "contact_id", "role", "muted", "joined_at"),
    "messages": ("id", "conversation_id", "sender_id", "reply_to", "direction", "legacy_folder",
                 "body", "metadata", "tags", "sent_at"),
    "message_attachments": ("id", "message_id", "path", "file_name", "mime_type", "size", "sha256",
                            "created_at"),
    "message_events": ("message_id", "kind", "details", "occurred_at"),
}  # fmt: skip

_CHANNELS: list[Row] = [
    (1, "whatsapp", "Secretaria", '{"business_number": "+1 202 555 0100", "quiet": [22, 7]}', True),
    (2, "email", "secretaria@example.org", '{"signature": "Escola Aurora\\nRua 7 de Abril"}', True),
    (3, "sms", "Avisos", "{}", True),
    (4, "web_chat", "Site – fale conosco", '{"colour": "#0a7", "greeting": "Olá! 👋"}', True),
    (5, "phone", "Front desk", '{"recording": null, "rate": 1.50}', False),
]


class DemoRows:
    """All rows for `messages` messages, and some more that were `withdrawn` again."""

    def __init__(self, messages: int, seed: int) -> None:
        """`messages` is at least 1."""
        rng = random.Random(seed)
        self._people = _People(rng, max(20, messages // 25))
        self._threads = _Threads(rng, self._people, messages + messages // 40)
        total = self._threads.total
        self.withdrawn = frozenset(rng.sample(range(1, total + 1), total - messages))
        """ids of messages that are to be deleted once everything is loaded"""
        self._messages = _Messages(rng, self._threads, self.withdrawn)

    def tables(self) -> Iterator[tuple[str, tuple[str, ...], Iterable[Row]]]:
        """Each table, its columns and its rows. To be taken once, in this order, to the end."""
        rows: dict[str, Iterable[Row]] = {
            "channels": _CHANNELS,
            "contacts": self._people.rows(),
            "conversations": self._threads.rows(),
            "conversation_participants": self._threads.participants(),
            "messages": self._messages.rows(),
            "message_attachments": self._messages.attachments,
            "message_events": self._messages.events,
        }
        for table, columns in _COLUMNS.items():
            yield table, columns, rows[table]


class _People:
    """The contacts: families and staff."""

    def __init__(self, rng: random.Random, count: int) -> None:
        self._rng = rng
        self.languages: list[Language] = [
            "pt" if rng.random() < 0.7 else "en" for _ in range(count)
        ]

    def rows(self) -> Iterator[Row]:
        rng = self._rng
        for number, language in enumerate(self.languages, start=1):
            born = datetime(1960, 1, 1) + timedelta(days=rng.randrange(14_000))
            yield (
                number,
                demo_text.person(rng, language),
                f"contact.{number}@example.org" if rng.random() < 0.85 else None,
                f"+1 202 555 01{rng.randrange(100):02d}" if rng.random() < 0.9 else None,
                rng.choice(("pt-BR", "pt-BR", "pt-PT") if language == "pt" else ("en-US", "en-GB")),
                [demo_text.person(rng, language) for _ in range(rng.choice((0, 1, 1, 2, 3)))],
                born.date() if rng.random() < 0.6 else None,
                rng.choice((None, "0.00", f"{rng.randrange(10**6) / 100:.2f}", "-12.50")),
                rng.choice(
                    (None, None, None, "", 'Prefere "áudio"\ne não texto.', "Ex-aluna 👩🏾‍🎓")
                ),
                END - timedelta(days=_DAYS, seconds=rng.randrange(10**8)),
            )


@dataclass
class _Thread:
    id: UUID
    number: int
    contact: int
    language: Language
    opened: datetime
    times: list[datetime]
    """of its messages, ascending"""
    recent: list[int] = field(default_factory=list)
    """ids of its last messages, for replies"""


class _Threads:
    """The conversations and the times of their messages."""

    def __init__(self, rng: random.Random, people: _People, total: int) -> None:
        self._rng = rng
        self.total = total
        self.all: list[_Thread] = []
        left = total
        while left:
            size = min(left, int(rng.paretovariate(1.05) * 4), 600)
            self.all.append(self._thread(people, len(self.all), size))
            left -= size

    def _thread(self, people: _People, number: int, size: int) -> _Thread:
        rng = self._rng
        lives_long = rng.random() < 0.05
        day = rng.random() ** 2 * 60 if lives_long else rng.random() * (_DAYS - 3)
        opened = END - timedelta(days=_DAYS - day)
        days = _DAYS - day if lives_long else min(rng.lognormvariate(0, 1.5), _DAYS - day)
        times = sorted(opened + timedelta(days=days * rng.random()) for _ in range(size))
        contact = rng.randrange(len(people.languages))
        id_ = UUID(int=rng.getrandbits(128), version=4)
        return _Thread(id_, number, contact + 1, people.languages[contact], opened, times)

    def rows(self) -> Iterator[Row]:
        rng = self._rng
        for thread in self.all:
            status = rng.choice(("open", "waiting", "closed", "closed", "closed"))
            yield (
                thread.id,
                rng.choice((1, 1, 1, 2, 2, 3, 4, 5)),
                thread.contact,
                demo_text.subject(rng, thread.language) if rng.random() < 0.9 else None,
                status,
                f"OLD-{thread.number:06d}",
                rng.choice((None, None, 1, 2, 3, 4, 5)),
                thread.opened,
                thread.times[-1] + timedelta(hours=2) if status == "closed" else None,
            )

    def participants(self) -> Iterator[Row]:
        for thread in self.all:
            yield (
                thread.id,
                thread.contact,
                "guardian",
                self._rng.choice((None, False)),
                thread.opened,
            )
            teacher = thread.number % 10 + 1
            if teacher != thread.contact:
                yield thread.id, teacher, "staff", self._rng.random() < 0.1, thread.opened

    def in_order(self) -> Iterator[tuple[datetime, _Thread]]:
        """Every message's time and conversation, in the order they were sent."""
        timelines = ([(time, t.number) for time in t.times] for t in self.all)
        for time, number in heapq.merge(*timelines):
            yield time, self.all[number]


class _Messages:
    """The messages; fills `attachments` and `events` while its rows are taken."""

    def __init__(self, rng: random.Random, threads: _Threads, withdrawn: frozenset[int]) -> None:
        self._rng = rng
        self._threads = threads
        self._withdrawn = withdrawn
        self.attachments: list[Row] = []
        self.events: list[Row] = []

    def rows(self) -> Iterator[Row]:
        rng = self._rng
        for number, (time, thread) in enumerate(self._threads.in_order(), start=1):
            reply_to = rng.choice(thread.recent) if thread.recent and rng.random() < 0.2 else None
            direction = rng.choices(("inbound", "outbound", "internal"), (48, 48, 4))[0]
            has_file = rng.random() < 0.08
            if number not in self._withdrawn:
                thread.recent = [*thread.recent[-3:], number]
                if has_file:
                    self._attach(number, thread, time)
                if direction == "outbound":
                    self._track(number, time)
            yield (
                number,
                thread.id,
                thread.contact if direction == "inbound" else None,
                reply_to,
                direction,
                f"INBOX/{time:%Y/%m}",
                self._body(thread.language, has_file),
                self._metadata(number, direction),
                self._tags(),
                time,
            )

    def _body(self, language: Language, has_file: bool) -> str | None:
        kind = self._rng.random()
        if has_file and kind < 0.4:
            return None
        return "" if kind < 0.005 else demo_text.body(self._rng, language)

    def _metadata(self, number: int, direction: str) -> str | None:
        rng = self._rng
        kind = rng.random()
        if kind < 0.15:
            return None
        if kind < 0.157:  # an e-mail as it came in, too large for a page: it goes to TOAST
            size = min(int(2500 * rng.paretovariate(0.9)), 400_000)
            raw = base64.b64encode(rng.randbytes(size)).decode()
            return json.dumps({"provider": "smtp", "raw": raw, "spam_score": rng.random()})
        return json.dumps(
            {
                "provider": rng.choice(("meta", "smtp", "twilio", "site")),
                "id": f"wamid.{rng.getrandbits(96):024x}",
                "latency_ms": round(rng.lognormvariate(5, 1), 3),
                "device": rng.choice((None, "Android 14", "iPhone", 'TV "Smart"')),
                "read": direction == "inbound",
                "seq": number,
            },
            ensure_ascii=False,
        )

    def _tags(self) -> list[str | None] | None:
        kind = self._rng.random()
        if kind < 0.5:
            return None
        if kind < 0.65:
            return []
        if kind < 0.66:
            return [None, "NULL", "é", '{"}']
        return [*self._rng.sample(demo_text.TAGS, self._rng.choice((1, 1, 2, 3)))]

    def _attach(self, number: int, thread: _Thread, time: datetime) -> None:
        rng = self._rng
        for _ in range(rng.choice((1, 1, 1, 2, 4))):
            name = demo_text.filled_in(rng, rng.choice(demo_text.FILE_NAMES), thread.language)
            self.attachments.append(
                (
                    UUID(int=rng.getrandbits(128), version=4),
                    number,
                    f"{thread.id}/{number}/{name}",
                    name,
                    rng.choice((None, "application/pdf", "image/jpeg", "application/octet-stream")),
                    min(int(rng.lognormvariate(11, 2)), 2**40),
                    rng.randbytes(32) if rng.random() < 0.9 else None,
                    time,
                )
            )

    def _track(self, number: int, time: datetime) -> None:
        if time < EVENT_MONTHS[0]:
            return  # older events are gone: they are kept half a year
        moment = time
        for kind in ("sent", "delivered", "read")[: self._rng.choice((1, 2, 3, 3))]:
            moment += timedelta(seconds=self._rng.lognormvariate(2, 2))
            details = None if kind != "read" else f'{{"seconds": {(moment - time).seconds}}}'
            self.events.append((number, kind, details, moment))
