"""Progress: plain lines without a terminal, bars in one, never on stdout."""

from __future__ import annotations

import os
import pty
import subprocess
import sys
import threading
from codecs import getincrementaldecoder
from contextlib import suppress

import pytest

from cli import progress
from convault.progress import report
from tests.cli.conftest import CHECKOUT
from tests.patience import PATIENCE


def test_a_few_plain_lines_without_a_terminal(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(progress, "_PLAIN_SECONDS", PATIENCE)
    with progress.shown():
        report("snapshot", "locking the tables")
        for done in range(1001):
            report("fetch", f"messages pages {done}-", done=done, total=1000)
        report("copy", "a.tar", done=1536, total=1536, unit="bytes")
    output = capsys.readouterr()
    assert output.out == ""
    assert output.err.splitlines() == [
        "snapshot: locking the tables",
        "fetch: 0/1,000 rows",
        "fetch: 1,000/1,000 rows",
        "copy: 1.5 KiB of 1.5 KiB",
    ]


def test_slow_steps_are_told_again(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(progress, "_PLAIN_SECONDS", 0.0)
    with progress.shown():
        for done in (1, 2):
            report("fetch", "messages", done=done)
    assert capsys.readouterr().err == "fetch: 1 rows\nfetch: 2 rows\n"


def test_nobody_listens_afterwards(capsys: pytest.CaptureFixture[str]) -> None:
    with progress.shown():
        pass
    report("fetch", "messages", done=1)
    assert capsys.readouterr().err == ""


def test_bars_in_a_terminal() -> None:
    """stderr is a terminal, stdout is not: that stays empty."""
    code = (
        "from cli import progress; from convault.progress import report\n"
        "with progress.shown():\n"
        "    report('prefect', 'starting')\n"
        "    report('fetch', '[red]messages', done=5, total=10)\n"
        "    report('fetch', 'messages', done=10, total=10)\n"
    )
    terminal, its_other_end = pty.openpty()
    shown = ""

    def read() -> None:
        """To its end, which Linux tells by an error; it holds a few KB, and bars are drawn anew."""
        nonlocal shown
        decoder = getincrementaldecoder("utf-8")()
        with suppress(OSError):
            while piece := os.read(terminal, 65536):
                shown += decoder.decode(piece)

    reader = threading.Thread(target=read)
    reader.start()
    try:
        done = subprocess.run(
            [sys.executable, "-c", code], stdout=subprocess.PIPE, stderr=its_other_end, check=True,
            cwd=CHECKOUT, env={**os.environ, "TERM": "xterm", "COLUMNS": "120"},
        )  # fmt: skip
    finally:
        os.close(its_other_end)
        reader.join(PATIENCE)
        os.close(terminal)
    assert done.stdout == b""
    assert "10/10 rows" in shown
    assert "prefect" in shown
