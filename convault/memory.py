"""What this process holds of memory, beside what it uses."""

from __future__ import annotations

import pyarrow as pa


def one_allocator() -> None:
    """Have Arrow take its buffers from the C library, as all others do. Buffers of megabytes come
    and go, and two allocators would each keep what was freed for themselves: 60 MiB of a backup's
    peak. May be repeated."""
    pa.set_memory_pool(pa.system_memory_pool())


def give_back() -> None:
    """Have the system have what was freed; takes some milliseconds. For the moment after which
    memory is used for something else."""
    pa.default_memory_pool().release_unused()
