"""What a run has done so far: for its progress, and for the row's metrics when it is over."""

from __future__ import annotations

import threading
import time
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from typing import Any

from convault.carrying import Uploaded
from convault.files.copying import Copied
from convault.manifest import ReuseFacts
from convault.models import Chunk, Range, StepSeconds
from convault.per_page import told_of
from convault.progress import report
from convault.ranges.reuse import Taking
from convault.repository import Stored
from convault.retention.shrinkage import Shrunk
from convault.sources.base import Snapshot


class Tally:
    """Counts of one run, over all its snapshots. Any thread may add to it.

    Every addition is reported as progress: `fetch` in rows, `serialize`, `compress` and `upload` in
    bytes (plain, stored, stored), `carry` in bytes of heap and TOAST, of an estimated total.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._started = time.monotonic()
        self._done: dict[str, int] = defaultdict(int)
        self._seconds: dict[str, float] = defaultdict(float)
        self._keys: set[str] = set()
        self._planned = 0
        self._chunks = 0
        self._parts = 0
        self._new_bytes = 0
        self._repaired = 0
        self.replans = 0
        """how often the snapshot was lost"""
        self._files: dict[str, int] = {}
        self._planned_files = 0
        self._files_done = 0
        self._consistency = "snapshot"
        self._not_included: list[str] | None = None
        self._seen_warnings: list[str] | None = None
        self._own_warnings: list[str] = []
        self._taken: Taking | None = None
        self._reuse: ReuseFacts | None = None
        self._tables: dict[str, int] | None = None
        self._shrunk: list[Shrunk] = []

    def compare(self, rows: Mapping[str, int], shrunk: Sequence[Shrunk]) -> None:
        """Keep how many rows each table has, and which have far less than usual."""
        self._tables, self._shrunk = dict(rows), list(shrunk)

    def warn(self, warning: str) -> None:
        """Keep what the run itself has to say of the backup, whatever snapshot it gets; once."""
        if warning not in self._own_warnings:
            self._own_warnings.append(warning)

    def reuse(self, facts: ReuseFacts) -> None:
        """Keep what the manifest says of what was taken over."""
        with self._lock:
            self._reuse = facts

    def see(self, snapshot: Snapshot) -> None:
        """Keep what the snapshot tells about what will not be in the backup: names; and whether it
        is one."""
        self._consistency = snapshot.consistency
        self._not_included = [str(name) for name in snapshot.not_included]
        self._seen_warnings = list(snapshot.warnings)

    @property
    def warnings(self) -> Sequence[str]:
        """Seen so far."""
        return tuple(self._seen_warnings or ())

    def plan(self, chunks: Sequence[Chunk], taking: Taking | None = None) -> None:
        """A snapshot's work begins, and what need not be read is taken over. What an earlier
        snapshot's did counts no more, but for the time it took and the bytes that it wrote."""
        with self._lock:
            self._done.clear()
            self._keys.clear()
            self._taken, self._reuse = taking, None
            self._parts = 0
            self._chunks = len(chunks)
            self._planned = sum(chunk.heap_bytes for chunk in chunks)
        report("carry", f"{len(chunks)} chunks", done=0, total=self._planned, unit="bytes")

    def add(self, step: str, range_: Range, amount: int, unit: str) -> None:
        """`amount` more of `unit` went through `step`."""
        with self._lock:
            self._done[step] += amount
            done = self._done[step]
        total = self._planned if step == "carry" else None
        report(step, str(range_), done=done, total=total, unit=unit)

    def plan_files(self, files: int) -> None:
        """So many Storage files are to be copied; what was told of them before counts no more."""
        with self._lock:
            self._files = {"read": 0, "held": 0, "new_bytes": self._files.get("new_bytes", 0)}
            self._planned_files, self._files_done = files, 0
        report("files", f"{files} files", done=0, total=files, unit="files")

    def add_file(self, copied: Copied) -> None:
        """A file is stored, held already, or not there."""
        with self._lock:
            self._files["read"] += copied.read
            self._files["held"] += copied.entry.stored and not copied.read
            self._files["new_bytes"] += copied.new_bytes
            self._files_done += 1
            done = self._files_done
        report(
            "files", f"{self._planned_files} files", done=done, total=self._planned_files,
            unit="files",
        )  # fmt: skip

    def conclude_files(self, counts: dict[str, int]) -> None:
        """What became of all of them."""
        with self._lock:
            self._files = {**counts, **self._files}

    def add_upload(self, uploaded: Uploaded) -> None:
        """A part is stored; an object that two parts share takes its place once."""
        part = uploaded.part
        with self._lock:
            size = 0 if part.key in self._keys else part.stored_bytes
            self._keys.add(part.key)
            self._parts += 1
            self._new_bytes += 0 if uploaded.stored is Stored.FOUND else part.stored_bytes
            self._repaired += uploaded.stored is Stored.REPAIRED
        self.add("upload", part.range, size, "bytes")

    @contextmanager
    def timed(self, step: str) -> Iterator[None]:
        """Add the wall seconds that the block takes to those of `step`."""
        started = time.monotonic()
        try:
            yield
        finally:
            with self._lock:
                self._seconds[step] += time.monotonic() - started

    def add_seconds(self, seconds: StepSeconds) -> None:
        """What a chunk spent in its steps; with several workers they sum to more than the run."""
        with self._lock:
            for step in StepSeconds.__dataclass_fields__:
                self._seconds[step] += getattr(seconds, step)

    def metrics(self) -> dict[str, Any]:
        """For the row: what was read or taken over, and stored so far, and what is not included
        (None when no snapshot was taken). Sizes in bytes, times in seconds."""
        with self._lock:
            taken = () if self._taken is None else self._taken.parts
            plain = self._done["serialize"] + sum(part.plain_bytes for part in taken)
            new = {part.key: part.stored_bytes for part in taken if part.key not in self._keys}
            stored = self._done["upload"] + sum(new.values())
            return {
                "rows": self._done["fetch"] + sum(part.rows for part in taken),
                "plain_bytes": plain,
                "stored_bytes": stored,
                "new_bytes": self._new_bytes,
                "ratio": round(plain / stored, 3) if stored else None,
                "parts": self._parts + len(taken),
                "chunks": self._chunks,
                "replans": self.replans,
                "not_included": self._not_included,
                "warnings": self._all_warnings(),
                "repaired": self._repaired,
                **({"files": dict(self._files)} if self._files else {}),
                **told_of(self._consistency),
                **self._reused(),
                **self._compared(),
                "seconds": {
                    **{step: round(seconds, 3) for step, seconds in self._seconds.items()},
                    "total": round(time.monotonic() - self._started, 3),
                },
            }

    def _all_warnings(self) -> list[str] | None:
        if self._seen_warnings is None:
            return None
        different = () if self._reuse is None else self._reuse.differing
        told = [
            f"{range_} was read again, and is stored otherwise than in the parent backup though "
            "its key is the same: one of the two is wrong."
            for range_ in different
        ]
        return [*told, *self._own_warnings, *self._seen_warnings]

    def _compared(self) -> dict[str, Any]:
        """Rows by table, and tables that shrank; nothing where they were not counted."""
        if self._tables is None:
            return {}
        return {"tables": self._tables, "shrunk": [asdict(table) for table in self._shrunk]}

    def _reused(self) -> dict[str, Any]:
        """What was taken over; nothing where that was not decided yet."""
        if self._taken is None or self._reuse is None:
            return {}
        reuse = self._reuse
        return {
            "reused": {
                "ranges": reuse.ranges,
                "of_ranges": len(self._taken.keys),
                "rows": reuse.rows,
                "stored_bytes": reuse.stored_bytes,
                "full_because": reuse.reason,
                "differing": list(reuse.differing),
            }
        }
