"""README says commands that exist: each is parsed by the program that it calls."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import pytest
import typer
from typer.core import TyperGroup

from cli.main import app

ROOT = Path(__file__).parent.parent
BLOCKS = re.findall(r"```sh\n(.*?)```", (ROOT / "README.md").read_text(), re.DOTALL)
LINES = [line for block in BLOCKS for line in block.replace("\\\n", " ").splitlines()]
COMMANDS = [words for line in LINES if (words := shlex.split(line, comments=True))]


def starting_with(program: str) -> list[list[str]]:
    return [words[1:] for words in COMMANDS if words[0] == program]


@pytest.mark.parametrize("words", starting_with("convault"), ids=" ".join)
def test_convault_takes_the_command(words: list[str]) -> None:
    """Parsing refuses an unknown command, option or a missing argument; nothing is run."""
    group = typer.main.get_command(app)
    assert isinstance(group, TyperGroup)
    command = group.commands[words[0]]
    command.make_context(words[0], words[1:])


def test_readme_shows_every_command_of_convault() -> None:
    group = typer.main.get_command(app)
    assert isinstance(group, TyperGroup)
    assert {words[0] for words in starting_with("convault")} == set(group.commands)


@pytest.mark.parametrize("words", starting_with("make"), ids=" ".join)
def test_make_has_the_target(words: list[str]) -> None:
    assert re.search(rf"^{words[0]}:", (ROOT / "Makefile").read_text(), re.MULTILINE)


def test_prefect_and_the_api_are_called_by_the_names_they_have() -> None:
    from api.app import create_app
    from flows.backup import backup

    text = (ROOT / "docs/operations.md").read_text()
    deployed = (ROOT / "prefect.yaml").read_text()
    assert "uvicorn --factory api.app:create_app" in text
    assert create_app.__name__ == "create_app"
    assert f"prefect deployment run '{backup.name}/conversations'" in text
    assert "name: conversations" in deployed
    assert "prefect worker start --pool convault" in text
