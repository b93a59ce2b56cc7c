"""One at a time, by a file."""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def alone(path: Path, busy: Exception | None = None) -> Iterator[None]:
    """Hold the lock of a file, which is made if it is not there, for the block. While somebody else
    holds it `busy` is raised, or without one it is waited for. OSError where the file cannot be
    made. It ends with whoever holds it, however that ends, and no child inherits it."""
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | (fcntl.LOCK_NB if busy else 0))
        except BlockingIOError:
            assert busy is not None
            raise busy from None
        yield
    finally:
        os.close(descriptor)
