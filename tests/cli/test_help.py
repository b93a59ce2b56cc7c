"""Every command is documented, in its help and in the README."""

from __future__ import annotations

import os
import shlex
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import typer
from typer.testing import CliRunner

from cli import keys
from cli.main import app
from tests.cli.conftest import CHECKOUT, Convault

COMMANDS = {
    name: callback.__doc__ or ""
    for name, callback in [
        *((info.name, info.callback) for info in app.registered_commands),
        *((f"keys {info.name}", info.callback) for info in keys.app.registered_commands),
    ]
    if name and callback
}
EXPECTED = {
    "init", "demo", "backup", "list", "show", "download", "extract", "restore", "verify", "drill",
    "recovery-sheet", "delete", "undelete", "pin", "unpin", "acknowledge", "cleanup", "sweep",
    "adopt", "audit", "copy", "copies", "doctor", "migrations", "notify", "up", "setup",
    "rekey", *(f"keys {name}" for name in ("new", "show", "add", "retire", "signing")),
}  # fmt: skip


def parser_of(name: str) -> Any:
    """Of a command, or of one in a group."""
    command: Any = typer.main.get_command(app)
    for word in name.split():
        command = command.commands[word]
    return command


def example_of(name: str) -> list[str]:
    """The words of the example in a command's help."""
    lines = [line.strip() for line in COMMANDS[name].splitlines()]
    examples = [line for line in lines if line.startswith("Example: ")]
    assert len(examples) == 1, f"the help of `convault {name}` must have one example"
    return shlex.split(examples[0].removeprefix("Example: "))


def test_these_are_the_commands() -> None:
    assert set(COMMANDS) == EXPECTED


@pytest.mark.parametrize("name", sorted(EXPECTED))
def test_help_tells_what_it_does_and_gives_an_example(name: str) -> None:
    result = CliRunner().invoke(app, [*name.split(), "--help"])
    assert result.exit_code == 0
    assert COMMANDS[name].strip().splitlines()[0][:50] in result.stdout
    assert " ".join(example_of(name)) in result.stdout


@pytest.mark.parametrize("name", sorted(EXPECTED))
def test_the_example_is_one_that_the_command_takes(name: str) -> None:
    words = example_of(name)
    before = ["convault", *name.split()]
    assert words[: len(before)] == before
    context = parser_of(name).make_context(name, words[len(before) :])
    context.close()


@pytest.mark.parametrize("name", sorted(EXPECTED))
def test_every_option_is_explained(name: str) -> None:
    for parameter in parser_of(name).params:
        assert getattr(parameter, "help", None), f"{name} {parameter.name}"


@pytest.mark.parametrize("name", sorted(EXPECTED))
def test_the_readme_names_the_command(name: str) -> None:
    assert f"convault {name}" in (CHECKOUT / "README.md").read_text(encoding="utf-8")


def test_every_command_that_yields_something_speaks_json() -> None:
    for name in EXPECTED:
        assert "--json" in CliRunner().invoke(app, [*name.split(), "--help"]).stdout, name


def test_help_is_quick_because_it_imports_nothing_heavy(convault: Convault) -> None:
    heavy = "prefect|polars|pyarrow|adbc_driver_manager|obstore"
    code = (
        "import sys; from typer.testing import CliRunner; from cli.main import app;"
        "assert CliRunner().invoke(app, ['list', '--help']).exit_code == 0;"
        f"print([m for m in {heavy.split('|')!r} if m in sys.modules])"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=CHECKOUT
    )
    assert done.stdout.strip() == "[]"
    # Of a core, not of the clock, which others on this machine have a part in.
    before = os.times()
    assert convault("list", "--help").returncode == 0
    after = os.times()
    used = after.children_user + after.children_system
    assert used - before.children_user - before.children_system < 10


def test_version(convault: Convault) -> None:
    from convault import __version__

    done = convault("--version")
    assert (done.returncode, done.stdout, done.stderr) == (0, f"convault {__version__}\n", "")


def test_the_installed_script_is_this_checkouts(tmp_path: Path) -> None:
    script = Path(sys.executable).parent / "convault"
    done = subprocess.run(
        [script, "--version"], capture_output=True, text=True, check=False, cwd=tmp_path
    )
    assert done.returncode == 0, done.stderr
