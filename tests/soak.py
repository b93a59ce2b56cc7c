"""How often a test repeats itself: a few times in `make test`, as asked for in `make soak`."""

from __future__ import annotations

import os

PERCENT = "CONVAULT_SOAK_PERCENT"
"""of what is asked for; `.ci/run` sets it where a machine is too slow for all of it in its hour"""


def count(small: int, soak: int) -> int:
    """`soak` when CONVAULT_SOAK=1 is set (as `make soak` does), or PERCENT of it, `small`
    otherwise and at least."""
    if os.environ.get("CONVAULT_SOAK") != "1":
        return small
    return max(small, soak * int(os.environ.get(PERCENT, "100")) // 100)
