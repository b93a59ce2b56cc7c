"""Where a drill works, and that nothing is left of it, however it ended."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import psycopg
import pytest

from convault.drill import scratch
from convault.drill.borrowed import borrowed
from convault.drill.scratch import embedded
from convault.embedded.server import EmbeddedPostgres
from convault.errors import BusyError, ConfigurationError
from convault.restore import restore
from tests.cli.conftest import CHECKOUT
from tests.drill.conftest import Backup
from tests.patience import PATIENCE
from tests.processes import await_end, processes_of

HOLDER = """
import sys, time
from pathlib import Path
from cli.ending import ended_properly
from convault.drill.borrowed import borrowed
from convault.drill.scratch import embedded
from convault.manifest import Manifest
from convault.repository import Repository
from convault.restore import restore
from convault.stores import open_store
kind, place, store = sys.argv[1:]
repository = Repository.open(open_store(store))
(backup_id,) = repository.backup_ids()
manifest = repository.manifest(backup_id)
with ended_properly():
    with embedded(Path(place), manifest) if kind == "embedded" else borrowed(place, manifest) as at:
        restore(repository, manifest, at.url)
        print("restored", flush=True)
        time.sleep(120)
"""


@pytest.fixture
def hold(backup: Backup, tmp_path: Path) -> Callable[[str, str], subprocess.Popen[str]]:
    """Start a process that is in the middle of a drill."""
    from convault.repository import Repository
    from convault.stores.folder import FolderStore

    store = FolderStore.create(tmp_path / "store", (tmp_path / "store").as_uri())
    for info in backup.repository.store.list():
        store.put(info.key, backup.repository.store.get(info.key))
    repository = Repository.open(store)
    if not repository.backup_ids():
        repository.put_manifest(backup.manifest)

    def start(kind: str, place: str) -> subprocess.Popen[str]:
        process = subprocess.Popen(
            [sys.executable, "-c", HOLDER, kind, place, (tmp_path / "store").as_uri()],
            stdout=subprocess.PIPE, text=True, env={**os.environ, "PYTHONPATH": str(CHECKOUT)},
        )  # fmt: skip
        assert process.stdout is not None
        assert process.stdout.readline() == "restored\n"
        return process

    return start


def end(process: subprocess.Popen[str], number: int) -> int:
    process.send_signal(number)
    status = process.wait(PATIENCE)
    assert process.stdout is not None
    process.stdout.close()
    return status


def test_the_embedded_place_is_gone_after_an_error(backup: Backup, folder: Path) -> None:
    with pytest.raises(KeyboardInterrupt):
        powerless(folder, backup)
    assert [path.name for path in folder.iterdir()] == ["lock"]
    await_end(folder)


def powerless(folder: Path, backup: Backup) -> None:
    """What the role may not do; then Ctrl-C."""
    with embedded(folder, backup.manifest) as place, psycopg.connect(place.url) as connection:
        powers = connection.execute(
            "SELECT rolsuper, rolcreaterole, rolcreatedb, rolreplication,"
            " pg_has_role('pg_execute_server_program', 'MEMBER'),"
            " pg_has_role('pg_read_server_files', 'MEMBER'),"
            " pg_has_role('pg_write_server_files', 'MEMBER')"
            " FROM pg_roles WHERE rolname = current_user"
        ).fetchone()
        assert powers == (False,) * 7
        for forbidden in ("COPY (SELECT 1) TO PROGRAM 'true'", "COPY (SELECT 1) TO '/tmp/x'",
                          "SELECT pg_read_file('/etc/passwd')", "SET ROLE postgres"):  # fmt: skip
            with pytest.raises(psycopg.errors.InsufficientPrivilege):
                connection.execute(forbidden.encode())
            connection.rollback()
        assert processes_of(folder)
        raise KeyboardInterrupt


def test_a_signal_leaves_nothing_embedded(
    hold: Callable[[str, str], subprocess.Popen[str]], folder: Path
) -> None:
    assert end(hold("embedded", str(folder)), signal.SIGTERM) == 128 + signal.SIGTERM
    assert [path.name for path in folder.iterdir()] == ["lock"]
    await_end(folder)


def test_after_sigkill_the_next_drill_clears_up_and_leaves_running_ones_alone(
    hold: Callable[[str, str], subprocess.Popen[str]], backup: Backup, folder: Path
) -> None:
    killed = hold("embedded", str(folder))
    assert end(killed, signal.SIGKILL) == -signal.SIGKILL
    (left,) = [path for path in folder.iterdir() if path.is_dir()]
    assert processes_of(left), "its Postgres lives on"
    with embedded(folder, backup.manifest) as place:
        assert not left.exists()
        await_end(left)
        assert scratch.sweep(folder) == 0
        with psycopg.connect(place.url) as connection:
            assert connection.execute("SELECT 1").fetchone() == (1,)
    assert scratch.sweep(folder) == 0
    assert [path.name for path in folder.iterdir()] == ["lock"]


def test_a_folder_that_cannot_be_used_is_refused(backup: Backup, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with (
        pytest.raises(ConfigurationError, match="cannot work in"),
        embedded(tmp_path / "file" / "drill", backup.manifest),
    ):
        pass


# A scratch database of the operator's


def state(url: str) -> list[object]:
    """Everything that somebody may have made, and the database's comment."""
    with psycopg.connect(url) as connection:
        return connection.execute(
            "SELECT 'relation', relname::text FROM pg_class WHERE relnamespace::regnamespace::text"
            " NOT IN ('pg_catalog', 'pg_toast', 'information_schema')"
            " UNION SELECT 'type', typname FROM pg_type WHERE typnamespace::regnamespace::text"
            " NOT IN ('pg_catalog', 'information_schema', 'pg_toast')"
            " UNION SELECT 'function', proname FROM pg_proc WHERE pronamespace::regnamespace::text"
            " NOT IN ('pg_catalog', 'information_schema')"
            " UNION SELECT 'schema', nspname FROM pg_namespace WHERE nspname NOT LIKE 'pg\\_t%'"
            " UNION SELECT 'extension', extname FROM pg_extension"
            " UNION SELECT 'comment', shobj_description(oid, 'pg_database') FROM pg_database"
            " WHERE datname = current_database() ORDER BY 1, 2"
        ).fetchall()


@pytest.fixture
def commented(scratch_url: str) -> str:
    with psycopg.connect(scratch_url) as connection:
        name = connection.info.dbname
        connection.execute(f"COMMENT ON DATABASE {name} IS 'for drills'".encode())
        connection.execute("CREATE SCHEMA auth; CREATE TABLE auth.users (id uuid PRIMARY KEY)")
    return scratch_url


def test_the_scratch_database_is_as_it_was_after_success_and_failure(
    backup: Backup, commented: str
) -> None:
    before = state(commented)
    with borrowed(commented, backup.manifest) as place:
        restore(backup.repository, backup.manifest, place.url)
        assert len(state(commented)) > len(before) + 10
    assert state(commented) == before
    with pytest.raises(ZeroDivisionError):
        failing(backup, commented)
    assert state(commented) == before


def failing(backup: Backup, url: str) -> None:
    with borrowed(url, backup.manifest) as place:
        restore(backup.repository, backup.manifest, place.url)
        raise ZeroDivisionError


def test_after_signals_the_scratch_database_is_as_it_was(
    hold: Callable[[str, str], subprocess.Popen[str]], backup: Backup, commented: str
) -> None:
    before = state(commented)
    end(hold("borrowed", commented), signal.SIGTERM)
    assert state(commented) == before
    end(hold("borrowed", commented), signal.SIGKILL)
    assert ("relation", "messages_old") in state(commented)
    deadline = time.monotonic() + PATIENCE
    while True:  # until the server has noticed that its client is gone
        try:
            with borrowed(commented, backup.manifest):
                assert ("relation", "messages_old") not in state(commented)
            break
        except BusyError:
            assert time.monotonic() < deadline
            time.sleep(0.1)
    assert state(commented) == before


@pytest.mark.parametrize(
    "made", ["CREATE TABLE mine (x int)", "CREATE VIEW mine AS SELECT 1",
             "CREATE SCHEMA s; CREATE TABLE s.mine (x int)"]
)  # fmt: skip
def test_tables_that_no_drill_made_are_refused(backup: Backup, scratch_url: str, made: str) -> None:
    with psycopg.connect(scratch_url) as connection:
        connection.execute(made.encode())
    before = state(scratch_url)
    refused = pytest.raises(ConfigurationError, match=r"tables that no drill made: \w+\.mine\.")
    with refused, borrowed(scratch_url, backup.manifest):
        pass
    assert state(scratch_url) == before


def test_a_table_among_those_of_a_drill_that_was_killed_is_refused_too(
    hold: Callable[[str, str], subprocess.Popen[str]], backup: Backup, scratch_url: str
) -> None:
    end(hold("borrowed", scratch_url), signal.SIGKILL)
    with psycopg.connect(scratch_url) as connection:
        connection.execute("CREATE TABLE mine (x int)")
    before = state(scratch_url)
    deadline = time.monotonic() + PATIENCE
    refused: BaseException = BusyError("")
    while isinstance(refused, BusyError) and time.monotonic() < deadline:
        with (
            pytest.raises((ConfigurationError, BusyError)) as caught,
            borrowed(scratch_url, backup.manifest),
        ):
            pass
        refused = caught.value
    assert "public.mine" in str(refused)
    assert state(scratch_url) == before


def test_two_at_once_are_refused(backup: Backup, scratch_url: str) -> None:
    with (
        borrowed(scratch_url, backup.manifest),
        pytest.raises(BusyError),
        borrowed(scratch_url, backup.manifest),
    ):
        pass


def test_a_role_that_may_do_more_is_refused(
    backup: Backup, cluster: EmbeddedPostgres, scratch_url: str, role: str
) -> None:
    name = scratch_url.partition("@/")[2].partition("?")[0]
    with (
        pytest.raises(ConfigurationError, match="is a superuser"),
        borrowed(cluster.url(name), backup.manifest),
    ):
        pass
    with psycopg.connect(cluster.url(), autocommit=True) as connection:
        connection.execute(f"GRANT pg_read_server_files TO {role}".encode())
        try:
            with (
                pytest.raises(ConfigurationError, match="member of pg_read_server_files"),
                borrowed(scratch_url, backup.manifest),
            ):
                pass
        finally:
            connection.execute(f"REVOKE pg_read_server_files FROM {role}".encode())
        connection.execute(f"ALTER DATABASE {name} OWNER TO postgres".encode())
    with (
        pytest.raises(ConfigurationError, match="does not own"),
        borrowed(scratch_url, backup.manifest),
    ):
        pass
