"""Leases over the Data API: a row with holder, fencing number, and an end by the database's clock.

No session lasts there, so nothing notices a dead holder but the clock: its lease is free once it
ran out, and whoever takes it over has a higher number, with which the late holder is refused.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from threading import Event, Thread
from uuid import UUID, uuid4

from convault.catalog.renewal import RenewedLease, log
from convault.catalog.supabase.api import DataApi
from convault.errors import BusyError, CatalogError, LeaseLost

_INIT_SECONDS = 60.0
_INIT_RENEW_SECONDS = 15.0


class SupabaseLease(RenewedLease):
    """The lease that `convault_begin` gave to `holder` under a fencing number."""

    def __init__(
        self,
        api: DataApi,
        backup_id: UUID,
        *,
        holder: UUID,
        number: int,
        seconds: float,
        renew_seconds: float,
    ) -> None:
        super().__init__(backup_id, renew_seconds=renew_seconds)
        self._api = api
        self._seconds = seconds
        self.number = number
        """the fencing number: higher with everyone who takes the backup's lease"""
        self._proof = {"backup": str(backup_id), "holder": str(holder), "number": number}

    def renew(self) -> bool:
        """Whether holder and number still are the row's, and its end has not passed; if so, it
        lasts longer now."""
        return bool(
            self._api.function("convault_renew_backup", {**self._proof, "seconds": self._seconds})
        )

    def give_back(self) -> None:
        """Let the next one have it at once; nothing where another has it by now."""
        self._api.function("convault_end_backup", self._proof)


@contextmanager
def one_at_a_time(api: DataApi, name: str, *, seconds: float = 120.0) -> Iterator[None]:
    """Hold the lease `name` for the block, renewed while it lasts. BusyError after waiting for
    `seconds`; LeaseLost at the end of the block when it was not held all the time."""
    holder = str(uuid4())
    asked = {"name": name, "holder": holder, "seconds": _INIT_SECONDS}
    deadline = time.monotonic() + seconds
    while True:
        taken = api.function("convault_take", asked)
        if taken is not None:
            break
        if time.monotonic() > deadline:
            raise BusyError(f"Another {name} has been running for {seconds:g} s: try later.")
        time.sleep(0.5)
    proof = {"name": name, "holder": holder, "number": taken}
    over = Event()

    def renew() -> None:
        while not over.wait(_INIT_RENEW_SECONDS):
            try:
                api.function("convault_renew", {**proof, "seconds": _INIT_SECONDS})
            except CatalogError as error:
                log.warning("the lease of %s was not renewed: %s", name, error)

    thread = Thread(target=renew, name=f"lease of {name}", daemon=True)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()
        held = api.function("convault_give_back", proof)
    if not held:
        raise LeaseLost(f"Another {name} began before this one was over: run it again.")
