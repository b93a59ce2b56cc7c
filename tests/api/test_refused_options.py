"""`POST` of what cannot be: the reason, and neither a row nor a run."""

from __future__ import annotations

from typing import Any

import httpx
import psycopg
import pytest

from api.app import create_app
from api.routes import backups
from convault.catalog.base import Catalog
from convault.settings import Settings
from tests.serving import PATH, client_of, problem, served

RECIPIENTS = ["age1" + "q" * 58]


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"conversationIds": ["7", "x' OR true --"]}, "value 2 of 2 is no bigint"),
        ({"conversationIds": [*range(10**15, 10**15 + 9999), "x"]}, "value 10000 of 10000 is no"),
        ({"conversationIds": [f"{n:036}" for n in range(20_000)]}, "make several backups"),
        ({"conversationIds": []}, "empty list"),
        ({"conversationIds": ["a\0b"]}, "character"),
        ({"status": "open"}, "CONVAULT_STATUS_COLUMN"),
        ({"participantIds": [1]}, "CONVAULT_PARTICIPANTS_COLUMN"),
        ({"channelIds": ["one"]}, "is no integer"),
        ({"startDate": "01/02/2026"}, "2026-01-31"),
        ({"startDate": "2026-01-02", "endDate": "2026-01-01"}, "endDate is before startDate"),
        ({"startDate": "2026-01-02T00:01Z", "endDate": "2026-01-01"}, "endDate is before"),
        ({"tables": ["sales.*"]}, "matches no table"),
        ({"tables": ["auth.users"]}, "manages"),
        ({"tables": ["messages"], "status": "open"}, "cannot be combined"),
        ({"conversations": ["7"]}, "Extra inputs"),
    ],
)
def test_it_is_refused_before_anything_starts(
    client: httpx.Client, catalog: Catalog, monkeypatch: pytest.MonkeyPatch,
    options: dict[str, Any], said: str,
) -> None:  # fmt: skip
    def never(*_: Any) -> None:
        raise AssertionError("a run was asked for")

    monkeypatch.setattr(backups, "start_backup", never)
    body = problem(client.post(PATH, json=options), 422, "options")
    assert said in str(body["detail"])
    assert catalog.list() == []


@pytest.mark.parametrize("mode", ["required", "auto"])
def test_a_backup_that_nobody_could_read_is_refused_before_anything_starts(
    mode: str, settings: Settings, catalog: Catalog, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its run would fail: without a recipient, or with none that is active any more."""

    def never(*_: Any) -> None:
        raise AssertionError("a run was asked for")

    monkeypatch.setattr(backups, "start_backup", never)
    known = [key for key in RECIPIENTS if mode == "auto"]
    catalog.remember_recipients(known, "found in a backup")
    try:
        strict = settings.model_copy(update={"convault_encryption": mode})
        with served(create_app(strict)) as url, client_of(url) as client:
            body = problem(client.post(PATH, json={}), 409, "recipient-missing")
    finally:
        with psycopg.connect(settings.catalog_url()) as connection:
            connection.execute("DELETE FROM public.backup_recipients")
    assert "convault keys add" in str(body["detail"])
    assert catalog.list() == []
