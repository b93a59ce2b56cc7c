"""`convault restore`."""

from __future__ import annotations

from typing import Annotated

import typer

from cli import progress
from cli.identify import BackupName, backup_named
from cli.opening import opened
from cli.output import AsJson, duration, number, print_json, print_table, say
from cli.target import url_of_target
from convault.settings import load_settings


def restore(
    backup: BackupName,
    target: Annotated[
        str | None,
        typer.Option(metavar="NAME", help="The database in CONVAULT_TARGET_<NAME>_URL."),
    ] = None,
    into_file: Annotated[
        str | None,
        typer.Option(metavar="FILE", help="A file that holds its URL; `-` is stdin."),
    ] = None,
    into: Annotated[
        str | None, typer.Option(metavar="URL", help="Its URL, if it carries no password.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Restore a backup into an empty database.

    Types, tables, rows, sequences, keys and indexes, all in one transaction; digests are checked
    before a row is loaded. Without an option it asks for the URL.

    Example: convault restore latest --target staging
    """
    from convault.restore import restore as restore_backup

    settings = load_settings()
    settings.catalog_url()
    url = url_of_target(settings, target=target, into=into, into_file=into_file)
    installation = opened(settings)
    manifest = installation.repository.manifest(backup_named(installation, backup))
    with progress.shown():
        result = restore_backup(installation.repository, manifest, url)
    if as_json:
        print_json(
            {
                "id": str(manifest.backup_id),
                "tables": [
                    {"schema": table.schema, "table": table.name, "rows": rows}
                    for table, rows in result.rows.items()
                ],
                "rows": sum(result.rows.values()),
                "seconds": round(result.seconds, 3),
                "left_out": [
                    {"kind": s.kind, "name": s.name, "needs": s.needs} for s in result.left_out
                ],
            }
        )
        return
    print_table(
        ("table", "rows"),
        [(str(table), number(rows)) for table, rows in result.rows.items()],
        right=["rows"],
    )
    for statement in result.left_out:
        say(f"left out, as {statement.needs} is not there: {statement.kind} {statement.name}")
    say(f"Restored {number(sum(result.rows.values()))} rows in {duration(result.seconds)}.")
