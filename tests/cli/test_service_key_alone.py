"""Who has a project's address and its secret key, and nothing else: rows by REST, the catalog over
the Data API, the store in the project's Storage; from the first backup to a restore."""

from __future__ import annotations

import secrets
from collections.abc import Iterator
from hashlib import sha256
from pathlib import Path
from uuid import UUID

import psycopg
import pytest

from convault.catalog.postgres import PostgresCatalog
from convault.installation import open_installation
from convault.models import TableName
from convault.settings import load_settings
from convault.stores import open_store
from tests.cli.conftest import InProcess
from tests.flows.application import ROWS, SCHEMA
from tests.prefect_server import PrefectServer
from tests.restore.except_all import differences
from tests.supabase_stack import SupabaseStack, another_project

pytestmark = [pytest.mark.prefect_server, pytest.mark.xdist_group("commands")]

TABLES = ("channels", "conversations", "messages", "notes")
MORE = """
CREATE TYPE kind AS ENUM ('a', 'b c');
CREATE TABLE notes (message_id bigint REFERENCES messages, n smallint, kind kind,
    at timestamptz, PRIMARY KEY (message_id, n));
INSERT INTO notes SELECT n, n % 3, (enum_range(NULL::kind))[1 + n % 2], now() - n * interval '1 h'
    FROM generate_series(1, 300) n;
CREATE TABLE beside (id integer PRIMARY KEY);
ALTER TABLE messages ENABLE ROW LEVEL SECURITY, ADD media_url text, ADD media jsonb;
GRANT SELECT ON ALL TABLES IN SCHEMA public TO service_role;
"""


def prepare(url: str) -> None:
    """An application's tables beside the catalog's, which are empty."""
    PostgresCatalog(url).migrate()
    with (
        psycopg.connect(url, autocommit=True) as connection,
        psycopg.ClientCursor(connection) as cursor,
    ):
        cursor.execute(SCHEMA)
        cursor.execute(ROWS, {"conversations": 40, "messages": 2300})
        cursor.execute(MORE.encode())


@pytest.fixture
def project(supabase: SupabaseStack, node_packages: Path) -> Iterator[SupabaseStack]:
    """A project of its own: lite must find the tables when it starts."""
    with another_project(supabase, node_packages, "alone", prepare) as stack:
        yield stack


def test_from_the_first_backup_to_a_restore(
    project: SupabaseStack, database: str, run: InProcess, prefect_api: PrefectServer
) -> None:  # fmt: skip
    bucket = f"alone-{secrets.token_hex(6)}"
    environment = {
        "SUPABASE_URL": project.full_url,
        "SUPABASE_SERVICE_ROLE_KEY": project.secret_key,
        "CONVAULT_STORE_URL": f"supabase://{bucket}/convault",
        "CONVAULT_SIGNING_KEY": secrets.token_hex(32),
        "PREFECT_API_URL": prefect_api.url,
        "PREFECT_HOME": str(prefect_api.home),
    }
    initialised = run("init", **environment)
    assert initialised.status == 0, initialised.err
    looked = run("doctor", "--probe", "--json")
    found = {one["name"]: one for one in looked.json}
    assert [one for one in looked.json if one["state"] == "red"] == []
    assert (looked.status, found["source"]["state"], found["tables"]["state"]) == (0, "amber", "ok")
    assert "no snapshot" in found["source"]["found"]

    made = run("backup", "--json")
    assert made.status == 0, made.err
    record = made.json
    rows = {"channels": 2, "conversations": 40, "messages": 2300, "notes": 300}
    assert (record["status"], record["rows"]) == ("completed", sum(rows.values()))
    assert record["metrics"]["consistency"] == "per-page"
    assert record["metrics"]["not_included"] == ["public.beside"]
    (row,) = PostgresCatalog(project.database_url).list()
    assert str(row.id) == record["id"]

    checked = run("verify", "--read-data", "all")
    assert checked.status == 0, checked.err
    listed = run("list").out.splitlines()
    assert ("consistency" in listed[0], "per-page" in listed[-1]) == (True, True)
    shown = run("show", "latest")
    assert "per-page: no snapshot, read by REST from" in shown.out
    assert "public.messages: 20" in shown.out
    assert "2,300 rows before, 2,300 after, 0 late, 0 deleted meanwhile" in shown.out
    contents = run("show", "latest", "--json").json["contents"]
    assert contents["consistency"] == "per-page"
    assert any("policies" in what for what in contents["lacks"])
    assert {t["table"]: (t["rows"], t["reading"]["counted_after"]) for t in contents["tables"]} == {
        name: (number, number) for name, number in rows.items()
    }

    # An emptied catalog learns it from the manifest.
    with psycopg.connect(project.database_url, autocommit=True) as connection:
        connection.execute("DELETE FROM public.backups")
    assert run("init").status == 0
    assert run("list", "--json").json[0]["metrics"] == {"consistency": "per-page"}

    PostgresCatalog(database).migrate()  # which is in nobody's way
    restored = run("restore", "latest", "--target", "empty", CONVAULT_TARGET_EMPTY_URL=database)
    assert restored.status == 0, restored.err
    names = [TableName("public", name) for name in TABLES]
    assert differences(project.database_url, database, names) == {}

    manifest = open_installation(load_settings()).repository.manifest(UUID(record["id"]))
    part = next(t for t in manifest.tables if t.name.name == "messages").parts[0]
    store = open_store(environment["CONVAULT_STORE_URL"])
    store.replace(part.key, b"damaged")
    mended = run("verify", "--read-data", "all", "--repair")
    assert mended.status == 0, mended.err
    assert sha256(store.get(part.key)).hexdigest() == part.sha256

    chosen = point_at_files(project)
    some = run("backup", "--channel", "1", "--attachments", "--json")
    assert some.status == 0, some.err
    contents = run("show", some.json["id"], "--json").json["contents"]
    assert {t["table"]: t["rows"] for t in contents["tables"]} == chosen
    assert contents["selection"]["conversations"] == chosen["conversations"] == 20
    assert some.json["metrics"]["files"]["stored"] == 2, "of three"
    drilled = run("drill", some.json["id"], "--json")
    assert (drilled.status, drilled.json["outcome"]) == (0, "passed"), drilled.err
    digests = [check for check in drilled.json["checks"] if check["check"] == "digest"]
    assert [check["outcome"] for check in digests] == ["passed"] * 4
    for ended in (initialised, looked, made, shown, restored, some, drilled):
        assert project.secret_key not in ended.out + ended.err


def point_at_files(project: SupabaseStack) -> dict[str, int]:
    """Three files, of which messages of channel 1 point at two; how many rows belong to that."""
    bucket = project.new_bucket()
    with project.client() as client:
        for name in ("one", "two", "three"):
            path = f"/storage/v1/object/{bucket}/{name}.txt"
            client.post(path, content=name.encode()).raise_for_status()
    url = f"{project.full_url}/storage/v1/object/public/{bucket}"
    with psycopg.connect(project.database_url) as connection:
        for message, name in ((1, "one"), (2, "three")):  # of conversations 2 and 3
            connection.execute(
                "UPDATE messages SET media_url = %s WHERE id = %s", (f"{url}/{name}.txt", message)
            )
        connection.execute(
            "UPDATE messages SET media = jsonb_build_object('path', 'two.txt', 'bucket', %s::text)"
            " WHERE id = 1", (bucket,),
        )  # fmt: skip
        (counted,) = connection.execute(
            """WITH m AS (SELECT m.id FROM messages m JOIN conversations c
                ON c.id = m.conversation_id WHERE channel_id = 1)
            SELECT json_build_object('channels', 1, 'conversations',
                (SELECT count(*) FROM conversations WHERE channel_id = 1),
                'messages', (SELECT count(*) FROM m),
                'notes', (SELECT count(*) FROM notes WHERE message_id IN (TABLE m)))"""
        ).fetchone() or ({},)
    return dict(counted)
