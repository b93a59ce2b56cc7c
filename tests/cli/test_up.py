"""What `convault up` refuses before it makes anything, and what it says when all is there."""

from __future__ import annotations

import socket
import subprocess
from dataclasses import replace
from pathlib import Path

import pytest

from cli.up import _tell
from convault.errors import PortTaken
from deployments.stack.guard import sign_in_link
from deployments.stack.standing import Addresses
from tests.cli.conftest import InProcess
from tests.prefect_server import free_port

PASSWORD, KEY = "convault:a-password", "cvk_a-key"


@pytest.mark.parametrize("taken", ["--port", "--prefect-port"])
def test_ports_are_looked_at_before_a_school_is_made_up(
    run: InProcess, tmp_path: Path, taken: str
) -> None:
    ports = {"--port": free_port(), "--prefect-port": free_port()}
    with socket.create_server(("127.0.0.1", 0)) as listener:
        ports[taken] = listener.getsockname()[1]
        words = [str(word) for pair in ports.items() for word in pair]
        ended = run("up", "--demo", "--home", tmp_path / "demo", *words)
    assert ended.status == PortTaken.exit_code
    assert f"port {ports[taken]} of 127.0.0.1 is taken" in ended.err
    assert f"Choose another with {taken}" in ended.err
    assert not (tmp_path / "demo" / "postgres").exists()
    assert not (tmp_path / "demo" / "store").exists()


def test_it_says_where_everything_is_and_each_secret_once(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "my school's $5" / "api-key"
    file.parent.mkdir()
    file.write_text(f"{KEY}\n")
    there = Addresses(
        api="http://127.0.0.1:8000",
        prefect="http://127.0.0.1:4200",
        sign_in=sign_in_link("http://127.0.0.1:4200", PASSWORD),
        api_key=KEY,
        api_key_is_new=True,
        api_key_file=file,
    )
    _tell(there)
    said = capsys.readouterr().out
    for part in (there.sign_in, KEY):
        assert said.count(str(part)) == 1
    assert "http://127.0.0.1:8000/docs" in said
    assert PASSWORD not in said
    [line] = [text for text in said.splitlines() if "For a shell" in text]
    shell = f'{line.partition("For a shell")[2]}; printf %s "$CONVAULT_API_KEY"'
    done = subprocess.run(["bash", "-c", shell], capture_output=True, text=True, check=True)
    assert done.stdout == KEY
    # A key that was told before is not told again, nor is one that is the user's own.
    for later in (replace(there, api_key_is_new=False), replace(there, api_key=None)):
        _tell(later)
        assert KEY not in capsys.readouterr().out
