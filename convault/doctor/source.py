"""The database that is backed up: its address, sessions, server, clock, and what the role sees."""

from __future__ import annotations

from convault.doctor import address, clocks, pooling
from convault.doctor import server as database
from convault.doctor.finding import Finding, State, amber, not_checked, ok, reported
from convault.doctor.server import Server
from convault.installation import source_of
from convault.models import BackupOptions
from convault.settings import Settings

_LATER = ("source session", "server version", "tables")
"""what nobody can look at when the source cannot be reached"""

_BY_REST = amber(
    "source",
    "rows are read by REST, page by page: there is no snapshot, and little of the schema is known",
    "Set DATABASE_URL where it can be had: by SQL all rows are of one moment.",
)


def examine(settings: Settings) -> tuple[list[Finding], Server | None]:
    """Look at DATABASE_URL, or at what rows come from without it; and what the server told, where
    it could be asked."""
    if settings.by_rest:
        findings = [_BY_REST]
        _tables(settings, findings)
        return findings, None
    if settings.database_url is None:
        findings = [not_checked("source address", "DATABASE_URL is not set")]
        _tables(settings, findings)
        return findings, None
    findings, server = [], None
    with reported("source address", findings):
        url = settings.source_url()
        findings += address.examine("source address", url)
        if findings[0].state is not State.RED:
            server = _connected(url, findings)
    if server is not None:
        _tables(settings, findings)
    else:
        seen = {finding.name for finding in findings}
        findings += [
            not_checked(name, "the source cannot be reached") for name in _LATER if name not in seen
        ]
    return findings, server


def _connected(url: str, findings: list[Finding]) -> Server | None:
    with reported("source", findings):
        findings.append(pooling.judge("source session", pooling.watch(url)))
        server = database.ask(url)
        findings += database.examine(server)
        findings.append(clocks.judge("clock of the database", "the database", server.clock))
        return server
    return None


def _tables(settings: Settings, findings: list[Finding]) -> None:
    """What a backup of everything would refuse: rights, row security, a table that is gone."""
    with reported("tables", findings):
        source_of(settings, BackupOptions()).check()
        findings.append(ok("tables", "all rows of the dataset may be read"))
