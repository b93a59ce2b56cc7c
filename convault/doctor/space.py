"""Whether there is room: on the disk of a folder, for temporary files, under the quota."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator

from convault.doctor.finding import Finding, amber, not_checked, ok, red
from convault.stores.base import Store
from convault.stores.opening import folder_of

TEMPORARY_BYTES = 256 * 1024 * 1024
"""what should be free for temporary files"""
_SEVERAL = 3
"""backups that should fit, so that somebody notices in time"""


def judge_free(name: str, free: int, needed: int, *, whose: str) -> Finding:
    """`needed` are the bytes of a backup, as the last one or the size of the database tells."""
    told = f"{_size(free)} free for {whose}; a backup may take {_size(needed)}"
    if free < needed:
        return red(name, told, "Free some space there, or move the store to a larger disk.")
    if free < _SEVERAL * needed:
        return amber(
            name,
            f"{told}, so fewer than {_SEVERAL} more fit",
            "Free some space there before long.",
        )
    return ok(name, told)


def judge_temporary(folder: str, free: int) -> Finding:
    """Of the folder for temporary files."""
    name = "temporary files"
    if free < TEMPORARY_BYTES:
        return amber(
            name,
            f"{_size(free)} free in {folder}",
            "Free some space there, or set TMPDIR to a folder with more.",
        )
    return ok(name, f"{_size(free)} free in {folder}")


def judge_quota(used: int, quota: int, needed: int) -> Finding:
    """CONVAULT_STORE_QUOTA against what the store holds, in bytes."""
    name = "quota"
    told = f"{_size(used)} of {_size(quota)} used; a backup may take {_size(needed)}"
    remedy = (
        "Remove what no backup needs (`convault verify` names it) or old backups, or use a larger "
        "plan and raise CONVAULT_STORE_QUOTA."
    )
    if used >= quota:
        return red(name, f"{told}: no backup fits", remedy)
    if used + needed > quota:
        return amber(name, f"{told}: the next one may be stopped", remedy)
    return ok(name, told)


def examine(store: Store, quota: int | None, needed: int | None) -> Iterator[Finding]:
    """Look at disks and the quota; `needed` is None where nobody knows how large a backup is.
    The errors of a store."""
    if store.url.startswith("file://"):
        if needed is None:
            yield not_checked("space", "neither an earlier backup nor the database tells the size")
        else:
            yield judge_free(
                "space", shutil.disk_usage(folder_of(store.url)).free, needed, whose=store.url
            )
    folder = tempfile.gettempdir()
    yield judge_temporary(folder, shutil.disk_usage(folder).free)
    if quota is not None:
        yield judge_quota(sum(info.size for info in store.list()), quota, needed or 0)


def _size(count: int) -> str:
    if count < 10**6:
        return f"{count / 10**3:.1f} kB"
    return f"{count / 10**6:.1f} MB" if count < 10**9 else f"{count / 10**9:.1f} GB"
