"""`GET /api/communication/backups`: the rows, newest first."""

from __future__ import annotations

from datetime import UTC, datetime
from uuid import uuid4

import httpx
import pytest

from convault.catalog.base import BackupRecord, BackupStatus, Catalog
from tests.serving import PATH

NOW = datetime.now(UTC)


@pytest.fixture
def rows(catalog: Catalog) -> list[BackupRecord]:
    """Three rows, oldest first."""
    return [
        catalog.add(
            BackupRecord(
                id=uuid4(),
                status=BackupStatus.PENDING,
                options={"compressionLevel": level},
                repository_id=catalog.repository_id(),
                created_at=NOW,
                updated_at=NOW,
            )
        )
        for level in range(3)
    ]


def test_no_backups_is_an_empty_list(client: httpx.Client) -> None:
    answer = client.get(PATH)
    assert answer.status_code == 200
    assert answer.headers["content-type"] == "application/json"
    assert answer.json() == []


def test_newest_first_with_the_columns_of_the_table(
    client: httpx.Client, catalog: Catalog, rows: list[BackupRecord]
) -> None:
    failed = catalog.update(rows[0].id, status=BackupStatus.FAILED, error="It did not work.")
    listed = client.get(PATH).json()
    assert [row["id"] for row in listed] == [str(row.id) for row in reversed(rows)]
    assert [row["options"]["compressionLevel"] for row in listed] == [2, 1, 0]
    assert [row["status"] for row in listed] == ["pending", "pending", "failed"]
    assert listed[-1] == failed.model_dump(mode="json")
    assert set(listed[0]) == set(BackupRecord.model_fields)


@pytest.mark.parametrize(("limit", "expected"), [(1, 1), (2, 2), (3, 3), (1000, 3)])
def test_limit_keeps_the_newest(
    client: httpx.Client, rows: list[BackupRecord], limit: int, expected: int
) -> None:
    listed = client.get(PATH, params={"limit": limit}).json()
    assert [row["id"] for row in listed] == [str(row.id) for row in reversed(rows)][:expected]


def test_a_hundred_unless_told(client: httpx.Client, catalog: Catalog) -> None:
    for _ in range(101):
        catalog.add(
            BackupRecord(
                id=uuid4(), status=BackupStatus.PENDING, options={}, created_at=NOW, updated_at=NOW
            )
        )
    assert len(client.get(PATH).json()) == 100
