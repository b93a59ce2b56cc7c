"""`convault init`."""

from __future__ import annotations

from typing import Annotated

import typer

from cli.output import AsJson, print_json, say
from convault.settings import Settings, load_settings


def init(
    new_repository: Annotated[
        bool,
        typer.Option(
            "--new-repository",
            help="Turn to the store that is set now, whatever the catalog knew before.",
        ),
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Prepare the catalog and the store, or put them right.

    Applies the migrations that are missing, makes the store a repository if it is none, and brings
    the backups that it holds into the catalog. Writes a signing key into .env if there is none.
    May be repeated.

    Example: convault init
    """
    from convault import signing_key
    from convault.installation import initialise

    settings = load_settings()
    settings.catalog_url()
    report = initialise(settings, new_repository=new_repository)
    key = signing_key.ensure(settings)
    schedules = _schedules_again(settings)
    if as_json:
        print_json(
            {
                "repository_id": str(report.repository_id),
                "created": report.created,
                "migrations": list(report.migrations),
                "changes": [
                    {"backup": str(change.backup_id), "change": change.kind}
                    for change in report.changes
                ],
                "schedules": schedules,
                "signing_key": {"key_ids": list(key.keys.ids), "made": key.made},
            }
        )
    else:
        print("\n".join(report.done))
    say(key.said)


def _schedules_again(settings: Settings) -> list[str]:
    """Make the schedules again that a Prefect server lost, when one is named; what was made."""
    from prefect.settings import get_current_settings

    from convault.catalog import open_catalog
    from convault.errors import PrefectUnavailable
    from deployments.schedules import rebuild

    if not get_current_settings().api.url:
        return []
    try:
        made = rebuild(open_catalog(settings.catalog_url()))
    except PrefectUnavailable as error:
        say(f"The schedules were not looked at: {error.message}")
        return []
    if made:
        say(f"These schedules were made again on the Prefect server: {', '.join(made)}.")
    return made
