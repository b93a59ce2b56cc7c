"""The runs whose traces tests/test_canary.py searches."""

from __future__ import annotations

import json
import logging
import re
import secrets
import shutil
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from io import StringIO
from pathlib import Path
from typing import Any

import httpx
import psycopg
import pytest
import zstandard
from prefect.settings import PREFECT_API_URL, temporary_settings

from api.app import create_app
from convault.catalog import BackupStatus, open_catalog
from convault.embedded.server import EmbeddedPostgres
from convault.installation import initialise
from convault.schedule import id_of
from convault.settings import Settings
from deployments.workers import POOL
from tests.api.routes_by_row import ROWS
from tests.canaries import Place, files, found, marker
from tests.curl_examples import run_examples
from tests.databases import drop_database
from tests.notify.receivers import http_receiver
from tests.patience import PATIENCE, awaited
from tests.prefect_server import PrefectServer
from tests.prefect_worker import worker
from tests.serving import PATH, client_of, served

SCHEMA = """
CREATE TABLE channels (id uuid PRIMARY KEY, name text);
CREATE TABLE conversations (id uuid PRIMARY KEY, channel_id uuid REFERENCES channels, subject text);
CREATE TABLE messages (
    id uuid PRIMARY KEY, conversation_id uuid REFERENCES conversations, body text,
    metadata jsonb, tags text[]
);
"""
INSERTS = """
WITH channel AS (
    INSERT INTO channels VALUES (gen_random_uuid(), %(name)s) RETURNING id
), conversation AS (
    INSERT INTO conversations SELECT gen_random_uuid(), id, %(subject)s FROM channel RETURNING id
)
INSERT INTO messages
SELECT gen_random_uuid(), id, %(body)s, jsonb_build_object('phone', %(phone)s::text), ARRAY[%(tag)s]
FROM conversation, generate_series(1, 50)
"""
WEBHOOK = """
CREATE FUNCTION posts() RETURNS trigger LANGUAGE plpgsql AS
    $$ BEGIN PERFORM '{{"Authorization": "Bearer {webhook}"}}'; RETURN NEW; END $$;
CREATE TRIGGER hook AFTER INSERT ON messages FOR EACH ROW
    EXECUTE FUNCTION posts('https://example.org', '{{"apikey": "sb_secret_{webhook}"}}');
COMMENT ON TRIGGER hook ON messages IS 'authorization: bearer {webhook}';
"""
"""Secrets in the schema."""

UNREADABLE = "ALTER TABLE messages ADD number integer GENERATED ALWAYS AS (body::integer) VIRTUAL"
"""Postgres quotes the row when it reads this: `invalid input syntax for type integer: "..."`."""

RUNS = """
import json, os, sys, traceback
from convault.models import BackupOptions
from flows.backup import backup
from flows.cleanup import cleanup
from flows.drill import drill
from flows.replicate import replicate
from flows.restore import restore
from flows.verify import verify
from flows.watch import watch

FLOWS = {
    "backup": lambda: backup(BackupOptions(compression_level=5)),
    "restore": lambda: restore(os.environ["BACKUP"], os.environ["INTO"]),
    "verify": lambda: verify(read_data="all"),
    "drill": lambda: drill(into="scratch"),
    "cleanup": cleanup,
    "replicate": replicate,
    "watch": watch,
}

for name, flow, environment in json.load(sys.stdin):
    os.environ.update(environment)
    try:
        FLOWS[flow]()
    except Exception as error:
        traceback.print_exc()
        print("ended", name, type(error).__name__)
    else:
        print("ended", name, "well")
"""

LEAK = """
import sys
from prefect import flow, get_run_logger, task
from prefect.artifacts import create_markdown_artifact

CONTROL = sys.stdin.read()

def said(place):
    return CONTROL + place

@task(persist_result=True, result_serializer="pickle", task_run_name=said("task"))
def leak():
    get_run_logger().info(said("log"))
    create_markdown_artifact(said("artifact"), key="canary-control")
    return said("result")

@flow(name="canary-control")
def control(parameter):
    leak()
    print(said("stdout"))
    raise ValueError(said("error"))

control(said("parameter"))
"""
FLOWS = re.findall(r"^from flows\.\w+ import (\w+)$", RUNS, re.MULTILINE)
LEAKS = ("task", "log", "artifact", "result", "error", "parameter")
"""where the flow that leaks on purpose does it"""


class Evidence:
    """What a set of runs left behind, and the words that were marked before."""

    def __init__(self) -> None:
        self.secrets = {
            name: marker(name)
            for name in (
                "password", "wrongpassword", "brokenurl", "apikey", "webhook", "inbody", "channel",
                "deadchannel", "ping", "maskkey", "copykey",
            )
        }  # fmt: skip
        self.secrets["signingkey"] = secrets.token_hex(32)
        self.rows = {name: marker(name) for name in ("name", "subject", "body", "phone", "tag")}
        self.control = marker("control")
        self.links: list[str] = []
        """tokens of download links"""
        self.ended: dict[str, str] = {}
        """how each run ended: `well`, or the class of its error"""
        self.answers: list[str] = []
        """of the API"""
        self.places: dict[str, list[Place]] = {}
        """stdout and stderr, Prefect's home, catalog, store, copy and tar (without parts), API,
        processes, messages to whoever is to be told"""
        self.parts: list[Place] = []
        """the rows of all parts"""


@contextmanager
def everything_run(
    cluster: EmbeddedPostgres, server: PrefectServer, folder: Path
) -> Iterator[Evidence]:
    """A run through API and worker, runs that succeed and fail, and one that leaks on purpose."""
    evidence = Evidence()
    store, broken_store, copy = folder / "store", folder / "broken", folder / "copy"
    store.mkdir(mode=0o700)
    password = evidence.secrets["password"]
    with (
        role_with_password(cluster, password) as role,
        database(cluster, role, password, evidence.rows) as url,
        database(cluster, role, password, evidence.rows) as unreadable,
        database(cluster, role, password, None) as staging,
        database(cluster, f"{role}_owner", password, None) as scratch,
        http_receiver() as receiver,
        processes_watched(evidence),
        pytest.MonkeyPatch.context() as patch,
    ):
        for database_url in (url, unreadable):
            with psycopg.connect(database_url) as connection:
                connection.execute(WEBHOOK.format_map(evidence.secrets).encode())
        with psycopg.connect(unreadable) as connection:
            connection.execute(UNREADABLE)
        environment = {
            "DATABASE_URL": url,
            "CONVAULT_CATALOG_URL": url,
            "CONVAULT_STORE_URL": store.as_uri(),
            "CONVAULT_API_KEY": evidence.secrets["apikey"],
            "CONVAULT_SIGNING_KEY": evidence.secrets["signingkey"],
            "CONVAULT_KEEP_LAST": "9",
            "CONVAULT_TARGET_STAGING_URL": staging,
            "CONVAULT_TARGET_SCRATCH_URL": scratch,
            **beside(evidence.secrets, receiver.url, copy),
        }
        for name, value in environment.items():
            if name.startswith(("CONVAULT_TARGET_", "CONVAULT_STORE_COPY_")):
                patch.setenv(name, value)
        settings = Settings(**{name.lower(): value for name, value in environment.items()})
        initialise(settings)
        # The same repository on a disk that fails: where parts belong there is a file.
        shutil.copytree(store, broken_store)
        (broken_store / "data").write_text("in the way")
        wrong = evidence.secrets["wrongpassword"]
        runs = {
            "well": environment,
            "row": {**environment, "DATABASE_URL": unreadable},
            "password": {**environment, "DATABASE_URL": url.replace(password, wrong)},
            "url": {**environment, "DATABASE_URL": broken_url(evidence.secrets["brokenurl"])},
            "store": {**environment, "CONVAULT_STORE_URL": broken_store.as_uri()},
        }
        through_api(evidence, settings, server, environment, folder)
        after = {
            **environment,
            "BACKUP": str(open_catalog(url).list(status=BackupStatus.COMPLETED)[0].id),
            "INTO": "staging",
            "CONVAULT_TARGET_WRONG_URL": staging.replace(password, wrong),
        }
        others = [
            ("verify", "verify", after),
            ("drill", "drill", after),
            ("restore", "restore", after),
            ("target", "restore", {**after, "INTO": "wrong"}),
            ("cleanup", "cleanup", after),
            ("replicate", "replicate", after),
            ("watch", "watch", after),
        ]
        # Before the store that fails: its catalog follows what is not in it.
        directly(evidence, [*others, *((n, "backup", e) for n, e in runs.items())], server, folder)
        on_purpose(evidence, server, folder)
        evidence.places["catalog"] = list(tables(url))
        evidence.places["store"] = [
            place for place in files(store) if f"{store}/data/" not in place[0]
        ]
        evidence.places["copy"] = [
            place for place in files(copy) if f"{copy}/data/" not in place[0]
        ]
        evidence.places["messages"] = [("a message", body.encode()) for body in receiver.bodies]
        evidence.parts = [*parts(store), *parts(copy)]
    yield evidence


def beside(secrets_: dict[str, str], receiver: str, copy: Path) -> dict[str, str]:
    """Settings that hold secrets and that no backup needs: somebody to tell, of whom one is not
    there; a dead man's switch; a place for a copy."""
    address = receiver.partition("://")[2]
    return {
        "CONVAULT_NOTIFY_URLS": f"json://{address}/{secrets_['channel']}"
        f" json://127.0.0.1:9/{secrets_['deadchannel']}",
        "CONVAULT_PING_URL": f"{receiver}/{secrets_['ping']}",
        "CONVAULT_MASK_KEY": secrets_["maskkey"],
        "CONVAULT_STORE_COPY_URL": copy.as_uri(),
        "CONVAULT_STORE_COPY_AWS_SECRET_ACCESS_KEY": secrets_["copykey"],
    }


def through_api(
    evidence: Evidence,
    settings: Settings,
    server: PrefectServer,
    environment: dict[str, str],
    folder: Path,
) -> None:
    """Follow the README, whose backup a worker makes; then ask every route, well and badly."""
    log = StringIO()
    handler = logging.StreamHandler(log)
    logging.getLogger().addHandler(handler)
    key = evidence.secrets["apikey"]
    with (
        worker(server, environment, folder / "worker.log"),
        temporary_settings({PREFECT_API_URL: server.url}),
        served(create_app(settings)) as url,
        client_of(url, key) as client,
    ):
        await_worker(server, folder / "worker.log")
        said = run_examples(url, key, folder)
        [row] = client.get(PATH).json()["backups"]
        await_runs(server, folder / "worker.log")
    with (
        temporary_settings({PREFECT_API_URL: server.url}),
        served(create_app(settings)) as url,
        client_of(url, key) as client,
    ):
        answers = [client.get(PATH, headers={"Authorization": f"Bearer {key}x"})]
        answers += every_route(client, row["id"], evidence)
        for answer in answers:
            run = answer.json().get("flow_run_id") if answer.status_code == 202 else None
            if run is not None and run != row["flow_run_id"]:
                # Nobody is there to run it.
                server.request("DELETE", f"/flow_runs/{run}")
    logging.getLogger().removeHandler(handler)
    evidence.ended["api"] = "well" if row["status"] == "completed" else row["status"]
    evidence.places["api"] = [
        ("its log", log.getvalue().encode()),
        ("what the examples print", said.encode()),
        *(
            (f"{answer.request.method} {answer.request.url}", answer.content)
            for answer in answers
            if "/download" not in str(answer.request.url)
        ),
    ]
    evidence.places["worker"] = [("its output", (folder / "worker.log").read_bytes())]
    evidence.places["tar"] = [
        place for place in files(folder / "unpacked") if not place[0].endswith(".zst")
    ]


def every_route(client: httpx.Client, backup_id: str, evidence: Evidence) -> list[httpx.Response]:
    """The answers of each route of the API, to what it takes and to what it does not."""
    ids = {"{backup_id}": backup_id, "{schedule_id}": str(id_of("nightly"))}
    answers = []
    for row in ROWS:
        path = row.path
        for name, value in ids.items():
            path = path.replace(name, value)
        given = dict(row.ok)
        if path.endswith("/toggle"):
            given["json"] = {**given["json"], "id": ids["{schedule_id}"]}
        if row.method == "DELETE" and path.endswith(backup_id):
            given["params"] = {"confirm": backup_id}  # it is the only one
        answers.append(client.request(row.method, path, **given))
        if row.method in ("POST", "PATCH"):
            wrong = dict.fromkeys((*given.get("json", ()), "odd"), evidence.secrets["inbody"])
            answers.append(client.request(row.method, path, json=wrong))
            answers.append(client.request(row.method, path, content=f"{{{wrong}"))
        assert answers[-1].status_code != 404, path
    shown = client.get(f"{PATH}/{backup_id}").json()
    evidence.links.append(shown["url"].partition("token=")[2])
    return answers


def await_worker(server: PrefectServer, log: Path) -> None:
    """Until one says that it is there; `convault up` waits for it, too."""
    there = f"/work_pools/{POOL}/workers/filter"
    awaited(lambda: any(w["status"] == "ONLINE" for w in server.ask(there, {})), log)


def await_runs(server: PrefectServer, log: Path) -> None:
    """Until no run is under way or due any more."""
    states = {"flow_runs": {"state": {"type": {"any_": ["PENDING", "RUNNING", "CANCELLING"]}}}}

    def due() -> dict[str, Any]:
        until = {"before_": datetime.now(UTC).isoformat()}
        scheduled = {"type": {"any_": ["SCHEDULED"]}}
        return {"flow_runs": {"state": scheduled, "expected_start_time": until}}

    awaited(lambda: not any(server.ask("/flow_runs/count", e) for e in (states, due())), log)


def directly(
    evidence: Evidence, runs: list[tuple[str, str, dict[str, str]]], server: PrefectServer,
    folder: Path,
) -> None:  # fmt: skip
    """The flows in a process of their own: name, flow and environment of each."""
    # Through stdin: a command line is there for everybody to read.
    done = python(RUNS, json.dumps(runs), server, folder)
    endings = [line.split()[1:] for line in done.stdout.splitlines() if line.startswith("ended ")]
    evidence.ended.update(dict(endings))
    evidence.places["output"] = [
        ("stdout", done.stdout.encode()),
        ("stderr", done.stderr.encode()),
    ]


def on_purpose(evidence: Evidence, server: PrefectServer, folder: Path) -> None:
    """Leak the control, and wait until the server has written all of it: what came before it is
    written then, too."""
    done = python(LEAK, evidence.control, server, folder)
    evidence.places["control"] = [("stdout", done.stdout.encode())]
    wanted = {evidence.control + leak for leak in LEAKS}
    deadline = time.monotonic() + PATIENCE
    while True:
        places = list(files(server.home))
        hits = found(wanted, places)
        events = {word for word, place in hits if place.endswith("prefect.db: events")}
        if {word for word, _ in hits} == wanted and evidence.control + "error" in events:
            break
        assert time.monotonic() < deadline, sorted(hits)
        time.sleep(0.5)
    evidence.places["prefect"] = places


def python(
    program: str, given: str, server: PrefectServer, folder: Path
) -> subprocess.CompletedProcess[str]:
    """Run a program that reads `given`, away from the checkout and its `.env`."""
    file = folder / "program.py"
    file.write_text(program)
    return subprocess.run(
        [sys.executable, str(file)],
        cwd=folder,
        env=server.environment,
        input=given,
        capture_output=True,
        text=True,
        check=False,
    )


@contextmanager
def role_with_password(cluster: EmbeddedPostgres, password: str) -> Iterator[str]:
    """A superuser whom the cluster asks for a password, unlike all others; and one that may own a
    database, and nothing else."""
    role = f"canary_{secrets.token_hex(4)}"
    rules = cluster.data / "pg_hba.conf"
    before = rules.read_text()
    with psycopg.connect(cluster.url(), autocommit=True) as connection:
        connection.execute(f"CREATE ROLE {role} SUPERUSER LOGIN PASSWORD '{password}'")
        connection.execute(f"CREATE ROLE {role}_owner LOGIN PASSWORD '{password}'")
        rules.write_text(f"local all {role},{role}_owner scram-sha-256\n{before}")
        connection.execute("SELECT pg_reload_conf()")
        try:
            yield role
        finally:
            rules.write_text(before)
            connection.execute("SELECT pg_reload_conf()")
            connection.execute(f"DROP ROLE {role}, {role}_owner")


@contextmanager
def database(
    cluster: EmbeddedPostgres, role: str, password: str, rows: dict[str, str] | None
) -> Iterator[str]:
    """A database with marked rows, or an empty one; its URL, with the password."""
    name = f"test_{secrets.token_hex(6)}"
    with psycopg.connect(cluster.url(), autocommit=True) as connection:
        connection.execute(f"CREATE DATABASE {name} TEMPLATE template0 OWNER {role}")
    if rows is not None:
        with psycopg.connect(cluster.url(name)) as connection:
            connection.execute(SCHEMA)
            connection.execute(INSERTS, rows)
    try:
        yield cluster.url(name, user=role).replace(f"{role}@", f"{role}:{password}@")
    finally:
        drop_database(cluster.url(), name)


def broken_url(password: str) -> str:
    """libpq quotes what it cannot decode: here, the password."""
    return f"postgresql://somebody:{password}%zz@127.0.0.1/nothing"


def tables(url: str) -> Iterator[Place]:
    """Every row of every table that is not of the dataset."""
    with psycopg.connect(url) as connection:
        names = connection.execute(
            "SELECT format('%I.%I', schemaname, tablename) FROM pg_tables"
            " WHERE schemaname NOT IN ('pg_catalog', 'information_schema')"
            " AND tablename NOT IN ('channels', 'conversations', 'messages')"
        ).fetchall()
        for (name,) in names:
            for (row,) in connection.execute(f"SELECT t::text FROM {name} t").fetchall():
                yield name, row.encode()


def parts(store: Path) -> Iterator[Place]:
    """The rows in the parts."""
    for path in (store / "data").rglob("*.ndjson.zst"):
        with path.open("rb") as file:
            reader = zstandard.ZstdDecompressor().stream_reader(file, read_across_frames=True)
            yield str(path), reader.read()


@contextmanager
def processes_watched(evidence: Evidence) -> Iterator[None]:
    """Collect the command lines of all processes, as `ps` would show them (Linux)."""
    seen: set[bytes] = set()
    over = threading.Event()

    def watch() -> None:
        while not over.wait(0.1):
            for path in Path("/proc").glob("[0-9]*/cmdline"):
                with suppress(OSError):  # it ended meanwhile
                    seen.add(path.read_bytes())

    watcher = threading.Thread(target=watch)
    watcher.start()
    try:
        yield
    finally:
        over.set()
        watcher.join()
        evidence.places["processes"] = [("a command line", line) for line in seen]
