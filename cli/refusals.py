"""A backup that is refused before it begins: from cron nobody would see it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from uuid import uuid4

from cli.output import say
from convault.errors import ConvaultError, OptionsError
from convault.models import BackupOptions
from convault.settings import Settings


@contextmanager
def refusals_told(settings: Settings, options: BackupOptions) -> Iterator[None]:
    """When an error of Convault's leaves the block, the dead man's switch and the channels hear of
    it; a mistyped option is nobody's alarm."""
    try:
        yield
    except OptionsError:
        raise
    except ConvaultError as error:
        _tell(settings, options, error.code)
        raise


def _tell(settings: Settings, options: BackupOptions, code: str) -> None:
    from convault.noticing import refused
    from convault.notify.ping import Ping
    from convault.notify.reporting import look_beside

    why = Ping.of(settings, uuid4()).send("fail", code)
    if why:
        say(f"CONVAULT_PING_URL was not reached (fail): {why}.")
    if settings.convault_notify_urls is not None:
        look_beside(settings, say, others=[refused(options.to_json(), code)])
