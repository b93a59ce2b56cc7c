"""Whether a table lost so many rows that older backups may be the only good ones. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from statistics import median

from convault.retention.candidates import Candidate

COMPARED = 7
"""earlier backups whose median counts"""


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
        before = counted[max(0, number - COMPARED) : number]
        for table in sorted({name for earlier in before for name in earlier.rows or {}}):
            usual = median((earlier.rows or {}).get(table, 0) for earlier in before)
            now = (backup.rows or {}).get(table, 0)
            if now * 2 < usual:
                return (
                    f"{table} shrank to {now} rows in backup {backup.id}, where {usual:g} were "
                    "usual: nothing goes until somebody says that this is right, with `convault "
                    f"acknowledge {counted[-1].id}`"
                )
    return None
