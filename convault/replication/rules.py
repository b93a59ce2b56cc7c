"""A copy's own rules of retention, as CONVAULT_STORE_<NAME>_KEEP writes them."""

from __future__ import annotations

from convault.errors import ConfigurationError, PolicyError
from convault.retention.policy import Policy

_KNOWN = ("last", "hourly", "daily", "weekly", "monthly", "yearly", "within", "at-most", "minimum")


def parse_rules(text: str, variable: str) -> Policy:
    """`daily=7, weekly=4, at-most=2y`: the rules of a clean-up without their `keep`.
    ConfigurationError names the variable."""
    values: dict[str, object] = {}
    for pair in text.split(","):
        name, equals, value = (part.strip() for part in pair.partition("="))
        field = "minimum_good" if name == "minimum" else f"keep_{name.replace('-', '_')}"
        if not equals or name not in _KNOWN or field in values or not value:
            raise ConfigurationError(
                f"{variable} cannot be used: it is written as daily=7, weekly=4, at-most=2y, with "
                f"each of {', '.join(_KNOWN)} at most once."
            )
        values[field] = int(value) if value.isdecimal() and len(value) < 9 else value
    try:
        return Policy.parse(values)
    except PolicyError as error:
        raise ConfigurationError(f"{variable} cannot be used. {error.message}") from None
