"""What one step hands to the next."""

from __future__ import annotations

from typing import Generic, TypeVar

T = TypeVar("T")


class Load(Generic[T]):
    """Something big on its way from one task to the next.

    An ordinary object on purpose: Prefect walks through lists, dicts, dataclasses and models that
    it is handed, and the reference cycles of its engine keep arguments and results alive until a
    garbage collection. So nobody looks into a Load, and its carrier empties it when it is done.
    """

    def __init__(self, subject: str, content: T) -> None:
        """`subject` tells people which rows these are: table, pages, number."""
        self._subject = subject
        self._content: T | None = content

    def __str__(self) -> str:
        return self._subject

    @property
    def content(self) -> T:
        """ValueError after `release`."""
        if self._content is None:
            raise ValueError(f"{self} was released")
        return self._content

    def release(self) -> None:
        """Let the content go."""
        self._content = None
