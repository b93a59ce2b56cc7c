"""`convault setup`: what it asks, refuses and writes; it ends in a backup that was tried."""

from __future__ import annotations

import shutil
import stat
from pathlib import Path

import psycopg
import pytest

from cli import setup_answers
from cli.backups import alone
from cli.setup_answers import Answers, Asked, answers_of, require_plain, rules, written
from convault import settings
from convault.catalog import open_catalog
from convault.errors import BusyError, ConfigurationError, OptionsError, PolicyError
from convault.installation import open_installation
from tests.cli.conftest import InProcess
from tests.drill.conftest import folder as folder  # a home that Postgres can reach
from tests.flows.application import ROWS, SCHEMA
from tests.prefect_server import PrefectServer

pytestmark = [pytest.mark.prefect_server, pytest.mark.xdist_group("commands")]
NOTHING = Asked(store=None, timezone=None, schedule=None, keep=None)
STORE = "file:///var/backups/convault"


def test_from_nothing_to_a_backup_that_was_tried(
    run: InProcess, database: str, prefect_api: PrefectServer, tmp_path: Path, folder: Path
) -> None:
    with psycopg.connect(database) as connection, psycopg.ClientCursor(connection) as cursor:
        cursor.execute(SCHEMA)
        cursor.execute(ROWS, {"conversations": 3, "messages": 30})
    words = ("setup", "--store", (tmp_path / "store").as_uri(), "--timezone", "America/Sao_Paulo",
             "--schedule", "weekly", "--keep", "daily=3", "--yes")  # fmt: skip
    homes = {"CONVAULT_HOME": str(folder), "DATABASE_URL": database}
    done = run(*words, "--json", **homes)
    assert done.status == 0, done.err
    assert done.json["drilled"] is True
    assert done.json["schedule"] == "weekly"
    assert "catalog is ok: its tables are" in done.err, "the doctor was there"
    assert stat.S_IMODE(settings.ENV_FILE.stat().st_mode) == 0o600
    lines = settings.ENV_FILE.read_text().splitlines()
    assert f"DATABASE_URL={database}" in lines
    assert "CONVAULT_TIMEZONE=America/Sao_Paulo" in lines
    assert "CONVAULT_KEEP_DAILY=3" in lines
    assert any(line.startswith("CONVAULT_SIGNING_KEY=") for line in lines)
    catalog = open_catalog(database)
    [row] = catalog.list()
    assert str(row.id) == done.json["backup"]
    assert row.verified_at is not None
    [schedule] = catalog.schedules()
    assert (schedule.name, schedule.schedule) == ("regular", "weekly")
    # Once more: nothing new is made, and nothing is written over.
    again = run(*words, "--json", **homes)
    assert again.status == 0, again.err
    assert again.json == {**done.json, "written": []}
    other = run(*words[:-3], "--timezone", "UTC", "--yes", **homes)
    assert other.status == ConfigurationError.exit_code
    assert "CONVAULT_TIMEZONE" in other.err
    assert settings.ENV_FILE.read_text().splitlines() == lines
    # As if there were no backup yet, while cron's first one is being made.
    shutil.rmtree(tmp_path / "store" / "backups")
    with psycopg.connect(database) as connection:
        connection.execute("DELETE FROM public.backups")
    guard = alone(open_installation(settings.load_settings()))
    assert guard is not None
    with guard:
        busy = run(*words, "--json", **homes)
    assert busy.status == BusyError.exit_code, busy.err
    assert "try again when it is over" in busy.err
    assert catalog.list() == []


def test_what_cannot_be_is_refused_before_anything_is_written(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("DATABASE_URL", "postgresql://db/app")
    for wrong in (
        {"store": "/var/backups"},
        {"store": STORE, "timezone": "Mars/Olympus"},
        {"store": STORE, "schedule": "often"},
        {"store": STORE, "keep": "daily"},
        {"store": STORE, "keep": "sometimes=3"},
        {},
    ):
        with pytest.raises((ConfigurationError, OptionsError, PolicyError)):
            answers_of(Asked(**{**vars(NOTHING), **wrong}), quiet=True)
    monkeypatch.delenv("DATABASE_URL")
    with pytest.raises(ConfigurationError, match="DATABASE_URL is not set"):
        answers_of(Asked(**{**vars(NOTHING), "store": STORE}), quiet=True)
    assert not settings.ENV_FILE.exists()


def test_it_asks_again_until_the_answer_can_be(
    database: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """What cannot be is not written down: nobody would be asked for it again."""
    wrong = "postgresql://u:hunter2@127.0.0.1:9/app"
    said = iter(
        ["", "hunter2", wrong, database, "/var", STORE, "UTC", "hourly", "none", "daily=2",
         "nonsense://hunter2", ""]
    )  # fmt: skip
    asked: list[tuple[str, bool]] = []

    def prompt(question: str, *, hide_input: bool = False, **_: object) -> str:
        asked.append((question, hide_input))
        return next(said)

    monkeypatch.setattr(setup_answers.typer, "prompt", prompt)
    answers = answers_of(NOTHING, quiet=False)
    assert answers.schedule is None
    assert answers.variables == {
        "DATABASE_URL": database, "CONVAULT_STORE_URL": STORE,
        "CONVAULT_TIMEZONE": "UTC", "CONVAULT_KEEP_DAILY": "2",
    }  # fmt: skip
    hidden = [question for question, hide in asked if hide]
    assert len(hidden) == 6  # four tries for the database, two for the alarm
    assert next(said, None) is None
    told = capsys.readouterr().err
    assert "The database URL cannot be read" in told
    assert "URL 1 of CONVAULT_NOTIFY_URLS" in told
    assert "hunter2" not in told


def test_nothing_is_replaced_silently(monkeypatch: pytest.MonkeyPatch) -> None:
    settings.ENV_FILE.touch(0o600)
    settings.ENV_FILE.write_text("# mine\nCONVAULT_TIMEZONE=UTC\n")
    answers = Answers(
        {"CONVAULT_TIMEZONE": "Asia/Tokyo", "CONVAULT_STORE_URL": STORE}, "Asia/Tokyo", None
    )
    with pytest.raises(ConfigurationError, match="CONVAULT_TIMEZONE already; nothing was written"):
        written(answers, replace=False, quiet=True)
    monkeypatch.setattr(setup_answers.typer, "confirm", lambda _: False)
    with pytest.raises(ConfigurationError, match="--replace"):
        written(answers, replace=False, quiet=False)
    assert settings.ENV_FILE.read_text() == "# mine\nCONVAULT_TIMEZONE=UTC\n"
    assert written(answers, replace=True, quiet=True) == ["CONVAULT_TIMEZONE", "CONVAULT_STORE_URL"]
    text = settings.ENV_FILE.read_text()
    assert text == f"# mine\nCONVAULT_TIMEZONE=Asia/Tokyo\nCONVAULT_STORE_URL={STORE}\n"


def test_rules_become_variables() -> None:
    assert rules("daily=7, at-most=2y") == {
        "CONVAULT_KEEP_DAILY": "7", "CONVAULT_KEEP_AT_MOST": "2y",
    }  # fmt: skip
    assert rules("none") == {}
    with pytest.raises(PolicyError):
        rules("daily=many")


@pytest.mark.parametrize("value", ["'x'", "a #b", "${HOME}", "a\\b", "a\nb", " a", ""])
def test_a_value_that_the_file_would_not_give_back_is_refused(value: str) -> None:
    with pytest.raises(ConfigurationError, match="DATABASE_URL"):
        require_plain("DATABASE_URL", value)
    require_plain("CONVAULT_NOTIFY_URLS", "mailto://u:p#w@h.org slack://a/b")
