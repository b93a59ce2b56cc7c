"""`GET /api/communication/backups`: the rows, newest first."""

from __future__ import annotations

import base64
from datetime import UTC, datetime, timedelta, timezone
from uuid import UUID, uuid4

import httpx
import pytest

from convault.catalog.base import BackupRecord, BackupStatus, Catalog
from tests.serving import PATH, problem

NOW = datetime.now(UTC)


def cursor(time: str) -> str:
    """As the list makes them, of a row of that time."""
    return base64.urlsafe_b64encode(f"{time} {UUID(int=0)}".encode()).decode().rstrip("=")


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
    assert answer.json() == {"backups": [], "total": 0, "next_cursor": None}


def test_newest_first_with_the_columns_of_the_table(
    client: httpx.Client, catalog: Catalog, rows: list[BackupRecord]
) -> None:
    failed = catalog.update(rows[0].id, status=BackupStatus.FAILED, error="It did not work.")
    listed = client.get(PATH).json()["backups"]
    assert [row["id"] for row in listed] == [str(row.id) for row in reversed(rows)]
    assert [row["options"]["compressionLevel"] for row in listed] == [2, 1, 0]
    assert [row["status"] for row in listed] == ["pending", "pending", "failed"]
    assert listed[-1] == failed.model_dump(mode="json")
    assert set(listed[0]) == set(BackupRecord.model_fields)


@pytest.mark.parametrize(("limit", "expected"), [(1, 1), (2, 2), (3, 3), (1000, 3)])
def test_limit_keeps_the_newest(
    client: httpx.Client, rows: list[BackupRecord], limit: int, expected: int
) -> None:
    listed = client.get(PATH, params={"limit": limit}).json()["backups"]
    assert [row["id"] for row in listed] == [str(row.id) for row in reversed(rows)][:expected]


def test_a_hundred_unless_told(client: httpx.Client, catalog: Catalog) -> None:
    for _ in range(101):
        catalog.add(
            BackupRecord(
                id=uuid4(), status=BackupStatus.PENDING, options={}, created_at=NOW, updated_at=NOW
            )
        )
    assert len(client.get(PATH).json()["backups"]) == 100


def test_pages_follow_each_other_and_miss_nothing(
    client: httpx.Client, rows: list[BackupRecord], catalog: Catalog
) -> None:
    seen, cursor = [], None
    while True:
        page = client.get(PATH, params={"limit": 1} | ({"cursor": cursor} if cursor else {})).json()
        assert page["total"] == 3 + bool(cursor)
        seen += [row["id"] for row in page["backups"]]
        if cursor is None:
            # One that is made meanwhile is newer than what was seen: nothing moves.
            catalog.add(rows[0].model_copy(update={"id": uuid4()}))
        if (cursor := page["next_cursor"]) is None:
            break
    assert seen == [str(row.id) for row in reversed(rows)]


def test_rows_of_one_moment_are_told_apart(client: httpx.Client, catalog: Catalog) -> None:
    same = [
        BackupRecord(
            id=uuid4(), status=BackupStatus.FAILED, options={}, created_at=NOW, updated_at=NOW
        )
        for _ in range(5)
    ]
    for record in same:
        catalog.add(record, keep_times=True)
    first = client.get(PATH, params={"limit": 2}).json()
    second = client.get(PATH, params={"limit": 9, "cursor": first["next_cursor"]}).json()
    listed = [row["id"] for row in first["backups"] + second["backups"]]
    assert listed == sorted(str(record.id) for record in same)


def test_filters(client: httpx.Client, catalog: Catalog, rows: list[BackupRecord]) -> None:
    catalog.update(rows[0].id, status=BackupStatus.FAILED, error="It did not work.")
    csv = catalog.add(rows[0].model_copy(update={"id": uuid4(), "options": {"format": "csv"}}))

    def ids(**params: str) -> set[str]:
        page = client.get(PATH, params=params).json()
        assert page["total"] == len(page["backups"])
        return {row["id"] for row in page["backups"]}

    everything = {str(row.id) for row in [*rows, csv]}
    assert ids(status="failed") == {str(rows[0].id), str(csv.id)} & ids(status="failed")
    assert ids(status="failed") | ids(status="pending") == everything
    assert ids(status="completed") == set()
    assert ids(format="csv") == {str(csv.id)}
    assert ids(format="json") == everything - {str(csv.id)}, "rows without a format are JSON"
    assert ids(to=rows[1].created_at.isoformat()) == {str(rows[0].id)}, "the end is exclusive"
    assert ids(**{"from": rows[1].created_at.isoformat()}) == everything - {str(rows[0].id)}
    # Whole hours east of UTC, as far as ISO 8601 goes, which Postgres does not.
    east = timezone(timedelta(hours=23, minutes=59))
    assert ids(to=rows[1].created_at.astimezone(east).isoformat()) == {str(rows[0].id)}
    page = client.get(
        PATH, params={"cursor": cursor(rows[1].created_at.astimezone(east).isoformat())}
    ).json()
    assert [row["id"] for row in page["backups"]] in (
        [str(rows[0].id)], [str(rows[1].id), str(rows[0].id)]
    )  # fmt: skip
    assert ids(status="pending", format="csv", to=rows[1].created_at.isoformat()) == set()


@pytest.mark.parametrize(
    "params",
    [
        {"cursor": "hunter2"},
        {"cursor": "MjAyNi0wMS0wMSAx"},
        {"cursor": "\u00e9"},
        {"from": "2026-01-01T00:00:00"},
        {"to": "yesterday"},
        {"status": "lost"},
        {"format": "xml"},
        {"limit": "0"},
        {"from": "0001-01-01T00:00:00+01:00"},
        {"to": "9999-12-31T23:59:59-01:00"},
        {"cursor": cursor("0001-01-01T00:00:00+01:00")},
        {"cursor": cursor("2026-01-01T00:00:00")},
    ],
)
def test_what_cannot_be_asked_is_422(client: httpx.Client, params: dict[str, str]) -> None:
    body = problem(client.get(PATH, params=params), 422, "invalid-request")
    assert next(iter(params)) in str(body["detail"])
    assert "hunter2" not in str(body)


def test_nothing_is_sent_twice(
    client: httpx.Client, catalog: Catalog, rows: list[BackupRecord]
) -> None:
    etag = client.get(PATH).headers["etag"]
    again = client.get(PATH, headers={"If-None-Match": f'W/"other", {etag}'})
    assert (again.status_code, again.content) == (304, b"")
    assert again.headers["etag"] == etag
    catalog.update(rows[0].id, status=BackupStatus.FAILED, error="It did not work.")
    changed = client.get(PATH, headers={"If-None-Match": etag})
    assert changed.status_code == 200
    assert changed.headers["etag"] != etag
