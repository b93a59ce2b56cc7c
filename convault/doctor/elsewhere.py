"""Whether the backups outlive the project that they are of.

Who deletes a Supabase project deletes its database, its Storage and its platform backups together.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from urllib.parse import parse_qsl

from convault.doctor.address import machine, parse, project_of
from convault.doctor.finding import Finding, amber, ok
from convault.urls import split_url

NAME = "another place"


@dataclass(frozen=True, slots=True)
class Home:
    """A project, as far as addresses tell: its reference, or the host of a server of one's own."""

    project: str | None
    host: str

    def is_of(self, other: Home) -> bool:
        """Whether both are one project: by reference, or where there are none, by host."""
        if self.project or other.project:
            return self.project == other.project
        return self.host == other.host


@dataclass(frozen=True, slots=True)
class Copy:
    """A place that CONVAULT_STORE_<NAME>_URL names."""

    name: str
    apart: bool
    """not in the source's project"""
    complete: bool
    """it holds the newest backup"""


def home_of_database(url: str) -> Home:
    """Of a database URL. ConfigurationError."""
    address = parse(url)
    return Home(address.project, machine(address.host))


def home_of_project(supabase_url: str | None) -> Home:
    """Of SUPABASE_URL."""
    host = split_url(supabase_url or "").hostname or "?"
    return Home(project_of(host), machine(host))


def home_of_store(url: str, supabase_url: str | None, endpoint: str | None) -> Home | None:
    """Of a store in Supabase, through its own protocol or S3; None for one that is in no project.
    `endpoint`: what the environment names for S3."""
    parts = split_url(url)
    if parts.scheme == "supabase":
        return home_of_project(supabase_url)
    if parts.scheme == "s3":
        given = dict(parse_qsl(parts.query)).get("endpoint") or endpoint or ""
        host = split_url(given).hostname or "?"
        if project_of(host) or split_url(given).path.rstrip("/").endswith("/storage/v1/s3"):
            return Home(project_of(host), machine(host))
    return None


def judge(sources: Iterable[Home], store: Home | None, copies: Iterable[Copy]) -> Finding:
    """`sources`: the projects that are backed up."""
    if store is None:
        return ok(NAME, "the store is in no Supabase project")
    if not any(source.is_of(store) for source in sources):
        return ok(NAME, "the store is in another project than the source")
    start = "the store is in the project that is backed up"
    known = list(copies)
    good = [copy.name for copy in known if copy.apart and copy.complete]
    if good:
        return ok(NAME, f"{start}, and {', '.join(good)} elsewhere holds the newest backup")
    behind = [copy.name for copy in known if copy.apart]
    if behind:
        return amber(
            NAME,
            f"{start}, and the copy in {', '.join(behind)} does not hold the newest backup",
            "Bring the copy up to date: who deletes the project deletes database and backups "
            "together.",
        )
    return amber(
        NAME,
        f"{start}, and there is no copy elsewhere: who deletes the project deletes both",
        "Put the store into another project, or keep a copy elsewhere and name it in "
        "CONVAULT_STORE_<NAME>_URL (such as CONVAULT_STORE_COPY_URL=file:///mnt/disk/convault).",
    )
