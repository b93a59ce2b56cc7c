"""Reading objects back, some or all of them, and holding each against its digest."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

from convault.errors import ObjectMissing, OptionsError
from convault.loading import read_attempts
from convault.progress import report
from convault.stores.base import Store
from convault.verification.findings import Finding
from convault.verification.holdings import Needed
from convault.verification.presence import fault

_READERS = 4
"""objects read at the same time: a store far away is slow to answer, a disk is read ahead"""
_MAX_SLICES = 10_000
_SUBSET = re.compile(r"([0-9]{1,5})/([0-9]{1,5})")


@dataclass(frozen=True, slots=True)
class Subset:
    """Some of the objects: those of `slices` whose turn it is."""

    taken: int
    slices: int

    @classmethod
    def parse(cls, text: str) -> Subset:
        """`N/T`, or `all`. OptionsError."""
        if text == "all":
            return cls(1, 1)
        found = _SUBSET.fullmatch(text)
        taken, slices = (int(found[1]), int(found[2])) if found else (0, 0)
        if not 1 <= taken <= slices <= _MAX_SLICES:
            raise OptionsError(
                f"How much is to be read is said as N/T, such as 1/8: N of T slices, 1 <= N <= T "
                f"<= {_MAX_SLICES}; or `all`."
            )
        return cls(taken, slices)

    def chosen(self, objects: Iterable[Needed], turn: int) -> list[Needed]:
        """Those whose turn it is: an object stays in its slice, whatever else comes and goes."""
        wanted = {(turn + n) % self.slices for n in range(self.taken)}
        return [needed for needed in objects if int(needed.sha256[:16], 16) % self.slices in wanted]

    def next_turn(self, turn: int) -> int:
        """The turn after this one."""
        return (turn + self.taken) % self.slices


def read_back(store: Store, objects: Iterable[Needed]) -> Iterator[tuple[Needed, Finding | None]]:
    """Read each object, and tell what is the matter with it, if anything. They come as they are
    done. StoreUnavailable, after some attempts; StoreError."""
    listed = sorted(objects, key=lambda needed: needed.key)
    total, done = sum(needed.size for needed in listed), 0
    report("read", f"{len(listed)} objects", done=0, total=total, unit="bytes")
    with ThreadPoolExecutor(_READERS, thread_name_prefix="read back") as pool:
        futures = [pool.submit(examine, store, needed) for needed in listed]
        try:
            for needed, future in zip(listed, futures, strict=True):
                yield needed, future.result()
                done += needed.size
                report("read", needed.key, done=done, total=total, unit="bytes")
        except BaseException:
            pool.shutdown(wait=True, cancel_futures=True)
            raise


def examine(store: Store, needed: Needed) -> Finding | None:
    """What is the matter with one object; None when its bytes have their digest."""
    try:
        size, digest = read_attempts()(lambda: _digest(store, needed))
    except ObjectMissing:
        return fault(needed, None)
    if size != needed.size:
        more = "more than" if size > needed.size else f"{size} bytes instead of"
        return fault(needed, f"it has {more} {needed.size}")
    return None if digest == needed.sha256 else fault(needed, "its bytes do not have its digest")


def _digest(store: Store, needed: Needed) -> tuple[int, str]:
    """Size and SHA-256; of what is larger than it should be, no more than is needed to see that."""
    found, size = hashlib.sha256(), 0
    for piece in store.stream(needed.key):
        found.update(piece)
        size += len(piece)
        if size > needed.size:
            break
    return size, found.hexdigest()
