"""Somebody is told: failed, crashed and shrunken backups, failed verifications, and their end; once
each, through real sockets, and whatever the receivers do, the backup is made."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import psycopg
import pytest

from convault.catalog.base import BackupStatus
from convault.catalog.postgres import PostgresCatalog
from convault.embedded.server import EmbeddedPostgres
from convault.errors import CatalogError, SourceError, VerificationFailed
from convault.notify import watching
from convault.notify.channels import channels
from convault.schedule import BackupSchedule, id_of
from convault.settings import load_settings
from flows.backup import backup
from flows.verify import verify
from flows.watch import watch
from tests.databases import drop_database
from tests.flows.application import Application
from tests.notify.receivers import Receiver, http_receiver, patient
from tests.patience import PATIENCE
from tests.prefect_server import CHECKOUT

pytestmark = [pytest.mark.prefect_server, pytest.mark.xdist_group("flows")]

SECRET = "t0ken-of-the-webhook"


@pytest.fixture
def receiver(
    application: Application, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> Iterator[Receiver]:
    """Takes notifications; beside it, the dead man's switch."""
    patient(monkeypatch)
    with http_receiver() as made:
        monkeypatch.setenv("CONVAULT_HOME", str(tmp_path / "home"))
        monkeypatch.setenv("CONVAULT_NOTIFY_URLS", made.apprise(f"/{SECRET}"))
        yield made


def test_each_incident_is_told_once_and_so_is_its_end(
    application: Application, receiver: Receiver, monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:  # fmt: skip
    catalog = application.installation().catalog
    with http_receiver() as switch:
        monkeypatch.setenv("CONVAULT_PING_URL", f"{switch.url}/{SECRET}")
        first = backup()
        application.execute("ALTER TABLE messages ADD COLUMN parent bigint, ADD UNIQUE (parent)")
        monkeypatch.setenv("CONVAULT_MESSAGES_TABLE", "nowhere")
        for _ in range(2):
            with pytest.raises(SourceError):
                backup()
        monkeypatch.delenv("CONVAULT_MESSAGES_TABLE")
        assert receiver.titles == ["A backup failed: missing-table"]
        assert watch() != []
        # A table lost most of its rows: the backup is complete, and warns.
        application.execute("DELETE FROM messages WHERE id > 300")
        shrunken = backup()
        signals = [path.partition("?")[0].removeprefix(f"/{SECRET}") for path in switch.paths]
        assert signals == ["/start", "", *["/start", "/fail"] * 2, "/start", ""]
        assert switch.bodies.count("missing-table") == 2
        runs = [path.partition("rid=")[2] for path in switch.paths]
        assert runs[0::2] == runs[1::2]
    assert shrunken.metrics is not None
    assert any("messages shrank to 300 rows" in w for w in shrunken.metrics["warnings"])
    assert receiver.titles[1:] == ["one thing is wrong, one is over"]
    assert "convault acknowledge" in receiver.messages[1]
    assert "Over: A backup failed: missing-table" in receiver.messages[1]
    look()
    assert len(receiver.bodies) == 2

    # The switch is gone now, and the receiver refuses: a backup is made, and says so.
    receiver.status = 503
    catalog.update(shrunken.id, acknowledged_at=catalog.now())
    again = backup()
    assert again.status is BackupStatus.COMPLETED
    [over] = [i for i in catalog.incidents() if i.kind == "table-shrunk"]
    assert (over.is_open, over.recovery_told_at) == (False, None)
    assert over.problem == "1 json: the message was not taken"
    assert "CONVAULT_PING_URL was not reached" in caplog.text
    assert "Channel 1 json of CONVAULT_NOTIFY_URLS was not reached" in caplog.text
    receiver.status = 200
    look()
    assert len(receiver.bodies) == 3, "it is too early to try again"
    with psycopg.connect(application.environment["CONVAULT_CATALOG_URL"]) as connection:
        connection.execute("UPDATE backup_incidents SET retry_at = now()")
    look()
    assert receiver.titles[-1] == "Over: The table public.messages shrank to 300 rows"

    part = next((application.store / "data" / "messages").iterdir())
    whole = part.read_bytes()
    part.write_bytes(whole[:-1] + bytes([whole[-1] ^ 1]))
    with pytest.raises(VerificationFailed):
        verify(read_data="all")
    assert receiver.titles[-1] == "A verification failed: verification-failed"
    told = len(receiver.bodies)
    verify()
    assert len(receiver.bodies) == told, "nobody read those bytes"
    part.write_bytes(whole)
    verify(read_data="all")
    assert receiver.titles[-1] == "Over: A verification failed: verification-failed"
    assert first.id in {row.id for row in catalog.list()}
    for text in (caplog.text, *receiver.bodies):
        assert SECRET not in text
        assert "olá" not in text
        assert "assunto" not in text


def look() -> None:
    """As `convault notify` does."""
    settings = load_settings()
    watching.watch(settings, channels(settings))


WATCH = """
import json, sys
from convault.notify.channels import channels
from convault.notify.watching import watch
from convault.settings import load_settings
settings = load_settings()
through = channels(settings)
print("ready", flush=True)
sys.stdin.readline()
print(len(watch(settings, through).open))
"""


def test_two_processes_notice_a_crash_and_a_late_schedule_at_once(
    application: Application, receiver: Receiver
) -> None:
    catalog = application.installation().catalog
    made = backup()
    running = backup_that_was_killed(application)
    old = datetime.now(UTC) - timedelta(days=90)
    catalog.save_schedule(
        BackupSchedule(
            id=id_of("lost"), name="lost", schedule="0 3 * * *", next_run_at=old,
            options={"conversationIds": ["1"]},
        )
    )  # fmt: skip
    with psycopg.connect(application.environment["CONVAULT_CATALOG_URL"]) as connection:
        connection.execute(
            "UPDATE backup_schedules SET created_at = %s, updated_at = %s", [old, old]
        )
    both = [
        subprocess.Popen(
            [sys.executable, "-c", WATCH], cwd=CHECKOUT, text=True,
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
        )
        for _ in range(2)
    ]  # fmt: skip
    for process in both:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
    for process in both:  # before either is over
        assert process.stdin is not None
        process.stdin.write("go\n")
        process.stdin.flush()
    answers = [process.communicate(timeout=PATIENCE) for process in both]
    assert [out for out, _ in answers] == ["2\n", "2\n"], answers
    told = "\n".join(receiver.messages)
    assert len(re.findall(r"^A backup crashed\.$", told, re.M)) == 1
    assert len(re.findall(r"^The backup of the schedule lost is overdue\.$", told, re.M)) == 1
    assert catalog.get(running).status is BackupStatus.FAILED
    assert catalog.get(made.id).status is BackupStatus.COMPLETED


def backup_that_was_killed(application: Application) -> object:
    """The id of a row whose run is gone."""
    with psycopg.connect(application.environment["CONVAULT_CATALOG_URL"]) as connection:
        row = connection.execute(
            "INSERT INTO backups (id, status, options, repository_id, lease_expires_at)"
            " SELECT gen_random_uuid(), 'processing', '{}', repository_id, now() - interval '1 min'"
            " FROM backup_repositories WHERE current RETURNING id"
        ).fetchone()
    assert row is not None
    return row[0]


def test_a_catalog_that_cannot_be_asked_is_told_once(
    application: Application, receiver: Receiver, monkeypatch: pytest.MonkeyPatch,
    cluster: EmbeddedPostgres,
) -> None:  # fmt: skip
    gone = cluster.url("no_such_database")
    monkeypatch.setenv("CONVAULT_CATALOG_URL", gone)
    for _ in range(2):
        with pytest.raises(CatalogError):
            watch()
    assert receiver.titles == ["The catalog cannot be asked"]
    with psycopg.connect(cluster.url(), autocommit=True) as connection:
        connection.execute("CREATE DATABASE no_such_database TEMPLATE template0")
        PostgresCatalog(gone).migrate()
        watch()
        drop_database(cluster.url(), "no_such_database")
    assert receiver.titles[1:] == ["Over: The catalog cannot be asked"]
    assert json.loads(receiver.bodies[0])["type"] == "failure"
