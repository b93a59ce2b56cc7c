"""How a command ends: the message on stderr, the exit status of the error's class."""

from __future__ import annotations

import pytest

from cli import main as entry
from convault import errors
from tests.cli.conftest import Convault

NEED_SETTINGS = [
    ["init"],
    ["up"],
    ["backup"],
    ["list"],
    ["show", "latest"],
    ["download", "latest"],
    ["extract", "latest", "folder"],
    ["restore", "latest", "--target", "x"],
]


@pytest.mark.parametrize("arguments", NEED_SETTINGS, ids=lambda arguments: arguments[0])
def test_every_command_but_demo_is_refused_without_a_database(
    arguments: list[str], convault: Convault
) -> None:
    done = convault(*arguments, CONVAULT_STORE_URL="file:///nowhere")
    assert done.returncode == errors.ConfigurationError.exit_code
    assert done.stdout == ""
    assert done.stderr.startswith("convault: DATABASE_URL is not set")
    assert "convault demo" in done.stderr


def test_without_a_store_it_says_so(convault: Convault, database: str) -> None:
    done = convault("list", DATABASE_URL=database)
    assert done.returncode == errors.ConfigurationError.exit_code
    assert done.stderr.startswith("convault: CONVAULT_STORE_URL is not set")


def test_a_command_line_that_is_not_understood(convault: Convault) -> None:
    done = convault("bakup")
    assert (done.returncode, done.stdout) == (2, "")
    assert "backup" in done.stderr


def classes(root: type[errors.ConvaultError]) -> list[type[errors.ConvaultError]]:
    """`root` and what is below it in `convault.errors`; tests make classes of their own."""
    below = [sub for sub in root.__subclasses__() if sub.__module__ == errors.__name__]
    return [root, *(c for sub in below for c in classes(sub))]


@pytest.mark.parametrize("cls", classes(errors.ConvaultError), ids=lambda cls: cls.__name__)
def test_each_class_of_error_has_its_status(
    cls: type[errors.ConvaultError],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    def fail(*_: object, **__: object) -> None:
        raise cls("What happened, and what to do.")

    monkeypatch.setattr(entry, "app", fail)
    with pytest.raises(SystemExit) as ended:
        entry.main(["list"])
    assert ended.value.code == cls.exit_code != 0
    output = capsys.readouterr()
    assert (output.out, output.err) == ("", "convault: What happened, and what to do.\n")


def test_the_statuses_tell_the_classes_apart() -> None:
    statuses = [cls.exit_code for cls in classes(errors.ConvaultError)]
    assert len(set(statuses)) == len(statuses)
    assert not {0, 2, 130} & set(statuses)


def test_an_unforeseen_error_keeps_its_text_to_itself(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """It may quote a row or a password."""

    def fail(*_: object, **__: object) -> None:
        raise KeyError("ana@example.org")

    monkeypatch.setattr(entry, "app", fail)
    with pytest.raises(SystemExit) as ended:
        entry.main(["list"])
    assert ended.value.code == 1
    error = capsys.readouterr().err
    assert "KeyError" in error
    assert "ana@" not in error
    assert "Traceback" not in error

    monkeypatch.setenv("CONVAULT_DEBUG", "1")
    with pytest.raises(SystemExit):
        entry.main(["list"])
    assert "Traceback" in capsys.readouterr().err
