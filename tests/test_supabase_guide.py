"""docs/supabase.md, followed step by step: its SQL and its commands, on a local Supabase.

Local addresses and keys are put in the place of those that only hosted projects have. The database
is one of the stack's own Postgres, with Supabase's roles; the bucket is the stack's Storage.
"""

from __future__ import annotations

import json
import re
import secrets
import shlex
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import psycopg
import pytest

from cli.main import main
from convault import settings as settings_module
from tests.databases import drop_database
from tests.flows.application import ROWS, SCHEMA
from tests.patience import awaited
from tests.prefect_server import PrefectServer
from tests.prefect_worker import deploy, worker
from tests.supabase_stack import SupabaseStack

pytestmark = [pytest.mark.prefect_server, pytest.mark.xdist_group("commands"), pytest.mark.long]

GUIDE = (Path(__file__).parents[1] / "docs/supabase.md").read_text()
STEPS = re.findall(
    r"```(sql|sh)\n(.*?)```",
    GUIDE.partition("## From a new project")[2].partition("\n## ")[0],
    re.DOTALL,
)
ROLES = ("convault_reader", "convault_catalog", "convault_restorer")
POOLER = r"aws-0-eu-central-1\.pooler\.supabase\.com:5432/postgres"


@dataclass
class Reader:
    """Somebody who reads the guide, and does what it says."""

    stack: SupabaseStack
    prefect: PrefectServer
    database: str
    target: str
    folder: Path
    monkeypatch: pytest.MonkeyPatch
    capture: pytest.CaptureFixture[bytes]
    bucket: str = field(default_factory=lambda: f"guide-{secrets.token_hex(6)}")
    said: dict[str, str] = field(default_factory=dict)
    """by command, what it printed"""

    def address(self, role: str, database: str) -> str:
        host = self.stack.database_url.partition("?")[2]
        return f"postgresql://{role}@/{database}?{host}"

    def here(self, text: str) -> str:
        """`text` with what is local in the place of what is hosted."""
        for role in ROLES:
            database = self.target if role == "convault_restorer" else self.database
            hosted = rf"postgresql://{role}\.[A-Za-z]+:CHANGE-ME-[A-Z]+@{POOLER}"
            text = self.address(role, database).join(re.split(hosted, text))
        text = text.replace("https://zyxwvutsrqponmlkjihg.supabase.co", self.stack.full_url)
        text = text.replace("sb_secret_CHANGE-ME", self.stack.secret_key)
        text = text.replace("supabase://backups/", f"supabase://{self.bucket}/")
        assert "CHANGE-ME" not in text
        assert ".supabase." not in text
        return text

    def sql(self, text: str) -> None:
        """In the SQL editor."""
        database = self.target if "convault_restorer" in text else self.database
        text = text.replace("on database postgres", f"on database {database}")
        with psycopg.connect(self.address("postgres", database)) as connection:
            connection.execute(re.sub(r"CHANGE-ME-\w+", secrets.token_hex(16), text).encode())

    def sh(self, text: str) -> None:
        """In a terminal: every line is known to this test, or it fails."""
        lines = iter(self.here(text).splitlines())
        for line in lines:
            words = shlex.split(line, comments=True)
            if line == "cat > .env <<'END'":
                env = "".join(f"{li}\n" for li in iter(lambda: next(lines), "END"))
                Path(".env").touch(0o600)
                Path(".env").write_text(env)
            elif words[0] == "export":
                name, _, value = words[1].partition("=")
                self.monkeypatch.setenv(name, self.prefect.url if "PREFECT" in name else value)
            elif words[0] == "convault":
                self.convault(words[1:])
            elif words[0] == "prefect":
                self.prefect_command(words[1:])
            else:
                assert words == ["umask", "077"], line

    def convault(self, words: list[str]) -> None:
        with pytest.raises(SystemExit) as ended:
            main(words)
        output = self.capture.readouterr()
        self.said[words[0]] = output.out.decode() + output.err.decode()
        assert ended.value.code in (0, None), self.said[words[0]]

    def prefect_command(self, words: list[str]) -> None:
        if words[:2] in (["server", "start"], ["worker", "start"]):
            return  # the one runs, the other is started below
        if words[0] in ("work-pool", "deploy"):
            assert words in (
                ["work-pool", "create", "convault", "--type", "process"],
                ["deploy", "--all", "--no-prompt"],
            )
            deploy(self.prefect)  # both, once for each server
            return
        schedule = self.schedule("daily")["id"]
        words = [schedule if word == "SCHEDULE_ID" else word for word in words]
        done = self.prefect.prefect(*words)
        assert done.returncode == 0, done.stdout + done.stderr
        self.said[words[2]] = done.stdout

    def schedule(self, slug: str) -> dict[str, Any]:
        found = self.prefect.ask("/deployments/name/backup/conversations")
        (schedule,) = (one for one in found["schedules"] if one["slug"] == slug)
        return {**schedule, "deployment": found["id"]}


@pytest.fixture
def reader(
    supabase: SupabaseStack, prefect_api: PrefectServer, tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch, capfdbinary: pytest.CaptureFixture[bytes],
) -> Iterator[Reader]:  # fmt: skip
    names = [f"guide_{secrets.token_hex(6)}" for _ in range(2)]
    with psycopg.connect(supabase.database_url, autocommit=True) as connection:
        for name in names:
            connection.execute(f"CREATE DATABASE {name} TEMPLATE template0")
        monkeypatch.chdir(tmp_path)
        monkeypatch.setattr(settings_module, "ENV_FILE", Path(".env"))
        yield Reader(supabase, prefect_api, *names, tmp_path, monkeypatch, capfdbinary)
        for name in names:
            drop_database(supabase.database_url, name)
        for role in ROLES:
            connection.execute(f"DROP ROLE IF EXISTS {role}")


def test_the_guide_leads_to_a_scheduled_backup(reader: Reader) -> None:
    with psycopg.connect(reader.address("postgres", reader.database)) as connection:
        psycopg.ClientCursor(connection).execute(SCHEMA)
        psycopg.ClientCursor(connection).execute(ROWS, {"conversations": 20, "messages": 300})
        connection.execute("ALTER TABLE conversations ENABLE ROW LEVEL SECURITY")
        connection.execute("ALTER TABLE messages ENABLE ROW LEVEL SECURITY")
    kinds = [kind for kind, _ in STEPS]
    assert kinds == ["sql", "sh", "sh", "sh", "sh", "sql", "sh"]
    for kind, text in STEPS[:5]:
        (reader.sql if kind == "sql" else reader.sh)(text)

    assert "Nothing that a backup needs is damaged or missing" in reader.said["verify"]
    looked = {line.split("  ")[0]: line for line in reader.said["doctor"].splitlines()}
    for name in ("tables", "bucket", "repository", "encryption", "signing key", "quota", "Prefect"):
        assert re.match(rf"{name} +ok ", looked[name]), looked[name]
    (backup,) = rows(reader)
    assert backup["rows"] == 2 + 20 + 300
    assert b"age-encryption" in stored(reader, ".age")

    assert reader.schedule("daily")["active"] is True
    assert reader.schedule("daily")["id"][:8] in reader.said["ls"]
    scheduled(reader)

    for kind, text in STEPS[5:]:
        (reader.sql if kind == "sql" else reader.sh)(text)
    with psycopg.connect(reader.address("postgres", reader.target)) as connection:
        assert connection.execute("SELECT count(*) FROM messages").fetchone() == (300,)


def rows(reader: Reader) -> list[dict[str, Any]]:
    reader.convault(["list", "--json"])
    found: list[dict[str, Any]] = json.loads(reader.said["list"])
    return found


def stored(reader: Reader, suffix: str) -> bytes:
    """The beginning of some object of the bucket, read by a client that is not ours."""
    from convault.settings import load_settings
    from convault.stores import open_store

    store = open_store(load_settings().store_url())
    key = next(info.key for info in store.list("data/") if info.key.endswith(suffix))
    with reader.stack.client() as client:
        return client.get(f"/storage/v1/object/{reader.bucket}/convault/{key}").content[:40]


def completed(reader: Reader) -> int:
    """How many backups are; none may have failed."""
    found = rows(reader)
    assert [row["error"] for row in found if row["status"] == "failed"] == []
    return sum(row["status"] == "completed" for row in found)


def scheduled(reader: Reader) -> None:
    """Night falls: the schedule is due in some seconds, and the worker runs it in the checkout."""
    environment = {
        name: value
        for line in Path(".env").read_text().splitlines()
        for name, _, value in [line.partition("=")]
    }
    daily = reader.schedule("daily")
    path = f"/deployments/{daily['deployment']}/schedules"
    due = datetime.now(UTC) + timedelta(seconds=4)
    soon = {"interval": 40.0, "anchor_date": due.isoformat(), "timezone": "UTC"}
    made = reader.prefect.ask(path, [{"active": True, "slug": "night", "schedule": soon}])
    try:
        with worker(reader.prefect, environment, reader.folder / "worker.log"):
            # A further one may be at work already.
            awaited(lambda: completed(reader) >= 2, reader.folder / "worker.log", pause=0.5)
            reader.prefect.request("DELETE", f"{path}/{made[0]['id']}").raise_for_status()
    finally:
        stopped = {"active": False}
        reader.prefect.request("PATCH", f"{path}/{daily['id']}", stopped).raise_for_status()
