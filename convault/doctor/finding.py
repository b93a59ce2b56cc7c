"""What a check found, and what to do about it."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from enum import StrEnum

from convault.errors import ConvaultError, NotHealthy


class State(StrEnum):
    """How a check ended."""

    OK = "ok"
    AMBER = "amber"
    """works, and somebody should know"""
    RED = "red"
    """backups or restores do not work like this"""
    NOT_CHECKED = "not checked"


@dataclass(frozen=True, slots=True)
class Finding:
    """One check. None of its texts holds a secret or a row's value."""

    name: str
    state: State
    found: str
    remedy: str = ""
    """what to do; '' where nothing is to be done"""

    def to_json(self) -> dict[str, str]:
        """For programs."""
        return {
            "name": self.name,
            "state": self.state.value,
            "found": self.found,
            "remedy": self.remedy,
        }


def ok(name: str, found: str) -> Finding:
    """As it should be."""
    return Finding(name, State.OK, found)


def amber(name: str, found: str, remedy: str) -> Finding:
    """Works, but."""
    return Finding(name, State.AMBER, found, remedy)


def red(name: str, found: str, remedy: str) -> Finding:
    """Does not work."""
    return Finding(name, State.RED, found, remedy)


def not_checked(name: str, why: str) -> Finding:
    """Could not be looked at, or does not apply; `why` says which."""
    return Finding(name, State.NOT_CHECKED, why)


def of_error(name: str, error: ConvaultError) -> Finding:
    """An error of Convault's as a finding: its first sentence says what happened, the rest what to
    do."""
    found, _, remedy = error.message.partition(". ")
    return red(name, found.rstrip("."), remedy)


@contextmanager
def reported(name: str, findings: list[Finding]) -> Iterator[None]:
    """What stops the block with an error of Convault's is a finding of that name."""
    try:
        yield
    except ConvaultError as error:
        findings.append(of_error(name, error))


def require_healthy(findings: Iterable[Finding]) -> None:
    """NotHealthy, naming the checks, when one is red."""
    bad = [finding.name for finding in findings if finding.state is State.RED]
    if bad:
        raise NotHealthy(
            f"{len(bad)} {'check is' if len(bad) == 1 else 'checks are'} red: {', '.join(bad)}. "
            "What to do about each stands beside it."
        )
