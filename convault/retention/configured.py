"""The rules and times of a clean-up, as the settings say them."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import timedelta
from typing import Any

from convault.retention.policy import Policy
from convault.settings import Settings

_NAMES = ("last", "hourly", "daily", "weekly", "monthly", "yearly", "within", "at_most")


def policy_of(settings: Settings, given: Mapping[str, Any] | None = None) -> Policy:
    """The rules that were `given`, or else those of CONVAULT_KEEP_*; the two are never mixed, but
    for the minimum. PolicyError when there are none."""
    values = {name: value for name, value in (given or {}).items() if value not in (None, [], ())}
    if not values.keys() - {"minimum_good", "minimumGood"}:
        values |= {
            f"keep_{name}": value
            for name in _NAMES
            if (value := getattr(settings, f"convault_keep_{name}")) is not None
        }
    minimum = settings.convault_keep_minimum
    if minimum is not None and not {"minimum_good", "minimumGood"} & values.keys():
        values["minimum_good"] = minimum
    return Policy.parse(values)


def has_rules(settings: Settings) -> bool:
    """Whether CONVAULT_KEEP_* hold a rule."""
    return any(getattr(settings, f"convault_keep_{name}") is not None for name in _NAMES)


def trash_of(settings: Settings) -> timedelta:
    """How long a deleted backup can be taken back."""
    return timedelta(days=settings.convault_trash_days)


def grace_of(settings: Settings) -> timedelta:
    """How long an object must have been unneeded before it is removed."""
    return timedelta(hours=settings.convault_sweep_grace)
