"""What pydantic found wrong, in words for people and without any value."""

from __future__ import annotations

from collections.abc import Callable

from pydantic import ValidationError


def words_of(message: str) -> str:
    """What pydantic says of one field: of a check of ours only what that says."""
    return message.removeprefix("Value error, ")


def reasons(error: ValidationError, whole: str = "", named: Callable[[str], str] = str) -> str:
    """Each field, as `named` calls it, with what is wrong with it; `whole` is what is called wrong
    where it is no field alone."""
    told = []
    for found in error.errors(include_input=False, include_url=False):
        field = named(".".join(map(str, found["loc"]))) or whole
        words = words_of(found["msg"])
        told.append(f"{field}: {words}" if field else words)
    return "; ".join(told)
