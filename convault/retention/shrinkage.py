"""Whether a table lost so many rows that older backups may be the only good ones. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import median

from convault.retention.candidates import Candidate

COMPARED = 7
"""earlier backups whose median counts"""


@dataclass(frozen=True, slots=True)
class Shrunk:
    """A table that has less than half of the rows that were usual."""

    table: str
    rows: int
    usual: float
    """the median of those before"""

    def __str__(self) -> str:
        return f"{self.table} shrank to {self.rows} rows, where {self.usual:g} were usual"


def shrunk_tables(now: Mapping[str, int], before: Sequence[Mapping[str, int]]) -> list[Shrunk]:
    """The tables that shrank, by name: rows by table now, and in up to 7 backups before, oldest
    first. A table that is gone has none."""
    counted = before[-COMPARED:]
    found = []
    for table in sorted({name for earlier in counted for name in earlier}):
        usual = median(earlier.get(table, 0) for earlier in counted)
        if now.get(table, 0) * 2 < usual:
            found.append(Shrunk(table, now.get(table, 0), usual))
    return found


def shrunk(backups: Sequence[Candidate]) -> str | None:
    """What shrank in a group, for people; None when nothing did, or somebody acknowledged it.

    A table shrank in a backup when it has less than half of the rows that the median of up to 7
    before it had; a table that is gone has none. It stays so, however many backups come after it,
    until one of them is acknowledged: that one is the first to be compared with from then on.
    """
    ordered = sorted((b for b in backups if b.readable), key=lambda b: (b.taken_at, b.id))
    begin = max((n for n, b in enumerate(ordered) if b.acknowledged), default=0)
    counted = ordered[begin:]
    for number, backup in enumerate(counted[1:], 1):
        found = shrunk_tables(backup.rows or {}, [b.rows or {} for b in counted[:number]])
        if found:
            return (
                f"{found[0].table} shrank to {found[0].rows} rows in backup {backup.id}, where "
                f"{found[0].usual:g} were usual: nothing goes until somebody says that this is "
                f"right, with `convault acknowledge {counted[-1].id}`"
            )
    return None
