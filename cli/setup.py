"""`convault init`, and the SQL that it applies."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from cli.output import AsJson, print_json, say
from convault.settings import Settings, load_settings

if TYPE_CHECKING:
    from deployments.schedules import Rebuilt


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
    Where PREFECT_API_URL is set, makes on that server what it lacks: work pool, deployments,
    automation, schedules. May be repeated.

    Example: convault init
    """
    from convault.installation import initialise
    from convault.signing import signing_key

    settings = load_settings()
    settings.catalog_url()
    report = initialise(settings, new_repository=new_repository)
    key = signing_key.ensure(settings)
    made, schedules = _on_the_server(settings)
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
                "made": made,
                "schedules": schedules.made,
                "not_made": schedules.not_made,
                "signing_key": {"key_ids": list(key.keys.ids), "made": key.made},
            }
        )
    else:
        print("\n".join(report.done))
    say(key.said)


def _on_the_server(settings: Settings) -> tuple[list[str], Rebuilt]:
    """Make what the Prefect server lacks, where one is named: what was made, and schedules."""
    from prefect.settings import get_current_settings

    from convault.errors import PrefectUnavailable
    from deployments.initialising import in_words, on_the_server
    from deployments.schedules import Rebuilt

    if not get_current_settings().api.url:
        return [], Rebuilt()
    try:
        made, schedules = on_the_server(settings)
    except PrefectUnavailable as error:
        say(f"The Prefect server was not looked at: {error.message}")
        return [], Rebuilt()
    for line in in_words(made, schedules):
        say(line)
    return made, schedules


def migrations(as_json: AsJson = False) -> None:
    """Print the SQL that makes the catalog's tables, for where `convault init` cannot apply it.

    That is over the Data API of a Supabase project, without DATABASE_URL: run it in the SQL editor
    of the dashboard, or save it as a migration and `supabase db push`. May be run again.

    Example: convault migrations
    """
    from convault.catalog import migrations as files

    if as_json:
        print_json(
            {
                "migrations": [{"name": m.name, "sha256": m.sha256} for m in files.migrations()],
                "sql": files.script(),
            }
        )
    else:
        print(files.script(), end="")
