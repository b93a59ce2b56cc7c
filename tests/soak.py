"""How often a test repeats itself: a few times in `make test`, as asked for in `make soak`."""

from __future__ import annotations

import os


def count(small: int, soak: int) -> int:
    """`soak` when CONVAULT_SOAK=1 is set (as `make soak` does), `small` otherwise."""
    return soak if os.environ.get("CONVAULT_SOAK") == "1" else small
