"""The command with its catalog over the Data API: rows by SQL, no database URL for the catalog."""

from __future__ import annotations

import contextlib
import json
import os
import secrets
import signal
import subprocess
import time
from pathlib import Path

import psycopg
import pytest

from convault import errors
from convault.catalog import BackupStatus
from convault.catalog.postgres import PostgresCatalog
from convault.embedded import demo_data
from tests.catalog.conftest import EMPTY
from tests.catalog.test_data_api_rights import client
from tests.cli.conftest import COMMAND, InProcess, clean_environment
from tests.flows.application import held_back
from tests.patience import PATIENCE
from tests.prefect_server import PrefectServer
from tests.supabase_stack import SupabaseStack

pytestmark = [pytest.mark.prefect_server, pytest.mark.xdist_group("commands")]


@pytest.fixture
def catalog(catalog_supabase: SupabaseStack) -> PostgresCatalog:
    """What the Supabase's database holds, seen by its owner; empty."""
    with psycopg.connect(catalog_supabase.database_url, autocommit=True) as connection:
        connection.execute(EMPTY)
    return PostgresCatalog(catalog_supabase.database_url)


def test_backs_up_restores_and_is_fenced(
    catalog_supabase: SupabaseStack,
    catalog: PostgresCatalog,
    database: str,
    run: InProcess,
    prefect_server: PrefectServer,
    tmp_path: Path,
) -> None:
    demo_data.fill(database, messages=400)
    (tmp_path / "store").mkdir(mode=0o700)
    environment = {
        "DATABASE_URL": database,
        "CONVAULT_CATALOG_URL": "supabase",
        "CONVAULT_STORE_URL": (tmp_path / "store").as_uri(),
        "CONVAULT_SIGNING_KEY": secrets.token_hex(32),
        "SUPABASE_URL": catalog_supabase.url,
        "SUPABASE_SERVICE_ROLE_KEY": catalog_supabase.secret_key,
        "PREFECT_API_URL": prefect_server.url,
        "PREFECT_HOME": str(tmp_path),
        "CONVAULT_LOCK_TIMEOUT": str(2 * PATIENCE),  # one waits for a lock while two others run
    }
    script = run("migrations", **environment)
    with psycopg.connect(catalog_supabase.database_url, autocommit=True) as connection:
        connection.execute(script.out.encode())
    assert run("init").status == 0
    assert len(run("migrations", "--json").json["migrations"]) == script.out.count("-- 2026")

    def started() -> subprocess.Popen[str]:
        return subprocess.Popen(
            [*COMMAND, "backup", "--json"], cwd=tmp_path, env=clean_environment(**environment),
            stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
            start_new_session=True,
        )  # fmt: skip

    done = started()
    out, err = done.communicate()
    assert done.returncode == 0, err
    record = json.loads(out)
    (row,) = catalog.list()
    assert (str(row.id), row.status, row.lease_expires_at) == (
        record["id"], BackupStatus.COMPLETED, None,
    )  # fmt: skip
    assert run("list", "--json").json[0]["id"] == str(row.id)
    assert run("verify").status == 0

    # A run is stopped while it reads, its lease runs out (by the database's clock, which a test
    # cannot turn: the end is moved instead), somebody else takes it over, and it wakes up.
    with held_back(database) as let_go:
        late = started()
        with contextlib.ExitStack() as ending:
            ending.callback(late.wait)
            ending.callback(kill, late)
            while len(rows := catalog.list(status=BackupStatus.PROCESSING)) == 0:
                assert late.poll() is None
                time.sleep(0.1)
            for way in (catalog_supabase.database_url, "supabase"):
                refused = run("backup", CONVAULT_CATALOG_URL=way)
                assert (refused.status, refused.out) == (errors.BusyError.exit_code, "")
                assert "Another run of `convault backup`" in refused.err
            os.killpg(late.pid, signal.SIGSTOP)
            with psycopg.connect(catalog_supabase.database_url, autocommit=True) as connection:
                connection.execute(
                    "UPDATE public.backup_leases SET expires_at = now() WHERE holder IS NOT NULL"
                )
            let_go()
            with catalog.begin(rows[0].id, {}) as lease:
                os.killpg(late.pid, signal.SIGCONT)
                _, said = late.communicate()
                assert late.returncode == errors.LeaseLost.exit_code, said
                lease.check()
    manifests = [path.parent.name for path in (tmp_path / "store").rglob("datapackage.json")]
    assert manifests == [str(row.id)]
    assert run("init").status == 0
    assert catalog.get(rows[0].id).status is BackupStatus.FAILED
    assert catalog.get(row.id).status is BackupStatus.COMPLETED
    with client(catalog_supabase, None) as nobody:
        assert nobody.get("/backups").json() == []


def kill(process: subprocess.Popen[str]) -> None:
    """With everything that it started."""
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
