"""What pydantic found wrong, in words for people and without any value."""

from __future__ import annotations

from collections.abc import Callable

from pydantic import ValidationError


def reasons(error: ValidationError, whole: str = "", named: Callable[[str], str] = str) -> str:
    """Each field, as `named` calls it, with what is wrong with it; `whole` is what is called wrong
    where it is no field alone. What a check of ours says stands as it is."""
    told = []
    for found in error.errors(include_input=False, include_url=False):
        field = named(".".join(map(str, found["loc"]))) or whole
        words = found["msg"].removeprefix("Value error, ")
        told.append(f"{field}: {words}" if field else words)
    return "; ".join(told)
