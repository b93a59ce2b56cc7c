"""Every command is documented, in its help and in the README."""

from __future__ import annotations

import shlex
import subprocess
import sys
import time
from pathlib import Path

import pytest
import typer
from typer.testing import CliRunner

from cli.main import app
from tests.cli.conftest import CHECKOUT, Convault

COMMANDS = {
    info.name: info.callback.__doc__ or ""
    for info in app.registered_commands
    if info.name and info.callback
}
EXPECTED = {"init", "demo", "backup", "list", "show", "download", "extract", "restore", "verify",
            "drill"}  # fmt: skip


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
    result = CliRunner().invoke(app, [name, "--help"])
    assert result.exit_code == 0
    assert COMMANDS[name].strip().splitlines()[0][:50] in result.stdout
    assert " ".join(example_of(name)) in result.stdout


@pytest.mark.parametrize("name", sorted(EXPECTED))
def test_the_example_is_one_that_the_command_takes(name: str) -> None:
    program, command, *arguments = example_of(name)
    assert (program, command) == ("convault", name)
    parser = typer.main.get_command(app).commands[name]  # type: ignore[attr-defined]
    context = parser.make_context(name, arguments)
    context.close()


@pytest.mark.parametrize("name", sorted(EXPECTED))
def test_every_option_is_explained(name: str) -> None:
    parser = typer.main.get_command(app).commands[name]  # type: ignore[attr-defined]
    for parameter in parser.params:
        assert getattr(parameter, "help", None), f"{name} {parameter.name}"


@pytest.mark.parametrize("name", sorted(EXPECTED))
def test_the_readme_names_the_command(name: str) -> None:
    assert f"convault {name}" in (CHECKOUT / "README.md").read_text(encoding="utf-8")


def test_every_command_that_yields_something_speaks_json() -> None:
    for name in EXPECTED:
        assert "--json" in CliRunner().invoke(app, [name, "--help"]).stdout, name


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
    begun = time.monotonic()
    assert convault("list", "--help").returncode == 0
    assert time.monotonic() - begun < 10


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
