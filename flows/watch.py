"""The watch: whether something is wrong with the backups that no run is there to tell."""

from typing import Any

from prefect import flow

from convault.notify.channels import usable_channels
from convault.notify.reporting import untold
from convault.notify.watching import watch as look
from convault.settings import load_settings
from flows.slots import newest_slot_only
from flows.telling import warn
from tasks.boundary import contained


@flow(name="watch", retries=0, persist_result=False, log_prints=False)
@newest_slot_only
@contained
def watch() -> list[dict[str, Any]]:
    """Look for backups that crashed or are overdue, too old a last good one, and the rest; tell who
    was not told yet (CONVAULT_NOTIFY_URLS), and what is over. The incidents that last.

    A channel that fails is logged, and tried again by the next look. ConvaultErrors only."""
    settings = load_settings()
    through, wrong = usable_channels(settings)
    found = look(settings, through)
    for line in (*wrong, *untold(found)):
        warn(line)
    return [incident.model_dump(mode="json") for incident in found.open]
