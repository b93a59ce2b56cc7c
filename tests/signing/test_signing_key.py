"""The signing key in `.env`: made by `init`, rotated, and nothing else of the file touched."""

from __future__ import annotations

import os
import stat
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from convault import settings as settings_module
from convault.env_file import put_variable
from convault.errors import ConfigurationError
from convault.settings import load_settings
from convault.signing import signing_key
from convault.signing.signature import Signature, SigningKeys, new_key

OLD = new_key()


@pytest.fixture
def env(tmp_path: Path) -> Path:
    """Where the settings' `.env` lies in tests; not there yet."""
    assert tmp_path / ".env" == settings_module.ENV_FILE
    return tmp_path / ".env"


def written(env: Path, text: str) -> Path:
    env.write_text(text)
    env.chmod(0o600)
    return env


def test_the_first_one_is_made_for_its_owner_alone(env: Path) -> None:
    report = signing_key.ensure(load_settings())
    assert report.made
    assert stat.S_IMODE(env.stat().st_mode) == 0o600
    assert load_settings().signing.ids == report.keys.ids
    secret = env.read_text().split("=")[1].strip()
    assert secret not in report.said
    assert secret not in repr(report)


def test_the_one_that_is_there_stays(env: Path) -> None:
    first = signing_key.ensure(load_settings())
    before = env.read_bytes()
    again = signing_key.ensure(load_settings())
    assert (again.made, again.keys.ids) == (False, first.keys.ids)
    assert env.read_bytes() == before


@pytest.mark.parametrize(
    "text",
    [
        "",
        "A=1\n",
        "A=1",
        "# a note\n\nexport A='x y'\nB=\"two\nlines\"\r\nC = ç\n",
        "CONVAULT_SIGNING_KEYS=something else\n#CONVAULT_SIGNING_KEY=\n",
    ],
)
def test_everything_else_in_the_file_stays(env: Path, text: str) -> None:
    written(env, "")
    env.write_bytes(text.encode())
    signing_key.ensure(load_settings())
    found = env.read_bytes().decode()
    assert found.startswith(text)
    assert len(found.removeprefix(text).strip().splitlines()) == 1


def test_a_line_that_is_there_is_replaced_in_its_place(env: Path) -> None:
    written(env, "A=1\n\nCONVAULT_SIGNING_KEY=\nB=2\nCONVAULT_SIGNING_KEY=\n")
    key = signing_key.ensure(load_settings()).keys
    lines = env.read_text().splitlines()
    assert [line.split("=")[0] for line in lines] == ["A", "", "CONVAULT_SIGNING_KEY", "B"]
    assert load_settings().signing.ids == key.ids


def test_when_it_cannot_be_written_it_says_what_to_set(
    env: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(settings_module, "ENV_FILE", env.parent / "gone" / ".env")
    report = signing_key.ensure(load_settings())
    assert not report.keys
    assert not report.made
    assert "openssl rand -hex 32" in report.said
    assert "unsigned" in report.said


def test_a_link_stays_a_link(env: Path, tmp_path: Path) -> None:
    (tmp_path / "real.env").write_text("A=1\n")
    (tmp_path / "real.env").chmod(0o600)
    env.symlink_to("real.env")
    put_variable(env, "B", "2")
    assert env.is_symlink()
    assert (tmp_path / "real.env").read_text() == "A=1\nB=2\n"
    assert {path.name for path in tmp_path.iterdir()} == {".env", "real.env"}


def test_a_file_that_others_can_read_gets_no_key(env: Path) -> None:
    env.write_text("A=1\n")
    env.chmod(0o644)
    with pytest.raises(PermissionError):
        put_variable(env, "B", "2")
    assert env.read_text() == "A=1\n"


def test_rotation_puts_a_new_key_in_front(env: Path) -> None:
    written(env, f"A=1\nCONVAULT_SIGNING_KEY={OLD}\n")
    report = signing_key.rotate()
    now = load_settings().signing
    assert now.ids == report.keys.ids
    assert now.ids[1:] == SigningKeys.parse(OLD).ids
    data = b'{\n "convault": 1\n}\n'
    assert now.check(SigningKeys.parse(OLD).sign(data)) is Signature.SIGNED
    assert SigningKeys.parse(OLD).check(now.sign(data)) is Signature.WRONG
    assert env.read_text().startswith("A=1\n")


def test_a_key_of_the_environment_is_not_rotated_in_the_file(
    env: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CONVAULT_SIGNING_KEY", OLD)
    with pytest.raises(ConfigurationError, match="is set in the environment"):
        signing_key.rotate()
    assert not env.exists()


# Settings read the variable in whichever case, and an empty one of the environment wins as well.


@pytest.mark.parametrize("name", ["CONVAULT_SIGNING_KEY", "convault_signing_key"])
def test_a_key_that_would_not_count_is_not_made(
    env: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    written(env, f"A=1\nCONVAULT_SIGNING_KEY={OLD}\n")
    monkeypatch.setenv(name, "")
    before = env.read_bytes()
    report = signing_key.ensure(load_settings())
    assert (report.made, report.keys.ids) == (False, ())
    assert f"{name} is set in the environment" in report.said
    with pytest.raises(ConfigurationError, match=f"{name} is set in the environment"):
        signing_key.rotate()
    assert env.read_bytes() == before


def test_a_variable_in_lower_case_is_the_same_one(env: Path) -> None:
    written(env, f"convault_signing_key={OLD}\nA=1\n")
    signing_key.rotate()
    assert [line.split("=")[0] for line in env.read_text().splitlines()] == [
        "CONVAULT_SIGNING_KEY",
        "A",
    ]
    assert load_settings().signing.ids[1:] == SigningKeys.parse(OLD).ids


def test_several_inits_at_once_agree_on_one_key(env: Path) -> None:
    loaded = load_settings()
    with ThreadPoolExecutor(8) as pool:
        reports = list(pool.map(lambda _: signing_key.ensure(loaded), range(8)))
    assert {report.keys.ids for report in reports} == {load_settings().signing.ids}
    assert [report.made for report in reports].count(True) == 1


def test_rotations_at_once_lose_no_key(env: Path) -> None:
    written(env, f"CONVAULT_SIGNING_KEY='{OLD}'\r\nA=1")
    with ThreadPoolExecutor(8) as pool:
        reports = list(pool.map(lambda _: signing_key.rotate(), range(8)))
    ids = load_settings().signing.ids
    assert len(ids) == 9
    assert set(ids) == {key_id for report in reports for key_id in report.keys.ids}


def test_nothing_is_written_in_front_of_what_is_no_key(env: Path) -> None:
    written(env, "CONVAULT_SIGNING_KEY=short\n")
    with pytest.raises(ConfigurationError, match="Key 2 of CONVAULT_SIGNING_KEY"):
        signing_key.rotate()
    assert env.read_text() == "CONVAULT_SIGNING_KEY=short\n"


def test_the_file_stays_its_owners(env: Path) -> None:
    written(env, "A=1\n")
    owner = 65534 if os.geteuid() == 0 else os.geteuid()  # only root meets another's
    os.chown(env, owner, -1)
    put_variable(env, "B", "2")
    assert env.stat().st_uid == owner
    assert stat.S_IMODE(env.stat().st_mode) == 0o600


def test_what_a_kill_left_is_not_in_the_way(env: Path) -> None:
    env.with_name(".env.new").symlink_to("elsewhere")
    put_variable(env, "B", "2")
    assert [path.name for path in env.parent.iterdir()] == [".env"]
