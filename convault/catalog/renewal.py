"""A lease that a thread renews: what the leases over SQL and over the Data API have in common."""

from __future__ import annotations

import logging
import threading
from abc import ABC, abstractmethod
from types import TracebackType
from typing import Self
from uuid import UUID

from convault.errors import CatalogError, LeaseLost

log = logging.getLogger(__name__)


class RenewedLease(ABC):
    """Implements `convault.catalog.base.Lease`. Renewed by a daemon thread every `renew_seconds`
    from `start` on."""

    def __init__(self, backup_id: UUID, *, renew_seconds: float) -> None:
        self.backup_id = backup_id
        self._renew_seconds = renew_seconds
        self._released = threading.Event()
        self._thread = threading.Thread(
            target=self._renew_until_released, name=f"lease of {backup_id}", daemon=True
        )

    @abstractmethod
    def renew(self) -> bool:
        """Whether it is held; if so, it now lasts longer. CatalogUnavailable, CatalogError."""

    @abstractmethod
    def give_back(self) -> None:
        """Let others have it; called once. CatalogError when that cannot be told to the database,
        where it ends by itself."""

    def over(self) -> bool:
        """Whether it can never be renewed again."""
        return False

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.release()

    def start(self) -> None:
        """Begin to renew."""
        self._thread.start()

    def check(self) -> None:
        """LeaseLost unless it is held now and the row is still `processing`."""
        if self._released.is_set():
            raise self._lost("it was given back")
        try:
            renewed = self.renew()
        except CatalogError as error:
            # Whatever the reason: what cannot be proven is not held.
            raise self._lost(f"it could not be proven ({error.code})") from None
        if not renewed:
            raise self._lost("it ran out, or another run or a reconcile took the backup over")

    def release(self) -> None:
        """Give it back; may be called twice, and when the database is gone."""
        if self._released.is_set():
            return
        self._released.set()
        if self._thread.is_alive():
            self._thread.join()
        try:
            self.give_back()
        except CatalogError as error:
            log.info("the lease of backup %s will end by itself: %s", self.backup_id, error)

    def _renew_until_released(self) -> None:
        while not self._released.wait(self._renew_seconds):
            try:
                self.renew()
            except CatalogError as error:
                # It may be gone, or this is slow; `check` decides, before anything is written.
                log.warning("the lease of backup %s was not renewed: %s", self.backup_id, error)
                if self.over():
                    return

    def _lost(self, why: str) -> LeaseLost:
        return LeaseLost(
            f"The lease of backup {self.backup_id} is lost: {why}. Nothing was committed by this "
            "run; start the backup again.",
            backup=self.backup_id,
        )
