"""`DELETE /{id}`, `POST /cleanup` and `GET /audit`."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta
from typing import Any
from uuid import uuid4

import httpx
import pytest

from convault import layout
from convault.catalog.base import BackupStatus, Catalog
from convault.commit import commit
from convault.installation import Installation, open_installation
from convault.manifest import Manifest
from convault.settings import Settings
from tests.handmade import new_backup
from tests.serving import PATH, problem


@pytest.fixture
def installation(settings: Settings, catalog: Catalog) -> Iterator[Installation]:
    """Its store is empty again afterwards, as its table is before."""
    found = open_installation(settings)
    yield found
    for folder in ("backups", "data", "trash", "sweep"):
        for info in list(found.repository.store.list(f"{folder}/")):
            found.repository.store.delete(info.key)


def backed_up(installation: Installation, days: int) -> Manifest:
    """A backup that is that many days old."""
    now = installation.catalog.now() - timedelta(hours=1, days=days)
    made = new_backup(installation.repository, backup_id=uuid4())
    made = made.model_copy(update={"created_at": now})
    with installation.catalog.begin(made.backup_id, made.options) as lease:
        commit(installation.repository, installation.catalog, lease, made, metrics={})
    return made


def ids(client: httpx.Client) -> set[str]:
    return {row["id"] for row in client.get(PATH).json()["backups"]}


def test_a_backup_is_deleted_unless_it_must_stay(
    client: httpx.Client, installation: Installation
) -> None:
    old, new = backed_up(installation, 3), backed_up(installation, 1)
    answer = client.delete(f"{PATH}/{old.backup_id}")
    assert answer.status_code == 200
    assert answer.json()["status"] == "deleted"
    assert ids(client) == {str(new.backup_id)}
    deleted = client.get(PATH, params={"status": "deleted"}).json()["backups"]
    assert [row["id"] for row in deleted] == [str(old.backup_id)]
    installation.repository.store.head(layout.trash_key(old.backup_id))
    told = problem(client.delete(f"{PATH}/{new.backup_id}"), 409, "removal-refused")
    assert "last good one" in str(told["detail"])
    installation.catalog.update(new.backup_id, pinned="an exam")
    told = problem(client.delete(f"{PATH}/{new.backup_id}"), 409, "removal-refused")
    assert "an exam" in str(told["detail"])
    problem(client.delete(f"{PATH}/{uuid4()}"), 404, "not-found")
    problem(client.delete(f"{PATH}/nonsense"), 422, "invalid-request")
    assert installation.catalog.get(new.backup_id).status is BackupStatus.COMPLETED
    entries = client.get(f"{PATH}/audit", params={"limit": 4}).json()
    assert {entry["result"] for entry in entries} == {"done", "removal-refused", "not-found"}
    assert {(e["actor"], e["origin"]) for e in entries} == {("CONVAULT_API_KEY", "api 127.0.0.1")}
    assert entries[-1]["backup_id"] == str(old.backup_id)
    problem(client.get(f"{PATH}/audit", params={"limit": 0}), 422, "invalid-request")


def test_a_clean_up_is_tried_and_done(client: httpx.Client, installation: Installation) -> None:
    made = [backed_up(installation, days) for days in range(6)]
    rules: dict[str, Any] = {"olderThan": 2, "keepCount": 1, "status": "completed"}
    tried = client.post(f"{PATH}/cleanup", json={**rules, "dryRun": True})
    assert tried.status_code == 200
    assert tried.json()["dryRun"] is True
    oldest = [str(m.backup_id) for m in made[4:]]
    assert tried.json()["removed"] == oldest
    reasons = {d["id"]: d["reason"] for d in tried.json()["decisions"]}
    assert reasons[oldest[0]] == "older than 2d"
    assert reasons[str(made[0].backup_id)] == "the last good one of its group"
    assert "at most a third" in reasons[str(made[3].backup_id)]
    assert len(ids(client)) == 6
    assert client.post(f"{PATH}/cleanup", json=rules).json()["removed"] == oldest
    entries = client.get(f"{PATH}/audit", params={"limit": 7}).json()
    assert {entry["action"] for entry in entries} == {"retain", "delete", "keep"}
    assert {(e["actor"], e["origin"]) for e in entries} == {("CONVAULT_API_KEY", "api 127.0.0.1")}
    assert ids(client) == {str(m.backup_id) for m in made[:4]}


@pytest.mark.parametrize(
    "body",
    [
        {}, [], {"keepLast": 0}, {"keepLast": 1, "dryRun": "yes"}, {"keepForever": 1},
        {"keepLast": 1, "dryRun": False, "dry_run": True}, {"olderThan": "30d", "status": []},
        {"keepLast": 1, "keep_last": 9}, {"olderThan": "60d", "keepAtMost": "30d"},
        {"olderThan": 10**9}, {"keepLast": 10**30}, {"olderThan": True}, {"olderThan": -1},
    ],
    ids=str,
)  # fmt: skip
def test_a_policy_that_says_nothing_or_two_things_is_refused(
    client: httpx.Client, installation: Installation, body: object
) -> None:
    problem(client.post(f"{PATH}/cleanup", json=body), 422, "policy")


def test_rules_come_from_the_settings_where_none_are_given(settings: Settings) -> None:
    from convault.retention.configured import policy_of

    own = settings.model_copy(update={"convault_keep_daily": 7, "convault_keep_minimum": 2})
    assert policy_of(own).to_json() == {"keepDaily": 7, "minimumGood": 2}
    assert policy_of(own, {"keep_last": 3}).to_json() == {"keepLast": 3, "minimumGood": 2}
    assert policy_of(own, {"minimumGood": 5}).to_json() == {"keepDaily": 7, "minimumGood": 5}


def test_the_answers_are_documented(client: httpx.Client) -> None:
    paths = client.get("/openapi.json").json()["paths"]
    assert {"200", "404", "409", "422"} <= set(
        paths[f"{PATH}/{{backup_id}}"]["delete"]["responses"]
    )
    assert {"200", "400", "413", "415", "422"} <= set(paths[f"{PATH}/cleanup"]["post"]["responses"])
