"""`convault doctor`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from cli.output import AsJson, print_json, print_table, say

if TYPE_CHECKING:
    from convault.doctor.finding import Finding


def doctor(
    probe: Annotated[
        bool,
        typer.Option("--probe", help="Also write a small object to the store, and delete it."),
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Check what usually goes wrong, and say what to do about it.

    Database, catalog, Supabase project, store, keys and Prefect, as the settings name them. Nothing
    is written without --probe, and no secret is shown. Ends with 0 unless a check is red; amber
    works, but somebody should know.

    Example: convault doctor --probe
    """
    from convault.doctor.examination import examine
    from convault.doctor.finding import require_healthy
    from deployments.server import named

    findings = examine(named(), probe=probe)
    if as_json:
        print_json([finding.to_json() for finding in findings])
    else:
        _tell(findings)
    require_healthy(findings)


def _tell(findings: list[Finding]) -> None:
    print_table(
        ("check", "state", "found"),
        [(finding.name, finding.state.value, finding.found) for finding in findings],
    )
    remedies = [finding for finding in findings if finding.remedy]
    if remedies:
        say()
    for finding in remedies:
        say(f"{finding.name} ({finding.state.value}): {finding.remedy}")
