"""Leases over the Data API: a row with holder, fencing number, and an end by the database's clock.

No session lasts there, so nothing notices a dead holder but the clock: its lease is free once it
ran out, and whoever takes it over has a higher number, with which the late holder is refused.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from threading import Event, Thread
from types import TracebackType
from typing import Any
from uuid import UUID, uuid4

from convault.catalog.renewal import RenewedLease, log
from convault.catalog.supabase.api import DataApi
from convault.errors import BusyError, CatalogError, LeaseLost


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


class SupabaseGuard:
    """Implements `convault.catalog.base.Guard` as the lease `name`, which was given to `holder`
    under a fencing number and is renewed in the background."""

    def __init__(
        self,
        api: DataApi,
        name: str,
        *,
        holder: str,
        number: int,
        seconds: float,
        renew_seconds: float,
    ) -> None:
        self._api = api
        self._seconds = seconds
        self._proof = {"name": name, "holder": holder, "number": number}
        self._renewal = _Renewal(api, self._proof, seconds, renew_seconds)

    def __enter__(self) -> SupabaseGuard:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._renewal.end()
        try:
            self._api.function("convault_give_back", self._proof)
        except CatalogError as failed:
            log.info("the lease of %s will end by itself: %s", self._proof["name"], failed)

    def check(self) -> None:
        """LeaseLost unless it is held now; it lasts longer then."""
        try:
            held = self._api.function("convault_renew", {**self._proof, "seconds": self._seconds})
            why = "it ran out"
        except CatalogError as error:
            held, why = False, f"it could not be proven ({error.code})"
        if not held:
            raise LeaseLost(f"The lock of {self._proof['name']} is lost: {why}. Start again.")


def share(
    api: DataApi, repository_id: UUID, *, seconds: float, renew_seconds: float
) -> SupabaseGuard:
    """A lease with which objects are written. BusyError while somebody removes some."""
    holder = str(uuid4())
    asked = {"repository": str(repository_id), "holder": holder, "seconds": seconds}
    number = api.function("convault_share_objects", asked)
    if number is None:
        raise BusyError(
            "Objects of the repository are being removed, and nothing may be written "
            "meanwhile: try again in a few minutes."
        )
    return SupabaseGuard(
        api, f"objects of {repository_id} by {holder}",
        holder=holder, number=number, seconds=seconds, renew_seconds=renew_seconds,
    )  # fmt: skip


def take_named(
    api: DataApi, name: str, patience: float, busy: BusyError, *,
    seconds: float, renew_seconds: float,
) -> SupabaseGuard:  # fmt: skip
    """The lease `name`. `busy` when somebody has it for longer than `patience` seconds."""
    holder = str(uuid4())
    asked = {"name": name, "holder": holder, "seconds": seconds}
    deadline = time.monotonic() + patience
    while (number := api.function("convault_take", asked)) is None:
        if time.monotonic() > deadline:
            raise busy
        time.sleep(0.5)
    return SupabaseGuard(
        api, name, holder=holder, number=number, seconds=seconds, renew_seconds=renew_seconds
    )


class _Renewal:
    """Renews a named lease in the background until it is ended."""

    def __init__(
        self, api: DataApi, proof: Mapping[str, Any], seconds: float, every: float
    ) -> None:
        self._api = api
        self._asked = {**proof, "seconds": seconds}
        self._every = every
        self._over = Event()
        self._thread = Thread(target=self._renew, name=f"lease of {proof['name']}", daemon=True)
        self._thread.start()

    def end(self) -> None:
        """No renewal comes after this."""
        self._over.set()
        self._thread.join()

    def _renew(self) -> None:
        while not self._over.wait(self._every):
            try:
                self._api.function("convault_renew", self._asked)
            except CatalogError as error:
                log.warning("the lease of %s was not renewed: %s", self._asked["name"], error)
