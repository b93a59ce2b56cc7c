"""How much a store may hold (CONVAULT_STORE_QUOTA), read."""

from __future__ import annotations

import re

_UNITS = {
    "": 1, "B": 1,
    "KB": 10**3, "MB": 10**6, "GB": 10**9, "TB": 10**12,
    "KIB": 2**10, "MIB": 2**20, "GIB": 2**30, "TIB": 2**40,
}  # fmt: skip
_SIZE = re.compile(r"(\d{1,15}(?:\.\d{1,3})?)\s*([A-Za-z]*)", re.ASCII)


def parse_quota(text: str) -> int:
    """Bytes that `900MB`, `1.5 GiB` or `52428800` stand for; MB counts in thousands, MiB in 1024s,
    as plans do. ValueError for anything else, and for less than one byte."""
    found = _SIZE.fullmatch(text.strip())
    unit = _UNITS.get(found[2].upper()) if found else None
    count = int(float(found[1]) * unit) if found and unit else 0
    if count < 1:
        raise ValueError("not a size such as 900MB, 5GB or 1GiB")
    return count
