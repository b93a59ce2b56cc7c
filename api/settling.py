"""While the API lives, it looks every few seconds for backups whose run was lost, and its modules
are no garbage."""

from __future__ import annotations

import gc
import logging
import threading
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

from fastapi import FastAPI

from api.patience import impatient
from convault.errors import ConvaultError
from convault.installation import open_installation
from convault.settings import Settings
from deployments.lost import settle, settle_killed

EVERY = 15.0
"""seconds"""
_log = logging.getLogger("convault.api")


@asynccontextmanager
async def settling(app: FastAPI) -> AsyncIterator[None]:
    """The application's lifespan: the looks are in a thread of their own, and end with it."""
    over = threading.Event()
    settings: Settings = app.state.settings
    thread = threading.Thread(
        target=repeat, args=(lambda: look(app, settings), over), name="settling", daemon=True
    )
    thread.start()
    # Python would go through half a million objects of modules twice a second to find that they are
    # still needed, and nobody is answered meanwhile: 110 ms each time.
    gc.collect()
    gc.freeze()
    try:
        yield
    finally:
        gc.unfreeze()
        over.set()


def repeat(do: Callable[[], None], over: threading.Event, every: float = EVERY) -> None:
    """Do it every so many seconds until it is `over`. What fails is tried again next time; the same
    error is logged once."""
    told = ""
    while not over.wait(every):
        try:
            do()
            told = ""
        except ConvaultError as error:
            if error.code != told:
                told = error.code
                _log.warning("Backups whose run was lost were not looked for: %s", error.message)


def look(app: FastAPI, settings: Settings) -> None:
    """Once. ConvaultError."""
    if app.state.catalog.abandoned():  # the store is opened only then
        for backup_id in settle_killed(open_installation(settings)):
            _log.warning("Backup %s was put right: its run had been killed.", backup_id)
    with impatient():
        for backup_id in settle(app.state.catalog):
            _log.warning("Backup %s failed: it has no run to wait for.", backup_id)
