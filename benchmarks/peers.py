"""What others need for the same rows: programs of Postgres, and dlt."""

from __future__ import annotations

import re
import shlex
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

from convault.embedded.server import wheel_binaries


@dataclass(frozen=True)
class Peer:
    """Another way to have a copy of the database."""

    name: str
    words: str
    """for a shell; `{out}` is the file or folder that it makes"""
    missing: str = ""
    """why it cannot be run here; '' where it can"""


def peers(binaries: Path, url: str, dlt: str | None, tcp: str | None = None) -> list[Peer]:
    """All of them, also those that are missing here. `binaries` are of Postgres; `dlt` is a Python
    that has dlt installed; `tcp` is the URL for what reaches no Unix socket."""
    dump = f"{_program(binaries, 'pg_dump')} -d {shlex.quote(url)}"
    copy = f"{_program(binaries, 'psql')} -qAt -d {shlex.quote(url)} -c"
    zstd = "" if shutil.which("zstd") else "the program zstd is not installed"
    psql = "" if _found(binaries, "psql") else "the program psql is not installed"
    no_dump = "" if _found(binaries, "pg_dump") else "the program pg_dump is not installed"
    tables = ("contacts", "conversations", "messages")
    csv = "; ".join(f"{copy} 'COPY {table} TO STDOUT (FORMAT csv)'" for table in tables)
    json = "; ".join(
        f"{copy} 'COPY (SELECT row_to_json(t) FROM {table} t) TO STDOUT'" for table in tables
    )
    found = [
        Peer("pg_dump | zstd -5 -T2", f"{dump} | zstd -q -5 -T2 > {{out}}", no_dump or zstd),
        Peer("pg_dump -Fd -j2", f"{dump} -Fd -j2 -f {{out}}", no_dump),
        _custom(binaries, url),
        Peer("psql COPY csv | zstd -3 -T2", f"{{{{ {csv}; }}}} | zstd -q -3 -T2 > {{out}}",
             psql or zstd),
        Peer("psql COPY row_to_json | zstd -3 -T2", f"{{{{ {json}; }}}} | zstd -q -3 -T2 > {{out}}",
             psql or zstd),
    ]  # fmt: skip
    script = Path(__file__).with_name("dlt_to_parquet.py")
    for backend in ("pyarrow", "connectorx"):
        reached = tcp if backend == "connectorx" else url
        words = f"{dlt} {script} {backend} {shlex.quote(reached or '')} {{out}}"
        missing = _without_dlt(dlt, backend)
        if reached is None:
            missing = missing or "connectorx reaches no Unix socket, and port 5432 is taken"
        found.append(Peer(f"dlt ({backend})", words, missing))
    return found


def _custom(binaries: Path, url: str) -> Peer:
    """By the first pg_dump that can; a newer one reads an older server."""
    why = "the program pg_dump is not installed"
    name = "pg_dump -Fc --compress=zstd:3"
    for program in (binaries / "pg_dump", wheel_binaries() / "pg_dump"):
        if program.exists():
            why = _without_zstd(program)
            if not why:
                words = f"{program} -d {shlex.quote(url)} -Fc --compress=zstd:3 -f {{out}}"
                return Peer(name, words)
    return Peer(name, "", why)


def _found(binaries: Path, name: str) -> bool:
    return (binaries / name).exists() or shutil.which(name) is not None


def _program(binaries: Path, name: str) -> str:
    """Of the server's own version where it is there."""
    own = binaries / name
    return shlex.quote(str(own)) if own.exists() else name


def _without_zstd(program: Path) -> str:
    answer = subprocess.run([program, "--version"], capture_output=True, text=True, check=True)
    version = re.search(r"\) (\d+)", answer.stdout)
    if version is None or int(version[1]) < 16:
        return f"{answer.stdout.strip()} knows no zstd (16 does)"
    tried = subprocess.run(
        [program, "-Fc", "--compress=zstd:3", "-d", "postgresql://127.0.0.1:1/none"],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    return "this pg_dump was built without zstd" if "compress" in tried.stderr else ""


def _without_dlt(python: str | None, backend: str) -> str:
    if python is None:
        return "no Python with dlt was named (--dlt)"
    done = subprocess.run(
        [python, "-c", f"import dlt.sources.sql_database, {backend}, pyarrow"],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    last = done.stderr.strip().splitlines()[-1:] or ["it failed"]
    return "" if done.returncode == 0 else last[0]
