"""Copies that are behind, as notices."""

from __future__ import annotations

from dataclasses import dataclass

from convault.incidents import Kind
from convault.notify.lagging import lagging


@dataclass(frozen=True)
class Copy:
    name: str
    red: bool = True
    missing: tuple[int, ...] = ()
    holding: tuple[int, ...] = ()
    seconds: float = 0


def test_a_notice_of_each_that_is_red() -> None:
    found = lagging(
        [
            Copy("well", red=False, missing=(1,)),
            Copy("late", missing=(1, 2), seconds=108_000),
            Copy("keeps", holding=(1,)),
            Copy("never"),
        ]
    )
    assert [(notice.kind, notice.subject, notice.title) for notice in found] == [
        (Kind.COPY, "late", "The copy late is behind"),
        (Kind.COPY, "keeps", "The copy keeps holds what was deleted"),
        (Kind.COPY, "never", "The copy never is behind"),
    ]
    assert "lacks 2 backups, the oldest for 30 h" in found[0].detail
    assert "No run of it was ever complete" in found[2].detail
