"""init, backup, list, show, download, extract and restore, on a real database and a real store."""

from __future__ import annotations

import io
import json
import os
import shutil
import stat
import subprocess
import tarfile
import time
from collections.abc import Callable
from pathlib import Path
from uuid import UUID

import psycopg
import pytest

from convault import errors
from convault.comparison import compare
from convault.embedded import demo_data
from convault.embedded.server import EmbeddedPostgres
from convault.manifest import Manifest
from convault.repository import Repository
from convault.stores import open_store
from tests.cli.conftest import (
    CHECKOUT,
    COMMAND,
    Convault,
    InProcess,
    School,
    clean_environment,
    process,
)
from tests.patience import PATIENCE
from tests.prefect_server import PrefectServer

pytestmark = [pytest.mark.prefect_server, pytest.mark.xdist_group("commands")]

END_WHO_HAS_THE_LOCK = """
    SELECT pg_terminate_backend(l.pid, 300000) FROM pg_locks l, public.backup_repositories r
    WHERE l.locktype = 'advisory' AND (l.classid::bigint << 32 | l.objid::bigint)
        = convault_lock_key('command-line backup of repository ' || r.repository_id)
"""
NewDatabase = Callable[[EmbeddedPostgres], str]


def manifest_of(school: School) -> Manifest:
    repository = Repository.open(open_store(school.environment["CONVAULT_STORE_URL"]))
    return repository.manifest(UUID(school.record["id"]))


def test_init_tells_what_it_did_and_may_be_repeated(school: School, run: InProcess) -> None:
    assert school.initialised.returncode == 0
    assert school.initialised.stdout.count("Applied migration") >= 3
    assert "Created repository" in school.initialised.stdout
    again = run("init", "--json", **school.environment)
    assert again.status == 0
    assert again.json["migrations"] == again.json["changes"] == []
    assert again.json["created"] is False
    assert again.json["repository_id"] == str(manifest_of(school).repository_id)


def test_init_refuses_another_store_unless_told(
    school: School, run: InProcess, tmp_path: Path
) -> None:
    (tmp_path / "other").mkdir()
    other = {**school.environment, "CONVAULT_STORE_URL": (tmp_path / "other").as_uri()}
    refused = run("init", **other)
    assert refused.status == errors.RepositoryError.exit_code
    assert "--new-repository" in refused.err
    turned = run("init", "--new-repository", **other)
    assert turned.status == 0
    assert "turned from repository" in turned.out
    back = run("init", "--new-repository", **school.environment)
    assert back.status == 0


def test_backup_prints_its_row_and_nothing_else(school: School) -> None:
    record = school.record  # which parses: nothing of Prefect's is on stdout
    assert record["status"] == "completed"
    assert record["options"]["compressionLevel"] == 9
    assert record["flow_run_id"]
    with psycopg.connect(school.database) as connection:
        counts = [
            connection.execute(f"SELECT count(*) FROM ONLY {t.name.quoted}").fetchone()
            for t in manifest_of(school).tables
        ]
    assert record["rows"] == sum(row[0] for row in counts if row) > 400


def test_backup_tells_its_progress_in_plain_lines(school: School) -> None:
    lines = school.backed_up.stderr.splitlines()
    assert lines[0] == "prefect: starting"
    assert any(line.startswith("upload: ") for line in lines)
    assert "|" not in school.backed_up.stderr, "these are Prefect's log lines"


def test_the_closure_leaves_settings_out(school: School) -> None:
    names = {table.name.name for table in manifest_of(school).tables}
    assert {"channels", "contacts", "messages", "message_events_2025_09"} < names
    assert "settings" not in names
    assert "backups" not in names


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        (["--compression-level", "23"], "compressionLevel"),
        (["--format", "xml"], "format"),
        (["--options", '{"compresionLevel": 1}'], "compresionLevel"),
        (["--options", "{"], "not JSON"),
        (["--options", "[]"], "object"),
    ],
)
def test_backup_refuses_options(
    school: School, run: InProcess, arguments: list[str], reason: str
) -> None:
    refused = run("backup", *arguments, **school.environment)
    assert refused.status == errors.OptionsError.exit_code
    assert refused.out == ""
    assert reason in refused.err


def test_a_failed_backup_ends_with_the_status_of_its_error(
    database: str, prefect_server: PrefectServer, tmp_path: Path
) -> None:
    """One line tells why, and Prefect's traceback stays in Prefect."""
    folder = tmp_path / "empty"
    (folder / "store").mkdir(parents=True, mode=0o700)
    environment = {
        "DATABASE_URL": database,
        "CONVAULT_STORE_URL": (folder / "store").as_uri(),
    }
    before = process(folder, "backup", **environment)
    assert before.returncode == errors.CatalogError.exit_code
    assert "convault init" in before.stderr
    assert process(folder, "init", **environment).returncode == 0
    # What is not there is refused before there is a row, and before Prefect is asked for.
    refused = process(folder, "backup", **environment)
    assert refused.returncode == errors.MissingTable.exit_code
    assert "public.conversations" in refused.stderr
    assert process(folder, "list", **environment).stdout == ""
    with psycopg.connect(database, autocommit=True) as connection:
        connection.execute("CREATE TABLE conversations (id integer PRIMARY KEY)")
        connection.execute("CREATE TABLE messages (id integer REFERENCES conversations)")
        with connection.transaction():
            connection.execute("LOCK TABLE conversations IN ACCESS EXCLUSIVE MODE")
            done = process(
                folder, "backup", **environment, CONVAULT_LOCK_TIMEOUT="0.2",
                PREFECT_API_URL=prefect_server.url, PREFECT_HOME=str(folder),
            )  # fmt: skip
    assert done.returncode == errors.LockNotAvailable.exit_code
    assert done.stdout == ""
    last = done.stderr.splitlines()[-1]
    assert last.startswith("convault: ")
    assert "CONVAULT_LOCK_TIMEOUT" in last
    assert "Traceback" not in done.stderr
    listed = process(folder, "list", **environment)
    assert "failed" in listed.stdout
    assert last.removeprefix("convault: ") in listed.stdout
    shown = process(folder, "show", listed.stdout.splitlines()[1].split()[0], **environment)
    assert shown.returncode == 0
    assert last.removeprefix("convault: ") in shown.stdout


def test_backup_says_so_when_prefect_cannot_be_reached(school: School, convault: Convault) -> None:
    done = convault(
        "backup", **school.environment,
        PREFECT_API_URL="http://127.0.0.1:9/api", PREFECT_CLIENT_MAX_RETRIES="0",
    )  # fmt: skip
    assert done.returncode == errors.PrefectUnavailable.exit_code
    assert "PREFECT_API_URL" in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.long
def test_from_plain_cron_it_needs_no_server_and_never_runs_twice_at_once(
    database: str, tmp_path: Path
) -> None:
    """Two that begin together, each with what cron gives it, of two users, who may as well have two
    machines: they share catalog and store alone. A lock holds the first one back."""
    demo_data.fill(database, messages=40)
    (tmp_path / "store").mkdir(mode=0o700)
    settings = {
        "DATABASE_URL": database, "CONVAULT_STORE_URL": (tmp_path / "store").as_uri(),
        "CONVAULT_LOCK_TIMEOUT": "600",
    }  # fmt: skip
    assert process(tmp_path, "init", **settings).returncode == 0
    cron = {"PATH": "/usr/bin:/bin", "PYTHONPATH": str(CHECKOUT)}
    homes = [tmp_path / "one", tmp_path / "other"]
    for home in homes:
        home.mkdir()
    with psycopg.connect(database) as connection:
        connection.execute("LOCK TABLE messages IN ACCESS EXCLUSIVE MODE")
        both = [
            subprocess.Popen(
                [*COMMAND, "backup", "--json"], cwd=tmp_path,
                env={
                    **cron, **settings, "HOME": str(home), "PREFECT_HOME": str(home / "prefect"),
                    "CONVAULT_LOCK_TIMEOUT": str(PATIENCE),
                },
                stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
            )
            for home in homes
        ]  # fmt: skip
        deadline = time.monotonic() + PATIENCE
        while all(each.poll() is None for each in both) and time.monotonic() < deadline:
            time.sleep(0.2)
        # Who loses the lock in the middle goes on.
        assert connection.execute(END_WHO_HAS_THE_LOCK).fetchall() == [(True,)]
    outputs = [each.communicate(timeout=PATIENCE) for each in both]
    ended = {each.returncode: output for each, output in zip(both, outputs, strict=True)}
    assert ended.keys() == {0, errors.BusyError.exit_code}, outputs
    assert "Another run of `convault backup`" in ended[errors.BusyError.exit_code][1]
    made = json.loads(ended[0][0])
    rows = json.loads(process(tmp_path, "list", "--json", **settings).stdout)
    assert [(row["id"], row["status"]) for row in rows] == [(made["id"], "completed")]


def test_list(school: School, run: InProcess) -> None:
    listed = run("list", **school.environment)
    assert listed.status == 0
    header, row = listed.out.splitlines()
    columns = "id created status rows stored new ratio time drill"
    assert header.split() == columns.split()
    assert row.startswith(school.record["id"][:8])
    assert "completed" in row
    expected = {**school.record, "signature": "unchecked"}  # the key is in another folder
    assert run("list", "--json", **school.environment).json == [expected]
    assert run("list", "--limit", "1", "--json", **school.environment).json == [expected]


def test_list_of_nothing(database: str, run: InProcess, tmp_path: Path) -> None:
    (tmp_path / "store").mkdir(mode=0o700)
    environment = {"DATABASE_URL": database, "CONVAULT_STORE_URL": (tmp_path / "store").as_uri()}
    assert run("init", **environment).status == 0
    listed = run("list", **environment)
    assert (listed.status, listed.out) == (0, "")
    assert "convault backup" in listed.err
    assert run("list", "--json", **environment).json == []
    latest = run("show", "latest", **environment)
    assert latest.status == errors.NotFoundError.exit_code


def test_show(school: School, run: InProcess) -> None:
    shown = run("show", school.record["id"][:8], **school.environment)
    manifest = manifest_of(school)
    assert shown.status == 0
    for expected in (
        school.record["id"], "completed", str(school.store), manifest.source.snapshot,
        manifest.source.system_identifier, '"compressionLevel": 9', "public.messages", "fetch",
        school.record["flow_run_id"], "public.settings",
    ):  # fmt: skip
        assert expected in shown.out
    assert school.record["metrics"]["not_included"] == ["public.settings"]
    found = run("show", "latest", "--json", **school.environment).json
    assert found["backup"] == school.record
    assert found["contents"]["rows"] == manifest.rows
    assert sum(t["rows"] for t in found["contents"]["tables"]) == manifest.rows
    assert sum(t["plain_bytes"] for t in found["contents"]["tables"]) == manifest.plain_bytes
    assert (school.store / found["manifest_key"]).is_file()


def test_a_backup_that_only_the_store_knows_is_shown(
    school: School, run: InProcess, database: str
) -> None:
    """A catalog that knows the repository and none of its backups, as after a restore of it."""
    manifest = manifest_of(school)
    environment = {**school.environment, "DATABASE_URL": database}
    assert run("init", **environment).status == 0
    with psycopg.connect(database, autocommit=True) as connection:
        connection.execute("DELETE FROM backups")
    listed = run("list", **environment)
    assert "1 more, not listed yet: run `convault init`" in listed.err
    shown = run("show", str(manifest.backup_id)[:6], **environment)
    assert shown.status == 0
    assert "public.messages" in shown.out
    assert "convault init" in shown.err
    assert run("init", **environment).out.count("now listed") == 1
    assert len(run("list", "--json", **environment).json) == 1


@pytest.mark.parametrize("command", [["show"], ["download"], ["extract"], ["restore"]])
@pytest.mark.parametrize("name", ["ffffffff-ffff-4fff-bfff-ffffffffffff", "zz", "f" * 12])
def test_no_such_backup(school: School, run: InProcess, command: list[str], name: str) -> None:
    more = {"extract": ["folder"], "restore": ["--into", school.database]}.get(command[0], [])
    refused = run(*command, name, *more, **school.environment)
    assert refused.status == errors.NotFoundError.exit_code
    assert refused.out == ""
    assert name in refused.err


def test_download_writes_the_archive(school: School, run: InProcess) -> None:
    done = run("download", "latest", "--json", **school.environment)
    path = Path(done.json["file"])
    assert path == Path.cwd() / school.record["file_name"]
    assert path.stat().st_size == done.json["bytes"] == school.record["file_size"]
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert os.listdir() == [path.name]  # noqa: PTH208 - no scratch file is left
    with tarfile.open(path) as tar:
        assert tar.getnames()[0] == "datapackage.json"


def test_download_to_a_name_a_folder_and_stdout(school: School, convault: Convault) -> None:
    named = convault("download", "latest", "-o", "school.tar", **school.environment)
    assert named.returncode == 0
    assert named.stdout.endswith("school.tar\n")
    path = Path(named.stdout.strip())
    (path.parent / "folder").mkdir()
    inside = convault("download", "latest", "-o", "folder", **school.environment)
    assert Path(inside.stdout.strip()).parent == path.parent / "folder"
    piped = subprocess.run(
        [*COMMAND, "download", "latest", "-o", "-"],
        env=clean_environment(**school.environment), capture_output=True, check=True,
    )  # fmt: skip
    assert piped.stdout == path.read_bytes()


def test_download_never_overwrites_unless_forced(school: School, run: InProcess) -> None:
    Path("a.tar").write_text("mine")
    refused = run("download", "latest", "-o", "a.tar", **school.environment)
    assert refused.status == errors.ConfigurationError.exit_code
    assert "--force" in refused.err
    assert Path("a.tar").read_text() == "mine"
    forced = run("download", "latest", "-o", "a.tar", "--force", **school.environment)
    assert forced.status == 0
    assert Path("a.tar").stat().st_size == school.record["file_size"]
    absent = run("download", "latest", "-o", "no/such/a.tar", **school.environment)
    assert absent.status == errors.ConfigurationError.exit_code


def damaged_copy(school: School, folder: Path) -> dict[str, str]:
    """The store, copied, with one byte of the largest part changed."""
    shutil.copytree(school.store, folder)
    part = max((folder / "data").rglob("*.zst"), key=lambda path: path.stat().st_size)
    content = bytearray(part.read_bytes())
    content[len(content) // 2] ^= 1
    part.chmod(0o600)
    part.write_bytes(content)
    return {**school.environment, "CONVAULT_STORE_URL": folder.as_uri()}


def test_nothing_is_left_of_a_damaged_download(
    school: School, run: InProcess, tmp_path: Path
) -> None:
    environment = damaged_copy(school, tmp_path / "copy")
    done = run("download", "latest", "-o", "a.tar", **environment)
    assert done.status == errors.IntegrityError.exit_code
    assert not list(Path.cwd().iterdir())
    done = run("extract", "latest", "folder", **environment)
    assert done.status == errors.IntegrityError.exit_code
    assert not list(Path.cwd().iterdir())


def test_extract_from_the_store_and_from_a_tar(
    school: School, run: InProcess, monkeypatch: pytest.MonkeyPatch
) -> None:
    stored = run("extract", "latest", "stored", "--json", **school.environment)
    assert stored.status == 0
    assert run("download", "latest", "-o", "a.tar", **school.environment).status == 0
    for name in school.environment:
        monkeypatch.delenv(name)
    from_tar = run("extract", "a.tar", "from-tar")  # which needs no settings at all
    assert from_tar.status == 0
    assert from_tar.out == f"{Path.cwd() / 'from-tar'}\n"
    files = {p.relative_to("stored") for p in Path("stored").rglob("*") if p.is_file()}
    assert len(files) == stored.json["files"]
    assert sum((Path("stored") / f).stat().st_size for f in files) == stored.json["bytes"]
    for file in files:
        assert (Path("stored") / file).read_bytes() == (Path("from-tar") / file).read_bytes()
    again = run("extract", "a.tar", "from-tar")
    assert again.status == errors.ConfigurationError.exit_code


def test_extract_refuses_a_tar_that_is_none(run: InProcess) -> None:
    with tarfile.open("evil.tar", "w") as tar:
        member = tarfile.TarInfo("../evil")
        member.size = 4
        tar.addfile(member, io.BytesIO(b"evil"))
    refused = run("extract", "evil.tar", "folder")
    assert refused.status == errors.IntegrityError.exit_code
    assert os.listdir() == ["evil.tar"]  # noqa: PTH208
    absent = run("extract", "absent.tar", "folder")
    assert absent.status == errors.NotFoundError.exit_code


def test_restore_into_each_kind_of_target(
    school: School, run: InProcess, cluster: EmbeddedPostgres, new_database: NewDatabase
) -> None:
    manifest = manifest_of(school)
    tables = [table.name for table in manifest.tables]
    url = new_database(cluster)
    done = run("restore", "latest", "--into", url, "--json", **school.restoring)
    assert done.status == 0, done.err
    assert done.json["rows"] == manifest.rows
    assert done.json["left_out"] == []
    assert all(result.equal for result in compare(school.database, url, tables))

    url = new_database(cluster)
    Path("url").write_text(f"{url}\n")
    Path("url").chmod(0o600)
    done = run("restore", school.record["id"], "--into-file", "url", **school.restoring)
    assert done.status == 0
    assert "public.messages" in done.out
    assert "Restored" in done.err

    url = new_database(cluster)
    done = run(
        "restore", "latest", "--target", "copy", CONVAULT_TARGET_COPY_URL=url, **school.restoring
    )
    assert done.status == 0
    assert all(result.equal for result in compare(school.database, url, tables))


def test_restore_takes_a_url_from_stdin_and_refuses_a_full_database(
    school: School, convault: Convault
) -> None:
    done = convault(
        "restore", "latest", "--into-file", "-", stdin=f"{school.database}\n", **school.restoring
    )
    assert done.returncode == errors.RestoreError.exit_code
    assert done.stdout == ""
    assert "holds rows of the backup already" in done.stderr
