"""What the demo says at its end: where everything lies, and what to try next."""

from __future__ import annotations

import shlex
import shutil
import sys
from pathlib import Path

from cli.demo_home import DemoHome, default_folder
from convault.embedded.server import wheel_binaries


def where_it_lies(home: DemoHome, *, running: bool) -> list[str]:
    """A line for each place."""
    state = "running" if running else "stopped"
    databases = "school, school_restored, school_open"
    return [
        f"Store     {home.store}",
        f"Download  {home.download}",
        f"Prefect   {home.prefect} (its database, and demo.log)",
        f"Postgres  {home.postgres.folder} ({state}; databases {databases})",
    ]


def what_next(home: DemoHome, *, running: bool) -> list[str]:
    """Commands that can be typed as they stand."""
    convault = _program("convault")
    demo = f"{convault} demo"
    if home.folder != default_folder():
        demo += f" --home {shlex.quote(str(home.folder))}"
    # macOS has no sha256sum.
    check = "sha256sum -c" if shutil.which("sha256sum") else "shasum -a 256 -c"
    lines = [
        f"cd {shlex.quote(str(_extracted(home)))} && {check} SHA256SUMS",
        "zstd -dc messages/00000.ndjson.zst | head -3",
    ]
    if not running:
        return [
            *lines,
            f"{demo}          # again: a day later, a second backup",
            f"{demo} --keep   # the same, and its Postgres keeps running for you",
            "",
            "For a database of yours; it asks what it has to know:",
            f"{convault} setup",
        ]
    values = {name: shlex.quote(value) for name, value in home.settings().items()}
    # The key itself is not for the screen.
    values["CONVAULT_SIGNING_KEY"] = f'"$(cat {shlex.quote(str(home.signing_key))})"'
    exports = [f"export {name}={value}" for name, value in values.items()]
    return [
        *exports,
        f"{convault} show latest",
        f"{convault} backup   # again: nothing has changed, so nothing is stored twice",
        f'{shlex.quote(str(wheel_binaries() / "psql"))} "$DATABASE_URL"',
        f"{_program('prefect')} server start   # the run, in Prefect's UI",
        *lines,
        f"{demo} --stop",
    ]


def _extracted(home: DemoHome) -> Path:
    """The folder of the last download."""
    return next((path for path in home.download.iterdir() if path.is_dir()), home.download)


def _program(name: str) -> str:
    """How to type the name of a program of this virtual environment."""
    program = Path(sys.executable).parent / name
    found = shutil.which(name)
    if found and program.exists() and Path(found).samefile(program):
        return name
    return shlex.quote(str(program))
