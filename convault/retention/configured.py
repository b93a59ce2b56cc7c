"""The rules and times of a clean-up, as the settings say them."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import timedelta
from typing import Any

from convault.errors import ConfigurationError
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
    """How long an object must have been unneeded before it is removed. ConfigurationError."""
    grace, longest = settings.convault_sweep_grace, settings.convault_max_hours
    require_grace(timedelta(hours=grace), timedelta(hours=longest))
    return timedelta(hours=grace)


def require_grace(grace: timedelta, longest: timedelta) -> None:
    """ConfigurationError for a grace period that a backup could outlast, which may take
    `longest`."""
    if grace < longest:
        hours = longest.total_seconds() / 3600
        raise ConfigurationError(
            "CONVAULT_SWEEP_GRACE is shorter than the longest backup that CONVAULT_MAX_HOURS "
            f"allows ({hours:g} h): what it stores could be swept away."
        )
