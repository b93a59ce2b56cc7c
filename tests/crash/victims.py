"""Run backups that are killed: a process that forks one victim after the other.

Reads one JSON object per line: {"environment", "backup_id", "kill": KILL}; answers each with a line
{"status", "uploads", "committed"}: the victim's wait status, how many parts it had stored, and
whether it had written the manifest. KILL is one of

- {"point": NAME, "when": "before" | "after"}: at a method of POINTS, the first time
- {"uploads": N, "seconds": S}: S seconds after the N-th part was stored
- {"seconds": S}: S seconds after the flow began

With "signal": "SIGTERM" the first of these tells it to stop, as a worker does, and kills nothing.

The kills are put around the methods here; the code that is killed knows nothing of them. Forking
spares each victim the second that importing takes.
"""

from __future__ import annotations

import json
import os
import signal
import sys
import threading
from collections.abc import Callable
from typing import Any
from uuid import UUID

from prefect.events.clients import NullEventsClient
from prefect.events.worker import EventsWorker

from convault.catalog.lease import PostgresLease
from convault.catalog.postgres import PostgresCatalog
from convault.models import BackupOptions
from convault.repository import Repository
from convault.sources.postgres import PostgresSnapshot
from convault.stores.folder import FolderStore
from flows.backup import backup

POINTS: dict[str, tuple[type, str, str]] = {
    "begin": (PostgresCatalog, "begin", ""),
    "reconcile": (Repository, "revisions", ""),
    "upload": (FolderStore, "put", "data/"),
    "count": (PostgresSnapshot, "count", ""),
    "members": (Repository, "put_member", ""),
    "look up": (FolderStore, "head", ""),
    "flush": (FolderStore, "flush", ""),
    "check lease": (PostgresLease, "check", ""),
    "put manifest": (Repository, "put_manifest", ""),
    "write manifest": (FolderStore, "put", "backups/*datapackage.json"),
    "row": (PostgresCatalog, "update", ""),
    "release": (PostgresLease, "release", ""),
}
"""class, method, and what the key that it is called with must start and end with (`start*end`)"""


def die() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def around(
    owner: type, name: str, *, before: Callable[[Any], None], after: Callable[[Any], None]
) -> None:
    """Call `before` and `after` each call of a method, with its first argument."""
    method = getattr(owner, name)

    def wrapped(self: Any, *args: Any, **kwargs: Any) -> Any:
        first = args[0] if args else None
        before(first)
        result = method(self, *args, **kwargs)
        after(first)
        return result

    setattr(owner, name, wrapped)


def fits(pattern: str, argument: Any) -> bool:
    start, _, end = pattern.partition("*")
    return not pattern or (
        isinstance(argument, str) and argument.startswith(start) and argument.endswith(end)
    )


def nothing(argument: Any) -> None:
    return None


def die_at(point: str, when: str, number: int) -> None:
    owner, name, pattern = POINTS[point]

    def strike(argument: Any) -> None:
        if fits(pattern, argument):
            os.kill(os.getpid(), number)

    around(
        owner,
        name,
        before=strike if when == "before" else nothing,
        after=strike if when == "after" else nothing,
    )


def die_after(uploads: int | None, seconds: float) -> None:
    if uploads is None:
        threading.Timer(seconds, die).start()
        return
    lock = threading.Lock()
    stored = 0

    def count(key: Any) -> None:
        nonlocal stored
        if fits("data/", key):
            with lock:
                stored += 1
                if stored == uploads:
                    threading.Timer(seconds, die).start()

    around(FolderStore, "put", before=nothing, after=count)


def tell(pipe: int) -> None:
    """Write a byte for each part that is stored, and one for the manifest: they outlive a kill."""

    def stored(key: Any) -> None:
        if fits("data/", key):
            os.write(pipe, b"u")
        if fits("backups/*datapackage.json", key):
            os.write(pipe, b"m")

    around(FolderStore, "put", before=nothing, after=stored)


def victim(order: dict[str, Any], pipe: int) -> None:
    os.environ.update(order["environment"])
    kill = order["kill"]
    tell(pipe)
    if "point" in kill:
        die_at(kill["point"], kill["when"], signal.Signals[kill.get("signal", "SIGKILL")])
    else:
        die_after(kill.get("uploads"), kill["seconds"])
    backup(BackupOptions(), UUID(order["backup_id"]))


def without_events() -> None:
    """As `prefect_api` does: what is killed, and what it leaves in the repository, is the same."""
    EventsWorker.set_client_override(NullEventsClient)


def main() -> None:
    without_events()
    for line in sys.stdin:
        reading, writing = os.pipe()
        child = os.fork()
        if child == 0:
            os.close(reading)
            try:
                victim(json.loads(line), writing)
            finally:
                # Without the ends of a usual exit, which are the parent's.
                os._exit(0)
        os.close(writing)
        told = b""
        while piece := os.read(reading, 4096):
            told += piece
        os.close(reading)
        _, status = os.waitpid(child, 0)
        answer = {"status": status, "uploads": told.count(b"u"), "committed": b"m" in told}
        print(json.dumps(answer), flush=True)


if __name__ == "__main__":
    main()
