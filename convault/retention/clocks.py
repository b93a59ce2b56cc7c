"""Whether the clocks agree well enough to call anything old."""

from __future__ import annotations

import secrets
from datetime import UTC, datetime, timedelta

from convault import layout
from convault.repository import Repository

MOST = timedelta(minutes=5)


def disagreement(database: datetime, others: dict[str, datetime]) -> str | None:
    """Which clock is more than 5 minutes off the database's, for people; None when none is."""
    for name, time in others.items():
        off = abs(time - database)
        if off > MOST:
            return (
                f"the clock of {name} is {off.total_seconds():.0f} s off the database's: nothing "
                "goes until they agree"
            )
    return None


def other_clocks(repository: Repository) -> dict[str, datetime]:
    """This host's, and the store's as the time of an object that is written for it. StoreError."""
    host = datetime.now(UTC)
    key = f"{layout.SWEEP}clock-{secrets.token_hex(8)}"
    try:
        repository.store.put(key, b"What time is it?\n")
        store = repository.store.head(key).modified
    finally:
        repository.store.delete(key)
    return {"this host": host, "the store": store}
