"""Rows, files and catalog with a project's service key alone: as docs/supabase.md leads to it."""

from __future__ import annotations

from pathlib import Path

import psycopg
import pytest

from cli.main import main
from convault.drill.drilling import drill
from convault.drill.report import Outcome
from convault.installation import initialise, open_installation
from convault.models import BackupOptions
from convault.settings import load_settings
from flows.backup import backup
from tests.flows.application import ROWS, SCHEMA
from tests.prefect_server import PrefectServer
from tests.supabase_stack import SupabaseStack, another_project

pytestmark = [pytest.mark.prefect_server, pytest.mark.xdist_group("prefect")]


def test_who_has_only_the_service_key_has_it_all(
    supabase: SupabaseStack, node_packages: Path, prefect_api: PrefectServer, tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    with pytest.raises(SystemExit):
        main(["migrations"])
    migrations = capsys.readouterr().out

    def prepare(url: str) -> None:
        with psycopg.connect(url, autocommit=True) as connection:
            connection.execute(migrations.encode())
            psycopg.ClientCursor(connection).execute(SCHEMA)
            psycopg.ClientCursor(connection).execute(ROWS, {"conversations": 20, "messages": 200})
            connection.execute("ALTER TABLE messages ADD media_url text, ADD media jsonb")
            connection.execute("GRANT SELECT ON ALL TABLES IN SCHEMA public TO service_role")

    with another_project(supabase, node_packages, "alone", prepare) as stack:
        for name in ("DATABASE_URL", "CONVAULT_CATALOG_URL"):
            monkeypatch.delenv(name, raising=False)
        for name, value in {
            "SUPABASE_URL": stack.full_url,
            "SUPABASE_SERVICE_ROLE_KEY": stack.secret_key,
            "CONVAULT_STORE_URL": f"file://{tmp_path}/store",
        }.items():
            monkeypatch.setenv(name, value)
        bucket = stack.new_bucket()
        for name in ("one", "two", "three"):
            with stack.client() as client:
                client.post(
                    f"/storage/v1/object/{bucket}/{name}.txt", content=name.encode()
                ).raise_for_status()
        with psycopg.connect(stack.database_url) as connection:
            # Messages of conversations 2 and 3, of which the former is of channel 1.
            connection.execute(
                "UPDATE messages SET media_url = %s WHERE id = 1",
                (f"{stack.full_url}/storage/v1/object/public/{bucket}/one.txt",),
            )
            connection.execute(
                "UPDATE messages SET media = jsonb_build_object('path', 'two.txt', 'bucket',"
                " %s::text) WHERE id = 1", (bucket,),
            )  # fmt: skip
            connection.execute(
                "UPDATE messages SET media_url = %s WHERE id = 2",
                (f"{stack.full_url}/storage/v1/object/public/{bucket}/three.txt",),
            )
            chosen = connection.execute(
                "SELECT count(*) FROM messages m JOIN conversations c ON c.id = m.conversation_id"
                " WHERE c.channel_id = 1"
            ).fetchone()

        initialise(load_settings())
        record = backup(BackupOptions(channel_ids=("1",), include_attachments=True))
        installation = open_installation(load_settings())
        manifest = installation.repository.manifest(record.id)
        rows = {table.name.name: table.rows for table in manifest.tables}
        assert (rows["channels"], rows["conversations"], (rows["messages"],)) == (1, 10, chosen)
        assert manifest.consistency == "per-page"
        assert manifest.selection is not None
        assert manifest.selection.conversations == 10
        assert all(table.digest for table in manifest.tables)
        assert sorted(entry.path for entry in manifest.stored_files) == ["one.txt", "two.txt"]
        report = drill(installation, record.id)
        assert report.outcome is Outcome.PASSED
        assert [c.subject for c in report.checks if c.what == "digest"] == [
            str(table.name) for table in manifest.tables
        ]  # fmt: skip
