"""A run that takes too long lets go and fails; one that is asked for in a pause waits."""

from __future__ import annotations

import threading
import time
from datetime import UTC, datetime, timedelta

import psycopg
import pytest

from convault.catalog.base import BackupStatus
from convault.errors import BusyError, CatalogTooNew, ConfigurationError, RunTooLong
from convault.retention.configured import grace_of
from convault.stores.pace import TokenBucket
from flows.backup import backup
from tests.cli.conftest import InProcess
from tests.cli.conftest import run as run
from tests.flows.application import Application
from tests.patience import PATIENCE, awaited

OURS = (
    "SELECT count(*) FROM pg_stat_activity WHERE application_name = 'convault'"
    " AND datname = current_database()"
)


@pytest.mark.prefect_server
@pytest.mark.xdist_group("prefect")
def test_a_run_ends_in_time_or_not_at_all(
    application: Application, monkeypatch: pytest.MonkeyPatch, run: InProcess
) -> None:
    # A line so slow that the first piece of it outlasts the whole run: until its connections to the
    # source are gone.
    monkeypatch.setenv("CONVAULT_UPLOAD_LIMIT", "10KB")
    monkeypatch.setenv("CONVAULT_MAX_HOURS", str(15 / 3600))
    sends, gone = threading.Event(), threading.Event()
    still_sent: list[bool] = []

    def send(*_: object) -> None:
        sends.set()
        still_sent.append(gone.wait(PATIENCE))

    def watch() -> None:
        with psycopg.connect(application.url, autocommit=True) as connection:

            def held() -> int:
                (count,) = connection.execute(OURS).fetchone()  # type: ignore[misc]
                return int(count)

            if sends.wait(PATIENCE) and held() > 1:
                awaited(lambda: held() == 0, pause=0.02)
                gone.set()

    monkeypatch.setattr(TokenBucket, "wait", send)
    watching = threading.Thread(target=watch, daemon=True)
    watching.start()
    begin = time.monotonic()
    with pytest.raises(RunTooLong, match="let go of its locks"):
        backup()
    assert gone.is_set()
    assert all(still_sent), "they were gone while it still sent"
    assert time.monotonic() - begin < 40
    watching.join(PATIENCE)
    installation = application.installation()
    (row,) = installation.catalog.list()
    assert row.status is BackupStatus.FAILED
    assert "CONVAULT_MAX_HOURS" in (row.error or "")
    assert installation.repository.backup_ids() == []
    # A sweep may not be quicker than a backup is slow.
    monkeypatch.setenv("CONVAULT_MAX_HOURS", "48")
    with pytest.raises(ConfigurationError, match="CONVAULT_SWEEP_GRACE"):
        grace_of(application.settings.model_copy(update={"convault_max_hours": 48.0}))
    # Nothing of it keeps the next one from being made.
    monkeypatch.delenv("CONVAULT_UPLOAD_LIMIT")
    monkeypatch.setenv("CONVAULT_SOURCE_CONNECTIONS", "2")
    # In a pause: the command refuses, a run waits until it is over.
    now = datetime.now(UTC)
    window = f"{now - timedelta(hours=1):%H:%M}-{now + timedelta(hours=1):%H:%M}"
    monkeypatch.setenv("CONVAULT_PAUSE", window)
    refused = run("backup")
    assert refused.status == BusyError.exit_code
    assert "CONVAULT_PAUSE" in refused.err
    asked = iter([now + timedelta(seconds=0.2)])
    monkeypatch.setattr("flows.pausing.paused_until", lambda *_: next(asked, None))
    made = backup()
    assert made.status is BackupStatus.COMPLETED
    assert made.created_at > now + timedelta(seconds=0.2)


@pytest.mark.prefect_server
@pytest.mark.xdist_group("prefect")
def test_a_catalog_that_a_newer_version_migrated_is_refused(application: Application) -> None:
    """What waited for this version, or its cron line, changes nothing of that one's."""
    with psycopg.connect(application.environment["CONVAULT_CATALOG_URL"]) as connection:
        connection.execute(
            "INSERT INTO convault_migrations (name, sha256) VALUES ('20990101000000_new', 'x')"
        )
    with pytest.raises(CatalogTooNew, match="newer version"):
        backup()
    assert not list((application.store / "backups").glob("*"))
    assert not list((application.store / "data").glob("*"))
