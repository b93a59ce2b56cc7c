"""Telling somebody beside the work that it is about, which must not fail for it."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

from convault.catalog import open_catalog
from convault.errors import (
    CatalogError,
    ConfigurationError,
    ConvaultError,
    NotFoundError,
    sentence_of,
)
from convault.incidents import Incident, Kind, Notice
from convault.notify.channels import Channel, usable_channels
from convault.notify.message import name_of
from convault.notify.telling import Watched, watch
from convault.notify.unreachable import tell_reachable, tell_unreachable
from convault.settings import Settings

_TITLES = {Kind.VERIFY: "A verification failed", Kind.DRILL: "A drill failed"}
_NEXT = {
    Kind.VERIFY: "`convault verify` names what is damaged or missing, and what can be put back.",
    Kind.DRILL: "`convault show` of the backup has the report. Do not rely on it until it passes.",
}


class Outcome:
    """How a verification or a drill ended, in what tells later that it is over."""

    def __init__(self) -> None:
        self.facts: dict[str, object] = {}
        """of the failure"""
        self.ends: Callable[[Incident], bool] = lambda _: True
        """whether a success ends that incident"""


def look(
    settings: Settings, through: Sequence[Channel], *, others: Sequence[Notice] = (),
    looked_at: Sequence[Kind] = (), ended: Callable[[Incident], bool] | None = None,
) -> Watched:  # fmt: skip
    """Look what is wrong, and tell; that the catalog cannot be asked is told, too, and then raised:
    CatalogError. Channels that fail are in the result."""
    name = name_of(settings)
    try:
        catalog = open_catalog(settings.catalog_url())
        found = watch(
            catalog, settings, through, name, others=others, looked_at=looked_at, ended=ended
        )
    except CatalogError as error:
        with _writable():
            tell_unreachable(settings, error, through, name)
        raise
    with _writable():
        failures = {**tell_reachable(settings, through, name), **found.failures}
    return Watched(found.begun, found.over, found.incidents, failures)


@contextmanager
def _writable() -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise ConfigurationError(
            f"Whether somebody was told that the catalog cannot be asked is kept in CONVAULT_HOME, "
            f"which cannot be used ({type(error).__name__}). Set it to a folder of this user's."
        ) from None


def look_beside(
    settings: Settings, warn: Callable[[str], None], *, others: Sequence[Notice] = (),
    looked_at: Sequence[Kind] = (), ended: Callable[[Incident], bool] | None = None,
) -> None:  # fmt: skip
    """The same; raises nothing, and warns of what did not work."""
    try:
        through, wrong = usable_channels(settings)
        for line in wrong:
            warn(line)
        found = look(settings, through, others=others, looked_at=looked_at, ended=ended)
    except Exception as error:  # noqa: BLE001  whatever it is, the work that it is about goes on
        why = error.code if isinstance(error, ConvaultError) else type(error).__name__
        warn(f"Nobody could be told how the backups are ({why}); `convault notify` tries again.")
        return
    for line in untold(found):
        warn(line)


def untold(found: Watched) -> list[str]:
    """Of each channel that failed, a line."""
    return [
        f"Channel {label} of CONVAULT_NOTIFY_URLS was not reached: {why}. It is tried again by the "
        "next look (`convault notify`)."
        for label, why in found.failures.items()
    ]


@contextmanager
def reported(kind: Kind, settings: Settings, warn: Callable[[str], None]) -> Iterator[Outcome]:
    """A verification or a drill: when an error leaves the block, somebody is told,
    and so somebody is when it goes well again. What was asked for wrongly is nobody's alarm."""
    outcome = Outcome()
    try:
        yield outcome
    except (ConfigurationError, NotFoundError):
        raise
    except Exception as error:
        code = error.code if isinstance(error, ConvaultError) else ConvaultError.code
        notice = Notice(
            kind, "", f"{_TITLES[kind]}: {code}",
            " ".join(filter(None, (sentence_of(code), _NEXT[kind]))), outcome.facts,
        )  # fmt: skip
        look_beside(settings, warn, others=[notice], looked_at=[kind])
        raise
    look_beside(settings, warn, looked_at=[kind], ended=outcome.ends)
