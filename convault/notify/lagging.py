"""Copies that are behind, as something to be told."""

from __future__ import annotations

from collections.abc import Iterable, Sized
from typing import Protocol

from convault.incidents import Kind, Notice


class Lag(Protocol):
    """What is known of a copy (`convault.copies.lag`)."""

    @property
    def name(self) -> str:
        """Of CONVAULT_STORE_<NAME>_URL."""

    @property
    def red(self) -> bool:
        """Whether somebody has to do something."""

    @property
    def missing(self) -> Sized:
        """Complete backups that it does not hold."""

    @property
    def holding(self) -> Sized:
        """Backups that it holds and may not."""

    @property
    def seconds(self) -> float:
        """For how long the oldest of `missing` has been complete."""


def lagging(lags: Iterable[Lag]) -> list[Notice]:
    """A notice of each copy about which somebody has to do something, by its name."""
    found = []
    for lag in lags:
        if not lag.red:
            continue
        lacks, holds = len(lag.missing), len(lag.holding)
        what = [
            *(
                [f"It lacks {lacks} backups, the oldest for {lag.seconds / 3600:.0f} h."]
                * bool(lacks)
            ),
            *([f"It holds {holds} backups that were deleted or purged."] * bool(holds)),
        ]
        title = (
            f"The copy {lag.name} is behind"
            if lacks or not holds
            else (f"The copy {lag.name} holds what was deleted")
        )
        detail = " ".join([*(what or ["No run of it was ever complete."]), _NEXT])
        found.append(Notice(Kind.COPY, lag.name, title, detail))
    return found


_NEXT = "See whether its runs work, and whether its store can be reached."
