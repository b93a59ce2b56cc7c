"""`convault restore`."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator
from typing import TYPE_CHECKING, Annotated, Any

import typer

from cli import progress
from cli.identify import BackupName, backup_named
from cli.identities import Identities, Trust, identities_of
from cli.listing import left_out_as_object
from cli.opening import opened
from cli.output import AsJson, duration, number, print_json, print_table, printable, say
from cli.signatures import say_signature
from cli.target import url_of_target
from convault.errors import RestoredWithFaults
from convault.omissions import in_lines, left_out
from convault.secrets import MARKER
from convault.settings import load_settings

if TYPE_CHECKING:
    from convault.manifest import Manifest
    from convault.restore import RestoreResult

_NAMED = 8
"""statements that are named when many are left out for the same reason"""


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
    tolerate_constraints: Annotated[
        bool,
        typer.Option(
            "--tolerate-constraints",
            help="Keep the rows when an index or a constraint is refused (it becomes NOT VALID or "
            "is left out), or a generated column gets other values. Each is told, and the exit "
            "status is 61.",
        ),
    ] = False,
    identity: Identities = None,
    trust: Trust = False,
    as_json: AsJson = False,
) -> None:
    """Restore a backup into an empty database.

    Types, tables, rows, sequences, keys, indexes, triggers, policies and grants, all in one
    transaction; digests are checked before a row is loaded. Without an option it asks for the URL.
    Not as a superuser: whoever can write to the store can have SQL run as the role that restores.

    Example: convault restore latest --target staging
    """
    from convault import signature
    from convault.restore import restore as restore_backup

    settings = load_settings()
    settings.catalog_url()
    url = url_of_target(settings, target=target, into=into, into_file=into_file)
    installation = opened(settings)
    backup_id = backup_named(installation, backup)
    manifest, data = installation.repository.stored_manifest(backup_id)
    what = f"the manifest of backup {backup_id}"
    superseded = installation.repository.superseded(manifest)
    signed = signature.judged(
        data, installation.signing, what=what, trust=trust, superseded=superseded
    )
    say_signature(signed, data, installation.signing)
    identities = identities_of(settings, identity) if manifest.encryption else ()
    with progress.shown():
        result = restore_backup(
            installation.repository,
            manifest,
            url,
            tolerate=tolerate_constraints,
            identities=identities,
        )
    if as_json:
        print_json({**_as_json(manifest, result), "signature": signed})
    else:
        _tell(manifest, result)
    if not result.complete:
        raise RestoredWithFaults(
            "All rows were restored, but not everything that holds for them: the faults are named "
            "above."
        )


def _as_json(manifest: Manifest, result: RestoreResult) -> dict[str, Any]:
    return {
        "id": str(manifest.backup_id),
        "tables": [
            {"schema": table.schema, "table": table.name, "rows": rows}
            for table, rows in result.rows.items()
        ],
        "rows": sum(result.rows.values()),
        "seconds": round(result.seconds, 3),
        "left_out": [
            {"kind": s.kind, "name": s.name, "needs": list(s.needs)} for s in result.left_out
        ],
        "faults": [
            {
                "kind": fault.statement.kind,
                "name": fault.statement.name,
                "needs": list(fault.statement.needs),
                "reason": fault.reason,
                "not_valid": fault.not_valid,
            }
            for fault in result.faults
        ],
        "redacted": [
            {"kind": s.kind, "name": s.name, "secrets": list(s.redacted)} for s in result.redacted
        ],
        "recomputed": [
            {"schema": table.schema, "table": table.name, "rows": rows}
            for table, rows in result.recomputed.items()
        ],
        **left_out_as_object(manifest),
    }


def _tell(manifest: Manifest, result: RestoreResult) -> None:
    print_table(
        ("table", "rows"),
        [(str(table), number(rows)) for table, rows in result.rows.items()],
        right=["rows"],
    )
    for line in (*in_lines(left_out(manifest)), *_imperfections(result)):
        say(printable(line))
    say(f"Restored {number(sum(result.rows.values()))} rows in {duration(result.seconds)}.")


def _imperfections(result: RestoreResult) -> Iterator[str]:
    alike: dict[tuple[str, str], list[str]] = defaultdict(list)
    for statement in result.left_out:
        alike[", ".join(statement.needs), statement.kind].append(statement.name)
    for (missing, kind), names in alike.items():
        more = f" and {len(names) - _NAMED} more (--json names all)" if len(names) > _NAMED else ""
        yield f"left out, as {missing} is not there: {kind} {', '.join(names[:_NAMED])}{more}"
    for statement in result.redacted:
        yield (
            f"without its secret ({', '.join(statement.redacted)}): {statement.kind} "
            f"{statement.name}: set it where it says {MARKER}"
        )
    for fault in result.faults:
        what = "not valid for the restored rows" if fault.not_valid else "left out, as refused"
        yield f"{what}: {fault.statement.kind} {fault.statement.name}: {fault.reason}"
    for table, rows in result.recomputed.items():
        yield f"other generated values than in the backup: {number(rows)} rows of {table}"
