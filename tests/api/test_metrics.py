"""How backups went, as JSON and for Prometheus."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from uuid import uuid4

import httpx
import pytest
from prometheus_client.parser import text_string_to_metric_families

from convault.catalog.base import BackupRecord, BackupStatus, Catalog
from tests.serving import PATH, problem

NOW = datetime.now(UTC).replace(microsecond=0)


@pytest.fixture
def rows(catalog: Catalog) -> list[BackupRecord]:
    """A good one, then a failed one a day later."""
    metrics = {"rows": 100, "plain_bytes": 500, "seconds": {"fetch": 1.5, "total": 5.0}}
    good = BackupRecord(
        id=uuid4(), status=BackupStatus.COMPLETED, options={}, rows=100, file_size=4096,
        stored_bytes=999, metrics=metrics, created_at=NOW - timedelta(days=1), updated_at=NOW,
    )  # fmt: skip
    bad = BackupRecord(
        id=uuid4(), status=BackupStatus.FAILED, options={}, created_at=NOW, updated_at=NOW
    )
    return [catalog.add(row, keep_times=True) for row in (good, bad)]


def test_as_json(client: httpx.Client, rows: list[BackupRecord]) -> None:
    told = client.get(f"{PATH}/metrics").json()
    assert (told["total"], told["success_rate"]) == (2, 0.5)
    assert told["duration"]["median"] == 5.0
    assert told["rows_per_second"]["median"] == 20.0
    assert told["steps"]["fetch"]["p95"] == 1.5
    assert len(told["by_day"]) == 2
    today = client.get(f"{PATH}/metrics", params={"from": NOW.isoformat()}).json()
    assert (today["total"], today["success_rate"], today["duration"]) == (1, 0.0, None)
    answer = client.get(f"{PATH}/metrics", params={"from": "2026-01-01T00:00:00"})
    problem(answer, 422, "invalid-request")


def test_for_prometheus(client: httpx.Client, rows: list[BackupRecord]) -> None:
    answer = client.get("/metrics")
    assert answer.headers["content-type"].startswith("text/plain")
    samples = {
        (sample.name, sample.labels.get("status")): sample.value
        for family in text_string_to_metric_families(answer.text)
        for sample in family.samples
    }
    assert samples["convault_backups", "completed"] == 1
    assert samples["convault_backups", "pending"] == 0
    assert samples["convault_last_success_timestamp_seconds", None] == (
        rows[0].created_at.timestamp()
    )
    assert samples["convault_last_failure_timestamp_seconds", None] == NOW.timestamp()
    assert samples["convault_last_rows", None] == 100
    assert samples["convault_last_duration_seconds", None] == 5.0


def test_of_nothing(client: httpx.Client) -> None:
    assert client.get(f"{PATH}/metrics").json()["total"] == 0
    assert "convault_last_success" not in client.get("/metrics").text
