"""What an incremental backup costs beside `pg_dump | zstd -5 -T2`, on a database that this makes.

    python -m benchmarks.incremental --messages 1000000 --binaries /usr/lib/postgresql/15/bin

Prints a table: seconds as the run's own clock counts them (the Prefect server is started before),
how many times faster than the dump that is, new bytes in the store (manifest, index and all), and
their share of what the full backup stored. The dump and the backups take turns on one machine, so
that only their ratios mean something.
"""

from __future__ import annotations

import argparse
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psycopg

from cli.prefect_server import ensure_server
from convault.embedded.server import EmbeddedPostgres, wheel_binaries
from convault.installation import initialise
from convault.models import BackupOptions
from convault.settings import Settings

SCHEMA = """
CREATE TABLE contacts (id bigint PRIMARY KEY, name text NOT NULL, email text);
CREATE TABLE conversations (id uuid PRIMARY KEY, contact_id bigint REFERENCES contacts,
    subject text, status text NOT NULL, created_at timestamptz NOT NULL);
CREATE TABLE messages (id bigint PRIMARY KEY,
    conversation_id uuid NOT NULL REFERENCES conversations, sender text NOT NULL, body text,
    metadata jsonb, created_at timestamptz NOT NULL, read_at timestamptz);
"""
FILL = """
CREATE TEMP TABLE sentences AS SELECT s AS n,
    (SELECT string_agg(substr(md5((hashint8extended(s, k) & 2047)::text), 1, 2 + k % 7), ' ')
     FROM generate_series(1, 12) k) AS sentence FROM generate_series(0, 19999) s;
CREATE UNIQUE INDEX ON sentences (n);
INSERT INTO contacts SELECT n, 'contact ' || n, md5(n::text) || '@example.org'
    FROM generate_series(0, {conversations} / 3) n;
INSERT INTO conversations SELECT md5('c' || n)::uuid, n / 3, 'subject ' || n,
    (ARRAY['open', 'closed'])[1 + n % 2], '2024-01-01'::timestamptz + n * interval '8 minutes'
    FROM generate_series(0, {conversations} - 1) n;
INSERT INTO messages SELECT i, md5('c' || greatest(0, least({conversations} - 1,
        (i / 30 + (random() - 0.5) * 200)::int)))::uuid,
    (ARRAY['agent', 'contact'])[1 + i % 2], concat_ws(' ', a.sentence, md5(i::text),
        md5('b' || i), b.sentence, md5('c' || i), md5('d' || i)),
    jsonb_build_object('channel', i % 5, 'id', md5(i::text)),
    '2024-01-01'::timestamptz + i * interval '16 seconds', NULL
    FROM generate_series(0, {messages} - 1) i
    JOIN sentences a ON a.n = (i::bigint * 7919) % 20000
    JOIN sentences b ON b.n = (i::bigint * 104729 + i / 20000) % 20000 ORDER BY i;
"""
"""A message belongs to one of the conversations of its days: `30` messages each."""


@dataclass(frozen=True)
class Case:
    """One row of the table."""

    name: str
    seconds: float
    """by the run's own clock"""
    flow_seconds: float
    """until the flow was over: Prefect waits for its heart to beat once more, a second at most"""
    new_bytes: int
    steps: dict[str, float]
    reused: dict[str, Any]


def main() -> None:
    """Run it; see the module."""
    asked = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    asked.add_argument("--messages", type=int, default=1_000_000)
    asked.add_argument("--binaries", type=Path, help="of Postgres; the wheel's 18 unless told")
    asked.add_argument("--range-pages", type=int, nargs="+", default=[256, 512, 1024, 2048])
    asked.add_argument("--repeat", type=int, default=3)
    asked.add_argument("--folder", type=Path, default=None, help="where there is room")
    given = asked.parse_args()
    with workplace(given.folder) as folder, cluster(folder, given.binaries) as server:
        os.environ["PREFECT_HOME"] = str(folder / "prefect")
        url = filled(server, given.messages)
        print(f"{given.messages:,} messages, {heap_bytes(url) / 2**20:,.0f} MiB of heap")
        ensure_server()
        for number, pages in enumerate(given.range_pages):
            measure(server, url, folder / f"store{number}", pages, given)


def measure(
    server: EmbeddedPostgres, url: str, store: Path, pages: int, given: argparse.Namespace
) -> None:
    """One range size: full, nothing changed, the newest 1 % changed, 1 % scattered changed."""
    catalog = new_database(server, f"catalog_{pages}")
    names = {"DATABASE_URL": url, "CONVAULT_CATALOG_URL": catalog,
             "CONVAULT_STORE_URL": store.as_uri(), "CONVAULT_RANGE_PAGES": str(pages),
             "CONVAULT_SIGNING_KEY": "5d" * 4 + os.urandom(28).hex()}  # fmt: skip
    os.environ.update(names)
    store.mkdir(mode=0o700)
    initialise(Settings(**{name.lower(): value for name, value in names.items()}))
    program = (given.binaries or wheel_binaries()) / "pg_dump"
    dump = [dumped(program, url, store) for _ in range(given.repeat)]
    cases = [run("full", store)]
    cases += [run("nothing changed", store) for _ in range(given.repeat)]
    dump.append(dumped(program, url, store))
    share = given.messages // 100
    execute(url, f"UPDATE messages SET read_at = now() WHERE id >= {given.messages - share}")
    cases.append(run("newest 1 % changed", store))
    newest = f"SELECT n.id + {given.messages}, conversation_id, sender, body, metadata, created_at"
    execute(url, f"INSERT INTO messages {newest} FROM messages n WHERE id >= (SELECT max(id) FROM"
                 f" messages) - {share}")  # fmt: skip
    cases.append(run("1 % new", store))
    # Others for each size: rows that were updated before lie together at the end.
    execute(url, f"UPDATE messages SET read_at = now() WHERE id % 100 = {pages.bit_length()}")
    cases.append(run("1 % scattered", store))
    cases.append(run("full again", store, BackupOptions(full=True)))
    told(pages, statistics.median(dump), cases)


def told(pages: int, dump: float, cases: list[Case]) -> None:
    """Print the table of one range size."""
    whole = cases[0].new_bytes
    print(f"\nranges of {pages} pages; pg_dump | zstd -5 -T2 took {dump:.2f} s (median)")
    sys.stdout.flush()
    for case in cases:
        reused = f"{case.reused.get('ranges')}/{case.reused.get('of_ranges')} ranges"
        steps = ", ".join(f"{name} {seconds:.2f}" for name, seconds in case.steps.items())
        print(
            f"{case.name:20} {case.seconds:7.2f} s (flow {case.flow_seconds:.2f} s)"
            f" {dump / case.seconds:6.1f}x"
            f" {case.new_bytes / 2**20:9.2f} MiB {100 * case.new_bytes / whole:6.2f} %"
            f"  {reused}  ({steps})"
        )


def run(name: str, store: Path, options: BackupOptions | None = None) -> Case:
    """One backup by the flow."""
    from flows.backup import backup

    before = stored(store)
    started = time.monotonic()
    record = backup(options or BackupOptions())
    seconds = time.monotonic() - started
    assert record.metrics is not None
    steps = record.metrics["seconds"]
    return Case(name, steps["total"], seconds, stored(store) - before, steps,
                record.metrics.get("reused", {}))  # fmt: skip


def stored(store: Path) -> int:
    """Bytes of all that lies in the store."""
    return sum(path.stat().st_size for path in store.rglob("*") if path.is_file())


def dumped(program: Path, url: str, folder: Path) -> float:
    """Seconds of `pg_dump | zstd -5 -T2` into a file."""
    target = folder.parent / "dump.zst"
    started = time.monotonic()
    with target.open("wb") as output:
        dump = subprocess.Popen([program, "-d", url], stdout=subprocess.PIPE)
        subprocess.run(["zstd", "-q", "-5", "-T2"], stdin=dump.stdout, stdout=output, check=True)
        if dump.wait() != 0:
            raise SystemExit("pg_dump failed")
    seconds = time.monotonic() - started
    target.unlink()
    return seconds


def filled(server: EmbeddedPostgres, messages: int) -> str:
    """URL of a database with so many messages, vacuumed."""
    url = new_database(server, "app")
    execute(url, SCHEMA)
    execute(url, FILL.replace("{messages}", str(messages))
            .replace("{conversations}", str(max(1, messages // 30))))  # fmt: skip
    execute(url, "VACUUM ANALYZE")
    execute(url, "CHECKPOINT")
    return url


def heap_bytes(url: str) -> int:
    """Of the messages."""
    with psycopg.connect(url) as connection:
        row = connection.execute("SELECT pg_relation_size('messages')").fetchone()
    assert row is not None
    return int(row[0])


def new_database(server: EmbeddedPostgres, name: str) -> str:
    """An empty database's URL."""
    execute(server.url(), f"CREATE DATABASE {name} TEMPLATE template0")
    return server.url(name)


def execute(url: str, sql: str) -> None:
    """Run statements, each in a transaction of its own where one has to be."""
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute(sql.encode())


@contextmanager
def cluster(folder: Path, binaries: Path | None) -> Iterator[EmbeddedPostgres]:
    """A server of its own, stopped afterwards."""
    options = {"shared_buffers": "512MB", "max_wal_size": "4GB", "autovacuum": "off"}
    server = EmbeddedPostgres(folder / "cluster", binaries=binaries, options=options)
    server.start()
    try:
        yield server
    finally:
        server.destroy()


@contextmanager
def workplace(folder: Path | None) -> Iterator[Path]:
    """A folder that is removed afterwards, which every user may pass through."""
    made = Path(tempfile.mkdtemp(prefix="convault-bench-", dir=folder))
    made.chmod(0o711)
    try:
        yield made
    finally:
        shutil.rmtree(made)


if __name__ == "__main__":
    main()
