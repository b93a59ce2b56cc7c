"""Which versions of Postgres there are: the wheel's 16 and 18, and the system's own."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

SYSTEM_VERSIONS = {
    int(path.parent.name): path
    for path in Path("/usr/lib/postgresql").glob("*/bin")
    if (path / "postgres").exists() and int(path.parent.name) >= 14
}
"""and the folder of their programs"""
VERSIONS = sorted({16, 18, *SYSTEM_VERSIONS})


def params(*usual: int) -> list[Any]:
    """All of them, for `parametrize`; those that are not `usual` wait for `make soak`."""
    return [
        pytest.param(
            version,
            marks=[] if version in usual else [pytest.mark.matrix],
            id=f"postgres-{version}",
        )
        for version in VERSIONS
    ]
