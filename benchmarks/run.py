"""Everything measured in one interleaved run: `make bench`, or

    python -m benchmarks.run --messages 1000000 --binaries /usr/lib/postgresql/15/bin

Each round takes every case once, one after the other, so that what else the machine does meets all
of them alike; the figures are medians over the rounds, and only their ratios mean something. A
table is printed, numbers go to `--json`, and a chart to `--svg`. benchmarks/README.md tells more.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import psycopg

from benchmarks import chart, meter, report
from benchmarks.case import take
from benchmarks.databases import (
    NEWEST,
    SCATTERED,
    by_tcp,
    cluster,
    execute,
    filled,
    heap_bytes,
    installed,
    new_database,
    stored,
    workplace,
)
from benchmarks.meter import Taken
from benchmarks.peers import peers
from convault.embedded.server import EmbeddedPostgres, wheel_binaries

FORMATS = (("json", 3), ("json", 1), ("csv", 3), ("parquet", 1))
RUNNERS = ("core", "flow")


@dataclass
class Bench:
    """One run: where it works, and what it has measured."""

    server: EmbeddedPostgres
    url: str
    folder: Path
    binaries: Path
    given: argparse.Namespace
    tcp: str | None = None
    """the URL of the database by TCP, where there is one"""
    prefect: int | None = None
    """process id of the Prefect server"""
    found: dict[str, list[Taken]] = field(default_factory=dict)
    missing: dict[str, str] = field(default_factory=dict)
    stores: dict[str, Path] = field(default_factory=dict)

    @property
    def postgres(self) -> int:
        """Process id of the server."""
        return meter.postmaster(self.server)

    def add(self, name: str, taken: Taken) -> None:
        """Keep what a case took in this round."""
        self.found.setdefault(name, []).append(taken)
        print(f"{name:44} {taken.wall:8.2f} s {taken.cpu:8.2f} s CPU {taken.peak:6.0f} MiB"
              f" {taken.bytes / 2**20:8.1f} MiB", flush=True)  # fmt: skip


def main() -> None:
    """See the module."""
    asked = argparse.ArgumentParser(description="Measure Convault beside others.")
    asked.add_argument("--messages", type=int, default=1_000_000)
    asked.add_argument("--rounds", type=int, default=3)
    asked.add_argument("--binaries", type=Path, help="of Postgres; the wheel's 18 unless told")
    asked.add_argument("--dlt", help="a Python in which dlt is installed")
    asked.add_argument("--formats", nargs="+", default=[f"{f}-{level}" for f, level in FORMATS])
    asked.add_argument("--runners", nargs="+", choices=RUNNERS, default=list(RUNNERS))
    asked.add_argument(
        "--brief",
        action="store_true",
        help="of all forms but the first only full backups of the core",
    )
    asked.add_argument("--folder", type=Path, help="where there is room")
    asked.add_argument("--json", type=Path)
    asked.add_argument("--svg", type=Path)
    given = asked.parse_args()
    binaries = given.binaries or wheel_binaries()
    with workplace(given.folder) as folder, cluster(folder, binaries) as server:
        url = filled(server, given.messages)
        tcp = by_tcp(server, "app") if given.dlt else None
        bench = Bench(server, url, folder, binaries, given, tcp)
        facts = {"messages": given.messages, "heap_bytes": heap_bytes(url), "cpus": os.cpu_count(),
                 "postgres": _version(url), "rounds": given.rounds}  # fmt: skip
        print(facts, flush=True)
        cold = started(bench) if "flow" in given.runners else None
        for number in range(given.rounds):
            print(f"\nround {number + 1} of {given.rounds}", flush=True)
            one_round(bench, number)
            facts |= {"rounds": number + 1, "prefect_cold_start": cold}
            tell(facts, bench)


def tell(facts: dict[str, Any], bench: Bench) -> None:
    """What was measured so far: a table, and where it is asked for, numbers and a chart."""
    results = report.results(facts, bench.found, bench.missing)
    print("\n" + report.table(results), flush=True)
    if bench.given.json:
        bench.given.json.write_text(json.dumps(results, indent=1) + "\n")
    if bench.given.svg:
        bench.given.svg.write_text(chart.drawn(results))


def started(bench: Bench) -> float:
    """Start a Prefect server; the seconds until it answers."""
    from cli.prefect_server import ensure_server

    os.environ |= {"PREFECT_HOME": str(bench.folder / "prefect"), "DO_NOT_TRACK": "1",
                   "PREFECT_SERVER_ANALYTICS_ENABLED": "false"}  # fmt: skip
    before = _children()
    began = time.monotonic()
    ensure_server()
    (bench.prefect,) = _children() - before
    seconds = round(time.monotonic() - began, 2)
    # Its routes are made by the first request that passes them, which is one that none answers.
    httpx.get(f"{os.environ['PREFECT_API_URL']}/none", timeout=60)
    return seconds


def _children() -> set[int]:
    pid = os.getpid()
    return set(map(int, Path(f"/proc/{pid}/task/{pid}/children").read_text().split()))


def one_round(bench: Bench, number: int) -> None:
    """Every case once."""
    messages = bench.given.messages
    first = bench.given.formats[0]
    chains = [
        (runner, *name.split("-"))
        for name in bench.given.formats
        for runner in bench.given.runners
        if not bench.given.brief or name == first or runner == bench.given.runners[0]
    ]
    settings = [_Chain(bench, number, *chain) for chain in chains]
    if number:
        # Or the newest rows would be written into the holes that the round before left everywhere.
        execute(bench.url, "VACUUM FULL messages")
    execute(bench.url, "VACUUM ANALYZE messages")
    # Peers and ours take turns: half of the others before, half after.
    found = peers(bench.binaries, bench.url, bench.given.dlt, bench.tcp)
    others = [_peer(bench, peer) for peer in found]
    others[0]()
    for chain in settings:
        chain.back_up("full")
    for other in others[1:]:
        other()
    whole_cases(bench, settings[0], number)
    further = settings[: len(bench.given.runners)] if bench.given.brief else settings
    for chain in further:
        chain.back_up("nothing changed")
    execute(bench.url, NEWEST.format(messages=messages))
    for chain in further:
        chain.back_up("newest 1 % changed")
    execute(bench.url, SCATTERED.format(number=number))
    for chain in further:
        chain.back_up("1 % scattered")
    for chain in settings:
        shutil.rmtree(chain.store)


class _Chain:
    """Backups of one form by one runner, in a store of their own."""

    def __init__(self, bench: Bench, number: int, runner: str, format: str, level: str) -> None:
        self.bench, self.runner, self.format, self.level = bench, runner, format, int(level)
        self.store = bench.folder / "stores" / f"{runner}_{format}_{level}_{number}"
        catalog = new_database(bench.server, f"catalog_{runner}_{format}_{level}")
        installed(bench.url, catalog, self.store)
        self.environment = {name: os.environ[name] for name in _NAMES}
        self.backup = ""

    def back_up(self, case: str) -> None:
        """One backup, measured."""
        before = stored(self.store)
        taken, told = self.take(kind=self.runner, format=self.format, level=self.level)
        taken.bytes = stored(self.store) - before
        self.backup = told["backup"]
        self.bench.add(f"{self.runner} {self.format.upper()} {self.level}, {case}", taken)

    def take(self, **asked: Any) -> tuple[Taken, dict[str, Any]]:
        """A case in this chain's installation."""
        os.environ.update(self.environment)
        if self.runner == "flow":
            asked["prefect"] = self.bench.prefect
        return take({"postgres": self.bench.postgres, **asked})


_NAMES = ("DATABASE_URL", "CONVAULT_CATALOG_URL", "CONVAULT_STORE_URL", "CONVAULT_SIGNING_KEY")


def _peer(bench: Bench, peer: Any) -> Callable[[], None]:
    def measured() -> None:
        if peer.missing:
            bench.missing[peer.name] = peer.missing
            return
        out = bench.folder / "peer"
        taken, _ = take({"kind": "command", "words": peer.words.format(out=out),
                         "postgres": bench.postgres})  # fmt: skip
        taken.bytes = stored(out) if out.is_dir() else out.stat().st_size
        bench.add(peer.name, taken)
        for path in bench.folder.glob("peer*"):
            shutil.rmtree(path) if path.is_dir() else path.unlink()

    return measured


def whole_cases(bench: Bench, chain: _Chain, number: int) -> None:
    """Restore, verify and download the full backup of a chain; and pg_restore beside it."""
    name = f"{chain.format.upper()} {chain.level}"
    dump, tar = bench.folder / "dump", bench.folder / "download.tar"
    program = bench.binaries / "pg_dump"
    if program.exists():
        words = f"{program} -d '{bench.url}' -Fd -j2 -Z1 -f {dump}"
        take({"kind": "command", "words": words, "postgres": bench.postgres})
        target = new_database(bench.server, "by_pg_restore")
        # Or whoever comes later writes out what those before have left in memory.
        execute(bench.url, "CHECKPOINT")
        words = f"{bench.binaries / 'pg_restore'} -j2 -d '{target}' {dump}"
        taken, _ = take({"kind": "command", "words": words, "postgres": bench.postgres})
        bench.add("pg_restore -j2", taken)
        shutil.rmtree(dump)
    else:
        bench.missing["pg_restore -j2"] = "the program pg_restore is not installed"
    target = new_database(bench.server, "restored")
    execute(bench.url, "CHECKPOINT")
    taken, _ = chain.take(kind="restore", backup=chain.backup, target=target)
    bench.add(f"restore {name}, everything", taken)
    require_same(bench.url, target)
    target = new_database(bench.server, "restored")
    with psycopg.connect(bench.url) as connection:
        row = (
            connection.execute(
                "SELECT conversation_id::text FROM messages LIMIT 1 OFFSET 5000"
            ).fetchone()
            or connection.execute("SELECT id::text FROM conversations").fetchone()
        )
    assert row is not None
    taken, _ = chain.take(
        kind="restore", backup=chain.backup, target=target, conversations=[row[0]]
    )
    bench.add(f"restore {name}, one conversation", taken)
    taken, _ = chain.take(kind="verify", backup=chain.backup)
    bench.add(f"verify {name}, all read", taken)
    taken, _ = chain.take(kind="download", backup=chain.backup, file=str(tar))
    taken.bytes = tar.stat().st_size
    bench.add(f"download {name}", taken)
    tar.unlink()


def require_same(source: str, target: str) -> None:
    """SystemExit unless both hold the same rows: a restore that is quick and wrong is none."""
    query = b"SELECT count(*), sum(hashtextextended(m::text, 0)) FROM messages m"
    with psycopg.connect(source) as one, psycopg.connect(target) as other:
        one.execute("SET timezone = 'UTC'")
        other.execute("SET timezone = 'UTC'")
        if one.execute(query).fetchone() != other.execute(query).fetchone():
            raise SystemExit("what was restored is not what was backed up")


def _version(url: str) -> str:
    with psycopg.connect(url) as connection:
        return str(connection.info.parameter_status("server_version"))


if __name__ == "__main__":
    main()
