"""`convault delete`, `undelete`, `pin`, `cleanup`, `sweep`, `audit`, `adopt` in one process."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from uuid import uuid4

import pytest
from pydantic import SecretStr

from convault import errors
from convault.commit import commit
from convault.embedded.server import EmbeddedPostgres
from convault.installation import initialise, open_installation
from convault.settings import Settings
from tests.cli.conftest import InProcess
from tests.handmade import TAKEN, new_backup


@pytest.fixture
def settings(database: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Settings:
    made = Settings(
        database_url=SecretStr(database), convault_store_url=(tmp_path / "store").as_uri()
    )
    initialise(made)
    monkeypatch.setenv("DATABASE_URL", database)
    monkeypatch.setenv("CONVAULT_STORE_URL", (tmp_path / "store").as_uri())
    return made


def backed_up(settings: Settings, day: int) -> str:
    installation = open_installation(settings)
    made = new_backup(installation.repository, backup_id=uuid4())
    made = made.model_copy(update={"created_at": TAKEN.replace(day=day)})
    with installation.catalog.begin(made.backup_id, made.options) as lease:
        commit(installation.repository, installation.catalog, lease, made, metrics={})
    return str(made.backup_id)


def test_a_life_of_a_backup(settings: Settings, run: InProcess) -> None:
    old, middle, new = (backed_up(settings, day) for day in (1, 2, 3))
    assert run("pin", old[:8], "--reason", "an exam").status == 0
    assert run("delete", old).status == errors.RemovalRefused.exit_code
    assert run("delete", new).status == errors.RemovalRefused.exit_code
    done = run("delete", middle[:8])
    assert (done.status, done.out) == (0, f"{middle}\n")
    assert f"convault undelete {middle}" in done.err
    assert {row["id"] for row in run("list", "--json").json} == {old, new}
    assert {row["id"] for row in run("list", "--json", "--deleted").json} == {old, middle, new}
    assert run("show", middle).status == 0
    assert run("undelete", middle[:8], "--json").json["status"] == "completed"
    assert run("unpin", old).status == 0
    tried = run("cleanup", "--keep-last", "1", "--no-limit", "--dry-run", "--json").json
    assert set(tried["removed"]) == {old, middle}
    assert run("list", "--json").json != []
    done = run("cleanup", "--keep-last", "1")
    assert done.status == 0
    assert "no rule keeps it" in done.out
    assert "at most a third" in done.out
    assert "1 moved to the trash" in done.err
    assert "--no-limit" in done.err
    assert {row["id"] for row in run("list", "--json").json} == {middle, new}
    refused = run("delete", new[:8], "--force")
    assert refused.status == errors.OptionsError.exit_code
    purged = run("delete", middle, "--purge", "--json").json["purged"]
    assert purged["backup"] == middle
    assert len(purged["erased"]) == 3, "the manifest and what lies beside it: rows are the others'"
    assert run("undelete", middle).status == errors.NotFoundError.exit_code
    assert run("acknowledge", new).status == 0
    assert run("sweep", "--json").json["removedObjects"] == 0
    told = [(entry["action"], entry["result"]) for entry in run("audit", "--json").json]
    assert {("purge", "done"), ("pin", "done"), ("retain", "done"), ("sweep", "done"),
            ("delete", "removal-refused"), ("acknowledge", "done")} <= set(told)  # fmt: skip
    assert "removal-refused" in run("audit", "--limit", "100").out


@pytest.mark.parametrize("arguments", [[], ["--keep-last", "0"], ["--status", "completed"]])
def test_a_clean_up_without_a_rule_is_refused(
    settings: Settings, run: InProcess, arguments: list[str]
) -> None:
    done = run("cleanup", *arguments)
    assert (done.status, done.out) == (errors.PolicyError.exit_code, "")
    assert "nothing was removed" in done.err


def test_another_installation_reads_and_writes_only_when_it_adopted(
    settings: Settings,
    run: InProcess,
    cluster: EmbeddedPostgres,
    new_database: Callable[[EmbeddedPostgres], str],
) -> None:
    made = backed_up(settings, 1)
    theirs = new_database(cluster)
    told = run("init", CONVAULT_CATALOG_URL=theirs)
    assert "convault adopt" in told.out
    assert [row["id"] for row in run("list", "--json").json] == [made]
    for arguments in (["sweep"], ["delete", made, "--force"], ["cleanup", "--keep-last", "1"]):
        done = run(*arguments)
        assert done.status == errors.NotAdopted.exit_code, arguments
        assert "convault adopt" in done.err
    assert run("adopt", "--json").json["changed"] is True
    assert "convault adopt" not in run("init").out
    assert run("adopt", "--json").json["changed"] is False
    assert run("sweep").status == 0
    assert run("audit", "--json").json[-1]["result"] == "not-adopted"
    assert run("sweep", CONVAULT_CATALOG_URL=settings.source_url()).status == (
        errors.NotAdopted.exit_code
    )
