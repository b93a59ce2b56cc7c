"""SIGKILL at random moments of a restore: the target is as it was, or complete."""

from __future__ import annotations

import json
import os
import random
import subprocess
import sys
from collections.abc import Callable, Iterator
from typing import Any

import psycopg
import pytest

from convault.embedded.server import EmbeddedPostgres
from convault.manifest import Manifest
from convault.repository import Repository
from convault.stores import open_store
from tests.patience import PATIENCE, awaited
from tests.prefect_server import CHECKOUT
from tests.restore.builder import back_up
from tests.restore.plain_owner import owned_database
from tests.restore.test_live import DAMAGE, GUARDED, ROWS, SCHEMA, content, run, state, superuser
from tests.restore.test_selection import rows
from tests.soak import count

pytestmark = pytest.mark.soak

KILLS = count(5, 30)
MORE = """
INSERT INTO public.messages (conversation_id, body)
    SELECT 1 + n % 10, repeat(md5(n::text), 20) FROM generate_series(1, 5000) n;
"""


@pytest.fixture(scope="module")
def source(cluster: EmbeddedPostgres) -> Iterator[str]:
    with owned_database(cluster) as url:
        run(url, SCHEMA, ROWS, MORE)
        yield url


@pytest.fixture(scope="module")
def stored(source: str, tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    folder = tmp_path_factory.mktemp("stored")
    store = f"file://{folder}/store"
    manifest: Manifest = back_up(Repository.create(open_store(store, create=True)), source)
    (folder / "manifest.json").write_bytes(manifest.to_bytes())
    return {"store": store, "manifest": str(folder / "manifest.json")}


@pytest.fixture
def victim(stored: dict[str, str]) -> Iterator[Callable[..., dict[str, Any]]]:
    process = subprocess.Popen(
        [sys.executable, "-m", "tests.restore.victim"],
        cwd=CHECKOUT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
        env={**os.environ, "POLARS_MAX_THREADS": "1"},
    )  # fmt: skip

    def order(target: str, seconds: float, **options: object) -> dict[str, Any]:
        assert process.stdin is not None
        assert process.stdout is not None
        line = json.dumps({**stored, "target": target, "seconds": seconds, "options": options})
        process.stdin.write(line + "\n")
        process.stdin.flush()
        answer: dict[str, Any] = json.loads(process.stdout.readline())
        _await_end(target)
        return answer

    yield order
    assert process.stdin is not None
    process.stdin.close()
    process.wait(PATIENCE)
    assert process.stdout is not None
    process.stdout.close()


def _await_end(url: str) -> None:
    """The server notices that its client is gone when it next reads or writes."""
    with psycopg.connect(superuser(url), autocommit=True) as connection:
        others = (
            "SELECT FROM pg_stat_activity WHERE datname = current_database()"
            " AND pid <> pg_backend_pid() AND backend_type = 'client backend'"
        )
        awaited(lambda: connection.execute(others).fetchone() is None, pause=0.01)


def test_an_empty_database_stays_empty_or_is_complete(
    source: str, victim: Callable[..., dict[str, Any]], cluster: EmbeddedPostgres,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    seed = random.randrange(2**32)
    rng = random.Random(seed)
    relations = "SELECT count(*) FROM pg_class WHERE relnamespace = 'public'::regnamespace"
    with owned_database(cluster) as target:
        whole = victim(target, PATIENCE)
        assert whole["status"] == 0
        complete = content(source)
        assert content(target) == complete
    killed, shortest = 0, float(whole["seconds"])
    with owned_database(cluster) as target:
        while killed < KILLS:
            ended = victim(target, rng.uniform(0, shortest * 1.1))
            killed += ended["status"] != 0
            if ended["status"] == 0:  # the first one may have been slow
                shortest = min(shortest, ended["seconds"])
            if rows(target, relations) == [(0,)]:
                continue
            assert content(target) == complete
            run(superuser(target), "DROP SCHEMA public CASCADE", "CREATE SCHEMA public",
                f"ALTER SCHEMA public OWNER TO {target.split('//')[1].split('@')[0]}")  # fmt: skip
        assert victim(target, PATIENCE)["status"] == 0
        assert content(target) == complete
    with capsys.disabled():
        print(f"\nseed {seed}: {killed} kills of a restore of {shortest:.2f} s")


def test_live_tables_are_as_they_were_or_replaced(
    victim: Callable[..., dict[str, Any]], source: str, cluster: EmbeddedPostgres
) -> None:
    rng = random.Random(random.randrange(2**32))
    with owned_database(cluster) as target:
        run(target, SCHEMA, ROWS, MORE, GUARDED)
        replaced = content(target)
        run(superuser(target), DAMAGE.replace("1000", "900000"), "TRUNCATE outbox")
        before = content(target), state(target)
        whole, kills = 3.0, 0
        while kills < KILLS:
            ended = victim(target, rng.uniform(0, whole), mode="replace")
            kills += ended["status"] != 0
            assert rows(target, "SELECT * FROM outbox") == []
            assert state(target) == before[1]
            if ended["status"] == 0:
                whole = min(whole, ended["seconds"])
            if content(target) == before[0]:
                assert ended["status"] != 0
                continue
            assert content(target) == replaced
            run(superuser(target), DAMAGE.replace("1000", "900000"), "TRUNCATE outbox")
            before = content(target), state(target)
