"""`Range` and `If-Range` (RFC 9110, sections 13 and 14) of a body whose size is known."""

from __future__ import annotations

import re

_ONE = re.compile(r"bytes=\s*(?:([0-9]{1,19})-([0-9]{0,19})|-([0-9]{1,19}))\s*", re.IGNORECASE)


class Unsatisfiable(ValueError):
    """The range begins behind the end."""


def wanted(header: str | None, size: int) -> tuple[int, int] | None:
    """First byte and the one behind the last; None for the whole: without the header, for several
    ranges, for another unit, and for what is no range, all of which may be ignored.

    Unsatisfiable when nothing of it lies in the body.
    """
    match = _ONE.fullmatch(header.strip()) if header is not None else None
    if match is None:
        return None
    first, last, suffix = match.groups()
    if suffix is not None:
        if int(suffix) == 0 or size == 0:
            raise Unsatisfiable(header)
        return max(0, size - int(suffix)), size
    start = int(first)
    if last and int(last) < start:
        return None  # no range at all
    if start >= size:
        raise Unsatisfiable(header)
    return start, min(size, int(last) + 1) if last else size


def unchanged(if_range: str | None, etag: str) -> bool:
    """Whether a range may be sent. A date is never taken: it says less than the tag does, and a
    client that sends one gets the whole."""
    return if_range is None or if_range.strip() == etag
