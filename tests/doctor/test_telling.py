"""Who is told, and of what, as the doctor sees it."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any
from uuid import uuid4

from convault.doctor.finding import State
from convault.doctor.telling import examine, incidents, told
from convault.incidents import Incident
from convault.settings import Settings

NOW = datetime(2026, 3, 10, tzinfo=UTC)


def incident(**others: Any) -> Incident:
    return Incident(
        **{"id": uuid4(), "kind": "backup-failed", "title": "It failed", "opened_at": NOW, **others}
    )


def test_whether_anybody_is_told() -> None:
    assert told(["1 json"], [], pinged=True).state is State.OK
    assert "CONVAULT_PING_URL" in told(["1 json"], [], pinged=False).found
    nobody = told([], [], pinged=False)
    assert (nobody.state, nobody.found) == (State.AMBER, "nobody")
    assert "CONVAULT_NOTIFY_URLS" in nobody.remedy
    assert "dead man's switch" in told([], [], pinged=True).found


def test_a_url_that_is_none_is_red_and_not_shown() -> None:
    found, beside = examine(Settings(convault_notify_urls="json://h slack://t0ken"), None)
    assert (found.name, found.state) == ("who is told", State.RED)
    assert "URL 2" in found.found
    assert "t0ken" not in f"{found.found}{found.remedy}"
    assert beside.state is State.NOT_CHECKED


def test_incidents_that_last_are_named() -> None:
    assert incidents([]).state is State.OK
    assert incidents([incident(recovered_at=NOW)]).state is State.OK
    found = incidents([incident(title=f"Title {n}") for n in range(5)])
    assert (found.state, found.found) == (State.AMBER, "Title 0; Title 1; Title 2 and 2 more")
    unreached = incidents([incident(problem="1 json: no answer", recovered_at=NOW)])
    assert "1 json: no answer" in unreached.found
