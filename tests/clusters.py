"""Clusters of a test's own, and copies of them as snapshots of a disk are."""

from __future__ import annotations

import shutil
import subprocess
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from convault.embedded.server import EmbeddedPostgres, wheel_binaries

Clusters = Callable[[str], EmbeddedPostgres]
OPTIONS = {"fsync": "off", "autovacuum": "off", "max_wal_senders": "2"}


@pytest.fixture
def new_cluster() -> Iterator[Clusters]:
    """Small clusters of a test's own, by name; not started."""
    base = Path(tempfile.mkdtemp(prefix="cv-"))
    base.chmod(0o711)
    made: list[EmbeddedPostgres] = []

    def make(name: str) -> EmbeddedPostgres:
        made.append(
            EmbeddedPostgres(base / name, binaries=wheel_binaries(18), options=dict(OPTIONS))
        )
        return made[-1]

    yield make
    for cluster in made:
        cluster.destroy()
    shutil.rmtree(base)


def copied(original: EmbeddedPostgres, copy: EmbeddedPostgres) -> EmbeddedPostgres:
    """A cold copy, as a snapshot of the disk is; not started."""
    original.stop()
    copy.folder.mkdir(mode=0o700)
    subprocess.run(["cp", "-a", original.data, copy.data], check=True)
    original.start()
    return copy
