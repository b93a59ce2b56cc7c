"""`POST` with options that cannot be: 422 with the reason, and neither a row nor a run."""

from __future__ import annotations

from typing import Any

import httpx
import pytest

from api.routes import backups
from convault.catalog.base import Catalog
from tests.serving import PATH, problem


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
        ({"includeAttachments": True}, "needs SUPABASE_URL and SUPABASE_SERVICE_ROLE_KEY"),
        ({"buckets": ["media"]}, "leave buckets out"),
        ({"strictAttachments": True}, "add includeAttachments"),
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
