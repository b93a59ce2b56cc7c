"""`convault demo`, as a user meets it: interrupted, complete, and again on what it left."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest

from cli.demo_home import DemoHome, held
from convault.errors import BusyError
from tests.cli.conftest import COMMAND, Convault, clean_environment
from tests.patience import PATIENCE
from tests.processes import await_end, processes_of

MESSAGES = "600"


@pytest.fixture
def home() -> Iterator[Path]:
    # Not pytest's tmp_path: Postgres runs as `nobody` when the tests run as root.
    base = Path(tempfile.mkdtemp(prefix="cv-"))
    base.chmod(0o711)
    yield base / "a demo"
    DemoHome(base / "a demo").postgres.stop()
    shutil.rmtree(base)


def interrupt_during_backup(home: Path) -> subprocess.CompletedProcess[str]:
    """Press Ctrl-C when the snapshot is taken: the terminal sends SIGINT to the whole group."""
    with subprocess.Popen(
        [*COMMAND, "demo", "--messages", MESSAGES, "--home", str(home)],
        env=clean_environment(), stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
        stderr=subprocess.PIPE, text=True, start_new_session=True,
    ) as demo:  # fmt: skip
        assert demo.stderr is not None
        seen = ""
        for line in demo.stderr:
            seen += line
            if line.startswith("snapshot"):
                os.killpg(demo.pid, signal.SIGINT)
                break
        out, rest = demo.communicate(timeout=PATIENCE)
        return subprocess.CompletedProcess(demo.args, demo.returncode, out, seen + rest)


@pytest.mark.timeout(1800)  # four demos, each of which may be slow
def test_the_demo_from_its_first_interrupted_run_to_looking_around(
    home: Path, convault: Convault
) -> None:
    """One test, because each run takes seconds: Prefect starts a server in each."""
    interrupted = interrupt_during_backup(home)
    assert interrupted.returncode == 130, interrupted.stderr
    assert interrupted.stderr.splitlines()[-1] == "convault: stopped"
    assert "Traceback" not in interrupted.stderr
    await_end(home)

    # Settings of the user's own that nothing of the demo may follow.
    foreign = {
        "DATABASE_URL": "postgresql://127.0.0.1:9/x", "CONVAULT_STORE_URL": "file:///nowhere",
        "CONVAULT_WORKERS": "no number", "PGHOST": "nowhere",
        "PREFECT_API_URL": "http://127.0.0.1:9/api",
    }  # fmt: skip
    complete = convault(
        "demo", "--messages", MESSAGES, "--home", home, "--json", seconds=2 * PATIENCE, **foreign
    )
    assert complete.returncode == 0, complete.stderr
    result = json.loads(complete.stdout)
    assert result["backup"]["status"] == "completed"
    assert result["compared_rows"] == result["restored_rows"] == result["backup"]["rows"] > 600
    assert result["download"]["bytes"] == Path(result["download"]["file"]).stat().st_size
    assert result["download"]["files_checked"] > 10
    assert result["private"]["backup"]["options"]["status"] == ["open"]
    assert 0 < result["private"]["conversations"] < result["private"]["messages"] < 600
    assert result["drill"]["outcome"] == "passed"
    assert result["drill"]["failed"] == 0
    assert result["drill"]["passed"] > 30
    await_end(home)

    again = convault("demo", "--messages", MESSAGES, "--home", home, "--keep", seconds=2 * PATIENCE)
    assert again.returncode == 0, again.stderr
    for expected in (
        "A day passed", "completed", "failed", "public.messages",
        "snapshot ", "upload ", "What came back is what was there.", "digest", "SHA256SUMS",
        "refused", "open conversations",
        str(home),
    ):  # fmt: skip
        assert expected in again.stdout
    assert "Traceback" not in again.stderr
    assert processes_of(home), "--keep leaves Postgres running"

    exports = [line for line in again.stdout.splitlines() if line.startswith("export ")]
    script = "\n".join([*exports, "printenv DATABASE_URL", 'exec "$@"'])
    listed = subprocess.run(
        ["sh", "-ec", script, "sh", *COMMAND, "list", "--json"],
        env=clean_environment(), capture_output=True, text=True, check=True,
    )  # fmt: skip
    url, _, rows = listed.stdout.partition("\n")
    assert [row["status"] for row in json.loads(rows)] == ["completed"] * 4 + ["failed"]
    with psycopg.connect(url) as connection:
        tags = "SELECT count(*) FROM messages WHERE 'novo' = ANY(tags)"
        assert (connection.execute(tags).fetchone() or (0,))[0] > 6, "two days have passed"

    assert convault("demo", "--home", home, "--stop").returncode == 0
    await_end(home)


def test_two_at_once_are_refused(home: Path, convault: Convault) -> None:
    with held(home):
        second = convault("demo", "--home", home)
        with pytest.raises(BusyError), held(home):
            pass
    assert second.returncode == BusyError.exit_code
    assert second.stdout == ""
    assert f"Another demo works in {home}" in second.stderr
    with held(home):
        pass


def test_reset_forgets_what_the_demo_made_and_nothing_else(home: Path) -> None:
    with held(home) as demo:
        demo.postgres.start()
        for folder in (demo.store, demo.prefect, demo.download):
            folder.mkdir()
        (home / "mine").write_text("kept")
        demo.reset()
        assert sorted(path.name for path in home.iterdir()) == ["lock", "mine"]
        await_end(home)
        demo.reset()
