"""Whether a session lasts: found by what the server does, whatever port it listens on."""

from __future__ import annotations

import secrets
from contextlib import ExitStack, closing
from dataclasses import dataclass

from convault.doctor.finding import Finding, ok, red
from convault.sources.failures import translated
from convault.sources.session import connect


@dataclass(frozen=True, slots=True)
class Sessions:
    """What two connections at the same time saw."""

    shared: bool
    """both were served by one server process, which no two sessions are"""
    moved: bool
    """one of them was served by another process later"""
    forgot: bool
    """a setting of one of them was gone at its next statement"""


def watch(url: str) -> Sessions:
    """Open two connections; nothing is written. In transaction mode the second one, while it holds
    a transaction, gets the server process that the first one just gave back. The errors of
    `connect`."""
    token = secrets.token_hex(8)
    with ExitStack() as stack:
        first, second = (stack.enter_context(closing(connect(url))) for _ in range(2))
        with translated():
            pids = [_pid(first.execute(_PID).fetchone())]
            first.execute("SELECT pg_catalog.set_config('convault.doctor', %s, false)", (token,))
            with second.transaction():
                other = _pid(second.execute(_PID).fetchone())
                pids += [_pid(first.execute(_PID).fetchone()) for _ in range(2)]
                kept = first.execute(
                    "SELECT pg_catalog.current_setting('convault.doctor', true)"
                ).fetchone()
    return Sessions(other in pids, len(set(pids)) > 1, kept != (token,))


_PID = "SELECT pg_catalog.pg_backend_pid()"


def _pid(row: tuple[int] | None) -> int:
    assert row is not None
    return row[0]


def judge(name: str, seen: Sessions) -> Finding:
    """A snapshot and a lock last as long as their session."""
    if seen.shared or seen.moved or seen.forgot:
        return red(
            name,
            "statements of one connection are run by different server processes: this is a pooler "
            "in transaction mode, where snapshots, locks and settings do not last",
            "Use its session mode or the direct connection (on Supabase port 5432 instead of 6543: "
            "in the dashboard, Connect > Session pooler).",
        )
    return ok(name, "one that lasts")
