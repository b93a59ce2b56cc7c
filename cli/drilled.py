"""How the checks of a drill are told."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from cli.output import print_table


def print_checks(checks: Iterable[Mapping[str, str]]) -> None:
    """A line for each, those that failed first, then those that were not verified."""
    order = ("failed", "not verified", "passed")
    listed = sorted(checks, key=lambda check: order.index(check["outcome"]))
    print_table(
        ("check", "of", "outcome", "detail"),
        [(c["check"], c["subject"], c["outcome"], c["detail"]) for c in listed],
    )
