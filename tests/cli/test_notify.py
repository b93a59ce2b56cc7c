"""`convault notify`, and a backup that is refused before it begins."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from convault.errors import CatalogUnavailable, ConfigurationError, MissingTable, NotTold
from convault.installation import initialise
from convault.settings import Settings
from tests.cli.conftest import InProcess
from tests.notify.receivers import PATIENTLY, Receiver, http_receiver, patient

SECRET = "t0ken-of-the-webhook"


@pytest.fixture
def receiver(monkeypatch: pytest.MonkeyPatch) -> Iterator[Receiver]:
    patient(monkeypatch)
    with http_receiver() as made:
        yield made


@pytest.fixture
def environment(database: str, tmp_path: Path, receiver: Receiver) -> dict[str, str]:
    """An installation over a database without a table to back up."""
    (tmp_path / "store").mkdir(mode=0o700)
    url = (tmp_path / "store").as_uri()
    initialise(Settings(database_url=database, convault_store_url=url))
    return {
        "DATABASE_URL": database,
        "CONVAULT_STORE_URL": url,
        "CONVAULT_HOME": str(tmp_path / "home"),
        "CONVAULT_NOTIFY_URLS": receiver.apprise(f"/{SECRET}"),
        "CONVAULT_NOTIFY_NAME": "school",
    }


def test_a_test_says_of_each_channel_how_it_went(
    run: InProcess, environment: dict[str, str], receiver: Receiver
) -> None:
    ended = run("notify", "--test", **environment)
    assert (ended.status, ended.out.split()) == (0, ["channel", "result", "1", "json", "sent"])
    assert receiver.titles == ["a test"]
    both = f"{environment['CONVAULT_NOTIFY_URLS']} json://127.0.0.1:9/{SECRET}?{PATIENTLY}"
    ended = run("notify", "--test", "--json", CONVAULT_NOTIFY_URLS=both)
    assert ended.status == NotTold.exit_code
    assert ended.json == {"1 json": "sent", "2 json": "the message was not taken"}
    assert SECRET not in ended.err + ended.out
    ended = run("notify", "--test", CONVAULT_NOTIFY_URLS=f"nonsense://{SECRET}")
    assert ended.status == ConfigurationError.exit_code
    assert "URL 1 of CONVAULT_NOTIFY_URLS" in ended.err
    assert SECRET not in ended.err
    ended = run("notify", "--test", CONVAULT_NOTIFY_URLS="")
    assert ended.status == ConfigurationError.exit_code
    assert "CONVAULT_NOTIFY_URLS is not set" in ended.err


def test_a_backup_that_could_not_begin_is_told_once(
    run: InProcess, environment: dict[str, str], receiver: Receiver
) -> None:
    quiet = run("notify", **environment)
    assert (quiet.status, quiet.out) == (0, "")
    assert "Nothing is wrong" in quiet.err
    ping = f"{receiver.url}/ping/{SECRET}"
    for _ in range(2):
        ended = run("backup", CONVAULT_PING_URL=ping)
        assert ended.status == MissingTable.exit_code
    assert receiver.titles == ["A backup could not begin: missing-table"]
    pings = [path.partition("?")[0] for path in receiver.paths if "/ping/" in path]
    assert pings == [f"/ping/{SECRET}/fail"] * 2
    ended = run("notify")
    assert ended.status == 0
    assert "backup-failed" in ended.out
    assert "A backup could not begin: missing-table: A table that the dataset" in ended.err
    [incident] = run("notify", "--json").json
    assert (incident["kind"], incident["facts"]) == ("backup-failed", {"refused": True})
    assert len(receiver.titles) == 1
    assert run("backup", "--format", "xml").status != 0
    assert len(receiver.titles) == 1, "a slip of the finger is nobody's alarm"


def test_a_channel_that_fails_shows_in_the_exit_status(
    run: InProcess, environment: dict[str, str], receiver: Receiver
) -> None:
    receiver.status = 500
    assert run("backup", **environment).status == MissingTable.exit_code
    told = run("notify")
    assert told.status == 0, "it is too early to try again"
    assert "1 json: the message was not taken" in told.out
    gone = f"{environment['DATABASE_URL']}x"
    ended = run("notify", DATABASE_URL="postgresql://127.0.0.1:9/x", CONVAULT_CATALOG_URL=gone)
    assert ended.status in {CatalogUnavailable.exit_code, 40}
    assert SECRET not in ended.err
    ended = run("notify", CONVAULT_HOME="/dev/null/home")
    assert ended.status == ConfigurationError.exit_code
    assert "CONVAULT_HOME, which cannot be used" in ended.err


def test_a_copy_that_never_ran_is_told_once(
    run: InProcess, environment: dict[str, str], receiver: Receiver, tmp_path: Path
) -> None:
    for _ in range(2):
        assert run(
            "notify", **environment, CONVAULT_STORE_OFFSITE_URL=(tmp_path / "x").as_uri()
        ).status == 0  # fmt: skip
    assert receiver.titles == ["The copy offsite is behind"]
    run("notify", CONVAULT_STORE_OFFSITE_URL="")
    assert receiver.titles[1:] == ["Over: The copy offsite is behind"]
