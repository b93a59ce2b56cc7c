"""Facts about an installation that runs: found anew, side by side, each with the time it was."""

from __future__ import annotations

import contextvars
import time
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, wait
from dataclasses import dataclass
from datetime import UTC, datetime

from convault.doctor.finding import Finding, State, of_error, red
from convault.errors import ConvaultError

_WORST = (State.RED, State.AMBER, State.OK)


@dataclass(frozen=True, slots=True)
class Check:
    """Something to be looked at."""

    name: str
    ask: Callable[[], Iterable[Finding]]
    """may raise errors of Convault's"""
    needed: bool = False
    """without it no backup can be made"""


@dataclass(frozen=True, slots=True)
class Fact:
    """What a check found."""

    name: str
    needed: bool
    findings: tuple[Finding, ...]
    at: datetime
    """when it was known, by this machine's clock"""
    seconds: float
    """that it took"""

    @property
    def state(self) -> State:
        """That of the worst finding; what does not apply counts for nothing."""
        states = {finding.state for finding in self.findings}
        return next((state for state in _WORST if state in states), State.NOT_CHECKED)

    @property
    def is_down(self) -> bool:
        """Whether something that is needed does not work."""
        return self.needed and self.state is State.RED


def ask_all(checks: Sequence[Check], *, within: float) -> list[Fact]:
    """What they find, in their order. One that has not ended after `within` seconds is red; its
    thread ends by itself."""
    pool = ThreadPoolExecutor(len(checks), thread_name_prefix="facts")
    try:
        futures = [pool.submit(contextvars.copy_context().run, _found, each) for each in checks]
        wait(futures, timeout=within)
        return [_fact(*each, within) for each in zip(checks, futures, strict=True)]
    finally:
        pool.shutdown(wait=False, cancel_futures=True)


def _found(check: Check) -> Fact:
    started = time.monotonic()
    try:
        findings = tuple(check.ask())
    except ConvaultError as error:
        findings = (of_error(check.name, error),)
    return Fact(check.name, check.needed, findings, datetime.now(UTC), time.monotonic() - started)


def _fact(check: Check, future: Future[Fact], within: float) -> Fact:
    if future.done():
        return future.result()
    silent = red(
        check.name,
        f"there was no answer within {within:g} s",
        "See whether what it asks runs, and can be reached from this machine.",
    )
    return Fact(check.name, check.needed, (silent,), datetime.now(UTC), within)
