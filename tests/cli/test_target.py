"""A password never comes as an argument; a URL comes from where it is kept safe."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from cli.target import url_of_target
from convault.errors import ConfigurationError, NotFoundError
from convault.settings import Settings
from tests.cli.conftest import Convault

SECRET = "s3cr3t-pässword"
URL = "postgresql://ana@db.example.org:5432/school"
WITH_PASSWORD = f"postgresql://ana:{SECRET}@db.example.org:5432/school"


@pytest.fixture
def settings() -> Settings:
    return Settings()


def url_in(path: Path, text: str, mode: int = 0o600) -> Path:
    path.write_text(text, encoding="utf-8")
    path.chmod(mode)
    return path


def test_a_url_without_a_password_may_be_an_argument(settings: Settings) -> None:
    assert url_of_target(settings, target=None, into=URL, into_file=None) == URL


@pytest.mark.parametrize(
    "url",
    [
        WITH_PASSWORD,
        f"postgresql://ana@db.example.org/school?password={SECRET}",
        f"postgres://db.example.org/school?user=ana&password={SECRET}",
        f"postgresql://ana@db.example.org/school?sslpassword={SECRET}",
        f"host=db.example.org user=ana password={SECRET}",
        f"host=db.example.org password = '{SECRET}' user=ana",
    ],
)
def test_a_url_with_a_password_may_not(settings: Settings, url: str) -> None:
    with pytest.raises(ConfigurationError, match="password") as refused:
        url_of_target(settings, target=None, into=url, into_file=None)
    assert SECRET not in refused.value.message
    assert "--into-file" in refused.value.message


def test_what_is_no_url_is_refused_and_not_repeated(settings: Settings) -> None:
    with pytest.raises(ConfigurationError) as refused:
        url_of_target(settings, target=None, into=SECRET, into_file=None)
    assert SECRET not in refused.value.message


def test_the_process_refuses_it_before_anything_else(convault: Convault, database: str) -> None:
    done = convault(
        "restore", "latest", "--into", WITH_PASSWORD,
        DATABASE_URL=database, CONVAULT_STORE_URL="file:///nowhere",
    )  # fmt: skip
    assert done.returncode == ConfigurationError.exit_code
    assert SECRET not in done.stdout + done.stderr
    assert "--into carries a password" in done.stderr


def test_a_target_has_a_name(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CONVAULT_TARGET_NEW_SCHOOL_URL", WITH_PASSWORD)
    found = url_of_target(settings, target="new-school", into=None, into_file=None)
    assert found == WITH_PASSWORD
    with pytest.raises(NotFoundError, match="CONVAULT_TARGET_OTHER_URL"):
        url_of_target(settings, target="other", into=None, into_file=None)


def test_a_file_that_is_its_owners_alone(settings: Settings, tmp_path: Path) -> None:
    path = url_in(tmp_path / "url", f"{WITH_PASSWORD}\n")
    assert url_of_target(settings, target=None, into=None, into_file=str(path)) == WITH_PASSWORD


@pytest.mark.parametrize("mode", [0o644, 0o640, 0o604, 0o620])
def test_a_file_that_others_can_read_is_refused(
    settings: Settings, tmp_path: Path, mode: int
) -> None:
    path = url_in(tmp_path / "url", WITH_PASSWORD, mode)
    with pytest.raises(ConfigurationError, match=f"chmod 600 {path}"):
        url_of_target(settings, target=None, into=None, into_file=str(path))


def test_a_file_of_somebody_else_is_refused(
    settings: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Who owns it can write it, and so decide where the rows go."""
    path = url_in(tmp_path / "url", WITH_PASSWORD)
    if os.geteuid() == 0:
        os.chown(path, 12345, -1)
    else:  # only root can give a file away, so that somebody else reads it
        uid = os.geteuid()
        monkeypatch.setattr("os.geteuid", lambda: uid + 1)
    with pytest.raises(ConfigurationError, match="somebody else's") as refused:
        url_of_target(settings, target=None, into=None, into_file=str(path))
    assert SECRET not in refused.value.message


@pytest.mark.parametrize("text", ["", "\n", f"{URL}\n{URL}\n", SECRET, f"{SECRET} = x"])
def test_a_file_that_holds_no_url_is_refused_and_not_quoted(
    settings: Settings, tmp_path: Path, text: str
) -> None:
    path = url_in(tmp_path / "url", text)
    with pytest.raises(ConfigurationError, match="one line") as refused:
        url_of_target(settings, target=None, into=None, into_file=str(path))
    assert SECRET not in refused.value.message


def test_a_file_that_is_not_there_or_not_text(settings: Settings, tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="No such file"):
        url_of_target(settings, target=None, into=None, into_file=str(tmp_path / "url"))
    binary = tmp_path / "binary"
    binary.write_bytes(b"\xff\xfe\x00")
    binary.chmod(0o600)
    with pytest.raises(ConfigurationError, match="not text"):
        url_of_target(settings, target=None, into=None, into_file=str(binary))


def test_one_of_them_only(settings: Settings) -> None:
    with pytest.raises(ConfigurationError, match="one of"):
        url_of_target(settings, target="x", into=URL, into_file=None)


def test_it_asks_without_showing_what_is_typed(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Nobody types in a test, so the terminal and the question are stand-ins.
    monkeypatch.setattr("sys.stdin.isatty", lambda: True, raising=False)
    monkeypatch.setattr("getpass.getpass", lambda prompt: f"{WITH_PASSWORD}\n")
    assert url_of_target(settings, target=None, into=None, into_file=None) == WITH_PASSWORD


def test_without_a_terminal_it_tells_the_ways(settings: Settings, convault: Convault) -> None:
    with pytest.raises(ConfigurationError, match="--target NAME"):
        url_of_target(settings, target=None, into=None, into_file=None)
