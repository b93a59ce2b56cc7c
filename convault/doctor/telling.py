"""Whether somebody is told, and of what."""

from __future__ import annotations

from collections.abc import Sequence

from convault.catalog import Catalog
from convault.doctor.finding import Finding, amber, not_checked, ok, red, reported
from convault.incidents import Incident
from convault.settings import Settings

TOLD, WRONG = "who is told", "incidents"
_SHOWN = 3


def examine(settings: Settings, catalog: Catalog | None) -> list[Finding]:
    """Nothing is sent; `convault notify --test` does that."""
    from convault.notify.channels import usable_channels

    through, wrong = usable_channels(settings)
    labels = [channel.label for channel in through]
    findings = [told(labels, wrong, pinged=settings.convault_ping_url is not None)]
    if catalog is None:
        return [*findings, not_checked(WRONG, "the catalog cannot be asked")]
    with reported(WRONG, findings):
        findings.append(incidents(catalog.incidents()))
    return findings


def told(labels: Sequence[str], wrong: Sequence[str], *, pinged: bool) -> Finding:
    """Of the channels that can be used, and what is to be said of the others."""
    if wrong:
        found, _, remedy = wrong[0].partition(". ")
        return red(TOLD, found, remedy)
    if not labels:
        return amber(
            TOLD,
            "only a dead man's switch (CONVAULT_PING_URL) outside" if pinged else "nobody",
            "Set CONVAULT_NOTIFY_URLS, and try it with `convault notify --test`: a backup that "
            "fails for weeks is found out on the day it is needed.",
        )
    beside = "" if pinged else "; of this machine's end nobody would be (CONVAULT_PING_URL)"
    return ok(TOLD, f"{', '.join(labels)}{beside}")


def incidents(known: Sequence[Incident]) -> Finding:
    """Of those that last, and of what nobody could be told."""
    going = [incident for incident in known if incident.is_open]
    unreached = next((i.problem for i in known if i.problem), "")
    if unreached:
        return amber(
            WRONG, f"a channel was not reached ({unreached})",
            "Try it with `convault notify --test`.",
        )  # fmt: skip
    if not going:
        return ok(WRONG, "none that lasts")
    titles = "; ".join(incident.title for incident in going[:_SHOWN])
    more = f" and {len(going) - _SHOWN} more" if len(going) > _SHOWN else ""
    return amber(WRONG, f"{titles}{more}", "`convault notify` tells what to do about each.")
