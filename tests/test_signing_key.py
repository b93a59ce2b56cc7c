"""The signing key in `.env`: made by `init`, rotated, and nothing else of the file touched."""

from __future__ import annotations

import stat
from pathlib import Path

import pytest

from convault import settings as settings_module
from convault import signing_key
from convault.env_file import put_variable
from convault.errors import ConfigurationError
from convault.settings import load_settings
from convault.signature import Signature, SigningKeys, new_key

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
    report = signing_key.rotate(load_settings())
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
        signing_key.rotate(load_settings())
    assert not env.exists()
