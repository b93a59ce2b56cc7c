"""A backup of everything that a restore has to take care of, and places to drill it in."""

from __future__ import annotations

import secrets
import shutil
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import psycopg
import pytest

from convault.drill.assertions import Assertion
from convault.drill.drilling import Plan, examine
from convault.drill.rehearsal import rehearse
from convault.drill.report import Check
from convault.drill.scratch import Scratch
from convault.embedded.server import EmbeddedPostgres
from convault.manifest import Manifest
from convault.repository import Repository
from convault.stores import open_store
from tests.flows.application import database
from tests.patience import PATIENCE
from tests.restore.builder import back_up
from tests.restore.tables import fill

Drilled = Callable[..., dict[tuple[str, str], Check]]


@dataclass(frozen=True)
class Backup:
    repository: Repository
    manifest: Manifest
    source: str


@pytest.fixture(scope="module")
def backup(cluster: EmbeddedPostgres) -> Iterator[Backup]:
    """Read it, or copy it."""
    with database(cluster) as url:
        fill(url)
        repository = Repository.create(open_store(f"memory://{secrets.token_hex(8)}"))
        yield Backup(repository, back_up(repository, url, part_bytes=1 << 20, range_pages=999), url)


@pytest.fixture
def folder() -> Iterator[Path]:
    """Not pytest's tmp_path: Postgres runs as `nobody` when the tests run as root."""
    base = Path(tempfile.mkdtemp(prefix="cv-"))
    base.chmod(0o711)
    yield base / "drill"
    shutil.rmtree(base)


@pytest.fixture(scope="module")
def role(cluster: EmbeddedPostgres) -> Iterator[str]:
    """A plain role that may own scratch databases."""
    name = f"driller_{secrets.token_hex(4)}"
    with psycopg.connect(cluster.url(), autocommit=True) as connection:
        connection.execute(f"CREATE ROLE {name} LOGIN BYPASSRLS".encode())
        yield name
        connection.execute(f"DROP ROLE {name}".encode())


@pytest.fixture
def scratch_url(cluster: EmbeddedPostgres, role: str) -> Iterator[str]:
    """A database that it owns."""
    with database(cluster) as url:
        name = url.partition("@/")[2].partition("?")[0]
        with psycopg.connect(cluster.url(), autocommit=True) as connection:
            connection.execute(f"ALTER DATABASE {name} OWNER TO {role}".encode())
        yield cluster.url(name, user=role)


@pytest.fixture
def drilled(backup: Backup, scratch_url: str, folder: Path) -> Drilled:
    """Restore, let `meddle` change what is there, and check it; the checks by name and subject."""

    def drill(
        manifest: Manifest | None = None, *, meddle: str = "", assertions: tuple[str, ...] = (),
        timeout: float = PATIENCE, of: Backup | None = None,
    ) -> dict[tuple[str, str], Check]:  # fmt: skip
        of = of or backup
        queries = tuple(Assertion("", query) for query in assertions)
        store = of.repository.store
        planned = Plan(manifest or of.manifest, scratch_url, folder, queries, timeout, store)
        scratch = Scratch(scratch_url, "here")
        rehearsal = rehearse(of.repository, planned.manifest, scratch)
        if meddle:
            with psycopg.connect(scratch_url) as connection:
                connection.execute(meddle.encode())
        checks = examine(planned, rehearsal, scratch)
        found = {(check.what, check.subject): check for check in checks}
        assert len(found) == len(checks)
        return found

    return drill


def changed(backup: Backup, table: str, **values: object) -> Manifest:
    """The manifest, saying something else of one table."""
    return backup.manifest.model_copy(
        update={
            "tables": tuple(
                entry.model_copy(update=values) if entry.name.name == table else entry
                for entry in backup.manifest.tables
            )
        }
    )


def of_other_statements(backup: Backup, change: Callable[[str], str | None]) -> Backup:
    """The backup with other SQL: `change` gives each statement's, or None to leave it out."""
    statements = [
        replace(statement, sql=new)
        for statement in backup.manifest.statements
        if (new := change(statement.sql)) is not None
    ]
    return replace(
        backup, manifest=backup.manifest.model_copy(update={"statements": tuple(statements)})
    )
