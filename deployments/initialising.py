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
from deployments.schedules import rebuild


@dataclass(frozen=True, slots=True)
class Prepared:
    """What was done."""

    report: InitReport
    """about catalog and store"""
    made: list[str]
    """on the Prefect server: pool, queues, deployments, automation"""
    schedules: list[str] = field(default_factory=list)
    """names of those that were made again"""

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


def on_the_server(settings: Settings) -> tuple[list[str], list[str]]:
    """Make what the Prefect server lacks, then the schedules that it lost; both by name.
    PrefectUnavailable, CatalogUnavailable."""
    made = provision()
    return made, rebuild(open_catalog(settings.catalog_url()))


def in_words(made: list[str], schedules: list[str]) -> list[str]:
    """What was made on the Prefect server, a line each."""
    lines = [f"Made on the Prefect server: {name}." for name in made]
    lines += [f"Made the schedule {name} again." for name in schedules]
    return lines or ["The Prefect server has everything that is needed."]
