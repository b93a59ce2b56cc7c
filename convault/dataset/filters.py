"""Which conversations a backup is asked for, and how that is told. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from convault.dataset.period import Period
from convault.models import BackupOptions, Selection, TableName


@dataclass(frozen=True, slots=True)
class Filters:
    """Conditions on the rows of the root, all of which must hold. Values are as they were given:
    the types of the columns decide what they mean. () and None ask for nothing."""

    conversation_ids: tuple[str, ...] = ()
    period: Period = field(default_factory=Period)
    status: tuple[str, ...] = ()
    channel_ids: tuple[str, ...] = ()
    participant_ids: tuple[str, ...] = ()

    created_column: str = "created_at"
    status_column: str = "status"
    channel_column: str = "channel_id"
    participants: tuple[TableName, str] | None = None
    """the column that holds participants; None: to be found"""

    zone: str = "UTC"
    """the time zone that bare days were read in, for people"""

    @property
    def kinds(self) -> tuple[str, ...]:
        """Names of the options that filter, in their order."""
        asked = {
            "conversationIds": self.conversation_ids,
            "startDate": self.period.start,
            "endDate": self.period.end,
            "status": self.status,
            "channelIds": self.channel_ids,
            "participantIds": self.participant_ids,
        }
        return tuple(name for name, value in asked.items() if value)


def facts_of(filters: Filters, conversations: int) -> Selection:
    """What a manifest tells of how rows were selected; so many rows of the root matched."""
    start, end = filters.period.start, filters.period.end
    return Selection(
        filters=filters.kinds,
        start=None if start is None else start.isoformat(),
        end=None if end is None else end.isoformat(),
        time_zone=filters.zone,
        conversations=conversations,
    )


def absent_ids(missing: int, filters: Filters, root: TableName) -> str:
    """A warning for people: how many ids, not which."""
    asked = len(set(filters.conversation_ids))
    return f"{missing} of the {asked} conversations that were asked for by id are not in {root}."


class Words:
    """How a filter is told in one language; {} is a number, a time or a name. What is counted is
    told in the singular and, behind a bar, in the plural."""

    def __init__(
        self, *, ids: str, start: str, end: str, day: str, status: str, channels: str,
        participants: str, no_messages: str, tables: str,
    ) -> None:  # fmt: skip
        self.counted = {
            "conversationIds": ids,
            "status": status,
            "channelIds": channels,
            "participantIds": participants,
        }
        self.start, self.end, self.day = start, end, day
        self.no_messages, self.tables = no_messages, tables


ENGLISH = Words(
    ids="{} conversation by id|{} conversations by id",
    start="from {}", end="before {}", day="through {}",
    status="{} status|{} statuses", channels="{} channel|{} channels",
    participants="{} participant|{} participants",
    no_messages="without messages", tables="tables {}",
)  # fmt: skip
PORTUGUESE = Words(
    ids="{} conversa pelo id|{} conversas pelo id",
    start="desde {}", end="antes de {}", day="até {}, inclusive",
    status="{} estado|{} estados", channels="{} canal|{} canais",
    participants="{} participante|{} participantes",
    no_messages="sem as mensagens", tables="tabelas {}",
)  # fmt: skip


def described(options: BackupOptions | Mapping[str, Any], words: Words = ENGLISH) -> str:
    """The filter in a few words, '' for none: how many ids, not which. `options` may be those of a
    row or a manifest, whatever their version."""
    given: Mapping[str, Any] = options.to_json() if isinstance(options, BackupOptions) else options
    told = [
        _counted(text, len(values))
        for name, text in words.counted.items()
        if isinstance(values := given.get(name), Sequence) and values
    ]
    if given.get("startDate"):
        told.append(words.start.format(given["startDate"]))
    if given.get("endDate"):
        bare = len(str(given["endDate"])) == 10
        told.append((words.day if bare else words.end).format(given["endDate"]))
    if given.get("includeMessages") is False:
        told.append(words.no_messages)
    if given.get("tables"):
        told.append(words.tables.format(", ".join(map(str, given["tables"]))))
    return ", ".join(told)


def _counted(text: str, number: int) -> str:
    """`text` has the singular before a bar, and the plural behind it."""
    one, _, more = text.partition("|")
    return (one if number == 1 else more).format(number)


def is_full(options: Mapping[str, Any]) -> bool:
    """Whether a backup with these options holds all rows of all tables: none was chosen by its
    values, no table by its name, and the messages are there."""
    chosen = is_filtered(options) or options.get("tables")
    return not chosen and options.get("includeMessages") is not False


def is_filtered(options: Mapping[str, Any]) -> bool:
    """Whether the options, as a row or a manifest has them, select rows by their values."""
    names = ("conversationIds", "startDate", "endDate", "status", "channelIds", "participantIds")
    return any(options.get(name) for name in names)
