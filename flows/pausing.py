"""Wait until backups may begin again (CONVAULT_PAUSE)."""

from __future__ import annotations

import time
from datetime import UTC, datetime

from prefect import get_run_logger

from convault.pause import paused_until
from convault.progress import report
from convault.settings import Settings

_LOOK_SECONDS = 60.0
"""between two looks at the clock, which may have been set"""


def wait_for_end_of_pause(settings: Settings) -> None:
    """Nothing is held meanwhile: no lease, no lock, no connection; a row that waits says `pending`.
    Whoever cancels the run ends the waiting."""
    told: datetime | None = None
    while True:
        until = paused_until(datetime.now(UTC), settings.pause, settings.convault_timezone)
        if until is None:
            return
        if until != told:
            told = until
            local = until.astimezone(settings.convault_timezone).isoformat(timespec="minutes")
            get_run_logger().info("CONVAULT_PAUSE: the backup begins at %s.", local)
            report("pause", f"until {local}")
        left = (until - datetime.now(UTC)).total_seconds()
        time.sleep(min(_LOOK_SECONDS, max(0.05, left)))
