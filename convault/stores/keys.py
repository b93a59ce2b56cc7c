"""What may be a key: checked in one place, so that no store can be talked out of its folder."""

from __future__ import annotations

import re

MAX_KEY_BYTES = 1024
"""S3's limit, the smallest of those that matter."""
_SEGMENT = re.compile(r"[\x20-\x7e]+")
_FORBIDDEN = frozenset('#%\\?*"<>|:')
"""`#` marks what a killed write left behind; Supabase Storage takes no `%`, Windows no `\\` and
the rest."""


def is_key(text: str) -> bool:
    """Whether `text` is a relative, `/`-separated ASCII key that stays inside its store."""
    return len(text) <= MAX_KEY_BYTES and all(_is_segment(part) for part in text.split("/"))


def check_key(key: str) -> None:
    """ValueError unless `key` may name an object."""
    if not is_key(key):
        raise ValueError(f"not a key of a store: {key!r}")


def check_prefix(prefix: str) -> None:
    """ValueError unless `prefix` is '' or names a folder and ends with '/'."""
    if prefix and not (prefix.endswith("/") and is_key(prefix[:-1])):
        raise ValueError(f"not a folder of a store: {prefix!r}")


def _is_segment(text: str) -> bool:
    return (
        text not in (".", "..")
        and _SEGMENT.fullmatch(text) is not None
        and _FORBIDDEN.isdisjoint(text)
    )
