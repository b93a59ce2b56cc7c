"""A backup ends before it fills the plan, and the next one has what it had stored."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from convault.catalog.base import BackupStatus
from convault.embedded.server import EmbeddedPostgres
from convault.errors import QuotaExceeded
from flows.backup import backup
from tests.flows.application import Application, build, differences
from tests.prefect_server import PrefectServer

pytestmark = [pytest.mark.prefect_server, pytest.mark.xdist_group("flows")]


def stored(application: Application) -> int:
    return sum(file.stat().st_size for file in application.store.rglob("*") if file.is_file())


def test_the_quota_stops_a_backup_before_and_while_it_uploads(
    cluster: EmbeddedPostgres,
    new_database: Callable[[EmbeddedPostgres], str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    prefect_api: PrefectServer,
) -> None:
    application = build(
        new_database(cluster),
        new_database(cluster),
        tmp_path / "store",
        CONVAULT_RANGE_PAGES="16",
        CONVAULT_PART_BYTES="65536",
    )
    for name, value in application.environment.items():
        monkeypatch.setenv(name, value)
    installation = application.installation()
    empty = stored(application)

    monkeypatch.setenv("CONVAULT_STORE_QUOTA", str(empty))
    with pytest.raises(QuotaExceeded, match="Nothing was backed up"):
        backup()
    assert stored(application) == empty

    quota = empty + 30_000
    monkeypatch.setenv("CONVAULT_STORE_QUOTA", str(quota))
    with pytest.raises(QuotaExceeded, match=r"The backup was stopped: .* has .* bytes more"):
        backup()
    assert empty < stored(application) <= quota
    assert installation.repository.backup_ids() == []
    rows = installation.catalog.list()
    assert [row.status for row in rows] == [BackupStatus.FAILED] * 2
    assert all("CONVAULT_STORE_QUOTA" in (row.error or "") for row in rows)

    monkeypatch.setenv("CONVAULT_STORE_QUOTA", "1GB")
    record = backup()
    assert record.metrics is not None
    assert record.metrics["new_bytes"] < (record.stored_bytes or 0), "some were there already"
    assert set(differences(application, record.id, new_database(cluster)).values()) == {0}
