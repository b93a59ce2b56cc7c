"""How fast the API lists and downloads.

    python -m benchmarks.front_desk --mib 256

It runs in a process of its own, as `uvicorn` starts it, on an embedded Postgres. Lists: 10,000
rows, 20 clients that ask one after the other without a pause, each for the first page (what a page
that shows backups does) and each for pages all over the table. Downloads: a tar of parts of 8 MiB,
beside reading the same objects from the store and throwing them away; then 50 downloads at once,
with the memory of the process.
"""

from __future__ import annotations

import argparse
import http.client
import os
import random
import secrets
import shutil
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import psycopg

from convault.archive.composed import Archive
from convault.embedded.server import EmbeddedPostgres
from convault.installation import initialise, open_installation
from convault.settings import Settings
from tests.handmade import BACKUP, CONVERSATIONS, MESSAGES, new_backup

PATH = "/api/communication/backups"
KEY = "benchmark-key"
ROWS = """
INSERT INTO public.backups (id, status, options, created_at, updated_at, repository_id, file_name,
    file_size, rows, stored_bytes, metrics, completed_at)
SELECT gen_random_uuid(), (ARRAY['completed', 'completed', 'failed'])[1 + n % 3],
    '{"format": "json", "compressionLevel": 3, "includeMessages": true}',
    now() - n * interval '1 hour', now(), repository_id, 'backup.tar', 11840000, 92572,
    11000000,
    '{"rows": 92572, "ratio": 3.6, "seconds": {"fetch": 1.2, "compress": 0.8, "total": 2.7},
      "warnings": [], "not_included": ["public.audit_log"]}', now()
FROM generate_series(1, 10000) n, public.backup_repositories WHERE current
"""


def main() -> None:
    """Prints one line for each figure."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--mib", type=int, default=256, help="of the tar")
    parser.add_argument("--seconds", type=float, default=10)
    parser.add_argument("--clients", type=int, default=20)
    chosen = parser.parse_args()
    with _api(chosen.mib) as (port, process, settings):
        for what, paths in (("first page", [PATH]), ("any page", _pages(port))):
            times = _listed(port, paths, chosen.clients, chosen.seconds)
            cuts = statistics.quantiles(times, n=100)
            print(
                f"list, {what}: {len(times) / chosen.seconds:.0f} requests/s, "
                f"p50 {cuts[49] * 1000:.1f} ms, p99 {cuts[98] * 1000:.1f} ms"
            )
        _downloads(port, process, settings)


def _listed(port: int, paths: list[str], clients: int, seconds: float) -> list[float]:
    times: list[float] = []
    until = time.monotonic() + seconds

    def ask() -> None:
        connection = http.client.HTTPConnection("127.0.0.1", port)
        mine = []
        while time.monotonic() < until:
            started = time.monotonic()
            _get(connection, random.choice(paths)).read()
            mine.append(time.monotonic() - started)
        times.extend(mine)

    _at_once(ask, clients)
    return times


def _pages(port: int) -> list[str]:
    import json

    connection = http.client.HTTPConnection("127.0.0.1", port)
    paths, cursor = [PATH], None
    while True:
        page = json.loads(_get(connection, paths[-1]).read())
        cursor = page["next_cursor"]
        if cursor is None:
            return paths
        paths.append(f"{PATH}?cursor={cursor}")


def _downloads(port: int, process: subprocess.Popen[bytes], settings: Settings) -> None:
    repository = open_installation(settings).repository
    archive = Archive(repository, BACKUP)
    keys = [info.key for info in repository.store.list("data/")]

    def read() -> int:
        return sum(len(repository.store.get(key)) for key in keys)

    def download() -> int:
        answer = _get(http.client.HTTPConnection("127.0.0.1", port), f"{PATH}/{BACKUP}/download")
        size = 0
        while piece := answer.read(1 << 18):
            size += len(piece)
        assert size == archive.size
        return size

    for _ in range(3):
        from_store, from_api = _rate(read), _rate(download)
        print(
            f"store {from_store:.0f} MiB/s, download {from_api:.0f} MiB/s "
            f"({from_api / from_store:.2f} of it)"
        )
    before, watched = _resident(process), _Watch(process)
    started = time.monotonic()
    with watched:
        _at_once(download, 50)
    took = time.monotonic() - started
    print(
        f"50 at once: {50 * archive.size / 2**20 / took:.0f} MiB/s, resident memory "
        f"{before} MiB before, {watched.most} MiB at most"
    )


def _rate(work: Callable[[], int]) -> float:
    started = time.monotonic()
    return work() / 2**20 / (time.monotonic() - started)


class _Watch:
    """The most memory that a process takes while the block runs, in MiB."""

    def __init__(self, process: subprocess.Popen[bytes]) -> None:
        self.most, self._process, self._over = 0, process, threading.Event()
        self._thread = threading.Thread(target=self._watch)

    def __enter__(self) -> None:
        self._thread.start()

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._thread.join()

    def _watch(self) -> None:
        while not self._over.wait(0.05):
            self.most = max(self.most, _resident(self._process))


def _resident(process: subprocess.Popen[bytes]) -> int:
    status = Path(f"/proc/{process.pid}/status").read_text()
    return int(status.partition("VmRSS:")[2].split()[0]) // 1024


def _at_once(work: Callable[[], object], number: int) -> None:
    threads = [threading.Thread(target=work) for _ in range(number)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


def _get(connection: http.client.HTTPConnection, path: str) -> http.client.HTTPResponse:
    connection.request("GET", path, headers={"X-API-Key": KEY})
    answer = connection.getresponse()
    assert answer.status == 200, answer.read()
    return answer


@contextmanager
def _api(mib: int) -> Iterator[tuple[int, subprocess.Popen[bytes], Settings]]:
    """The port of an API in a process of its own, the process, and its settings."""
    base = Path(tempfile.mkdtemp(prefix="cv-bench-"))
    base.chmod(0o711)
    cluster = EmbeddedPostgres(base / "postgres")
    cluster.start()
    process = None
    try:
        store = base / "store"
        store.mkdir(mode=0o700)
        given = {
            "DATABASE_URL": cluster.url(),
            "CONVAULT_STORE_URL": store.as_uri(),
            "CONVAULT_API_KEY": KEY,
            "CONVAULT_SIGNING_KEY": secrets.token_hex(32),
        }
        settings = Settings(**{name.lower(): value for name, value in given.items()})
        initialise(settings)
        repository = open_installation(settings).repository
        parts = [_lines(8 << 20) for _ in range(mib // 8)]
        repository.put_manifest(
            new_backup(repository, {CONVERSATIONS: [], MESSAGES: parts}, level=0), settings.signing
        )
        with psycopg.connect(cluster.url()) as connection:
            connection.execute(ROWS.encode())
            connection.execute(
                "UPDATE public.backups SET id = %s WHERE id = (SELECT id FROM public.backups"
                " WHERE status = 'completed' LIMIT 1)", [BACKUP],
            )  # fmt: skip
            connection.execute("ANALYZE public.backups")
        port = random.randint(20000, 40000)
        process = subprocess.Popen(
            [sys.executable, "-m", "uvicorn", "--factory", "api.app:create_app", "--port",
             str(port), "--log-level", "warning"],
            env={**os.environ, **given},
        )  # fmt: skip
        _await(port)
        yield port, process, settings
    finally:
        if process is not None:
            process.terminate()
            process.wait()
        cluster.destroy()
        shutil.rmtree(base)


def _lines(size: int) -> bytes:
    """About so many bytes of NDJSON that no compression would make smaller."""
    return b"".join(
        b'{"id": %d, "title": "%s"}\n' % (n, secrets.token_hex(500).encode())
        for n in range(size // 1024)
    )


def _await(port: int) -> None:
    deadline = time.monotonic() + 120
    while True:
        try:
            http.client.HTTPConnection("127.0.0.1", port).request("GET", "/healthz")
            return
        except OSError:
            assert time.monotonic() < deadline
            time.sleep(0.2)


if __name__ == "__main__":
    main()
