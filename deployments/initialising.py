"""What must be there before a backup can be made, for `convault init` and `POST /init`.

Each step makes what is missing and says what it did; all of it may be repeated.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from convault.catalog import open_catalog
from convault.errors import PrefectUnavailable
from convault.installation import InitReport, initialise
from convault.settings import Settings
from deployments.provision import provision
from deployments.schedules import Rebuilt, rebuild
from deployments.start import DEPLOYMENT


@dataclass(frozen=True, slots=True)
class Prepared:
    """What was done."""

    report: InitReport
    """about catalog and store"""
    made: list[str]
    """on the Prefect server: pool, queues, deployments, automation"""
    schedules: Rebuilt = field(default_factory=Rebuilt)
    """those that it had lost"""

    @property
    def done(self) -> list[str]:
        """All of it in words, a line each."""
        return [*self.report.done, *in_words(self.made, self.schedules)]


def prepare(settings: Settings, *, new_repository: bool = False) -> Prepared:
    """Catalog, store and Prefect server. PrefectUnavailable, when the first two are done already;
    and the errors of `initialise`."""
    report = initialise(settings, new_repository=new_repository)
    try:
        made, schedules = on_the_server(settings)
    except PrefectUnavailable as error:
        raise PrefectUnavailable(f"{error.message} Done before: {' '.join(report.done)}") from None
    return Prepared(report, made, schedules)


def on_the_server(settings: Settings) -> tuple[list[str], Rebuilt]:
    """Make what the Prefect server lacks, by name, then the schedules that it lost.
    PrefectUnavailable, CatalogUnavailable."""
    made = provision()
    catalog = open_catalog(settings.catalog_url())
    return made, rebuild(catalog, new_deployment=f"deployment {DEPLOYMENT}" in made)


def in_words(made: list[str], schedules: Rebuilt) -> list[str]:
    """What was made on the Prefect server, and what could not be, a line each."""
    lines = [f"Made on the Prefect server: {name}." for name in made]
    lines += [f"Made the schedule {name} again." for name in schedules.made]
    lines += [
        f"The schedule {name} was not made again: {why} PATCH .../scheduler/<id> sets another "
        "`schedule`, DELETE removes it."
        for name, why in schedules.not_made.items()
    ]
    return lines or ["The Prefect server has everything that is needed."]
