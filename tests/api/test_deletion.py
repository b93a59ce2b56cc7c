"""`DELETE /{id}` in all its ways, and taking back, pinning and unpinning."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta
from uuid import uuid4

import httpx
import pytest

from api.app import create_app
from api.caller import Scope
from api.keys import new_key
from convault import layout
from convault.catalog.base import BackupStatus, Catalog, CopyRecord, Held
from convault.installation import Installation
from convault.settings import Settings
from tests.api.test_retention import backed_up, ids
from tests.api.test_retention import installation as installation
from tests.handmade import new_backup
from tests.serving import PATH, client_of, problem, served

DELETER, DELETERS_ENTRY = new_key("deleter", [Scope.DELETE, Scope.LIST])


@pytest.fixture(scope="module")
def deleter(settings: Settings) -> Iterator[httpx.Client]:
    """Who may delete, and no more."""
    keys = Settings(convault_api_keys=DELETERS_ENTRY).convault_api_keys
    app = create_app(settings.model_copy(update={"convault_api_keys": keys}))
    with served(app) as url, client_of(url, DELETER) as client:
        yield client


def test_a_purge_tells_what_was_erased_where_and_what_remains(
    deleter: httpx.Client, installation: Installation
) -> None:
    repository, catalog = installation.repository, installation.catalog
    old, new = backed_up(installation, 3), backed_up(installation, 1)
    copy = CopyRecord(
        id=uuid4(), repository_id=repository.repository_id, name="offsite", url="s3://far",
        contents={old.backup_id: Held(state="trashed")},
    )  # fmt: skip
    catalog.save_copy(copy)
    answer = deleter.delete(f"{PATH}/{old.backup_id}", params={"purge": True})
    assert answer.status_code == 200, answer.text
    told = answer.json()
    assert told["status"] == "deleted"
    assert told["purged_at"] is not None
    purged = told["purged"]
    assert purged["objects"][0] == layout.trash_key(old.backup_id)
    assert set(purged["objects"][1:]) == {member.key for member in old.members}
    assert set(purged["shared"]) == set(old.objects()) & set(new.objects()) - set(purged["objects"])
    assert (purged["store"], purged["copies"]) == (repository.store.url, ["offsite"])
    assert purged["bytes"] > 0
    left = {info.key for info in repository.store.list()}
    assert not left & set(purged["objects"])
    assert set(new.objects()) <= left
    problem(deleter.delete(f"{PATH}/{old.backup_id}", params={"purge": True}), 404, "not-found")
    problem(deleter.post(f"{PATH}/{old.backup_id}/undelete"), 404, "not-found")
    done = {(e.action, e.result) for e in catalog.audited(4) if e.backup_id == old.backup_id}
    assert {("delete", "done"), ("purge", "done"), ("undelete", "not-found")} <= done


def test_what_must_stay_goes_only_by_an_admin_who_types_the_id(
    client: httpx.Client, deleter: httpx.Client, installation: Installation
) -> None:
    last = backed_up(installation, 1)
    path = f"{PATH}/{last.backup_id}"
    pinned = client.post(f"{path}/pin", json={"reason": "an exam"})
    assert pinned.json()["pinned"] == "an exam"
    problem(deleter.delete(path, params={"purge": True}), 409, "removal-refused")
    problem(deleter.delete(path, params={"confirm": str(last.backup_id)}), 403, "forbidden")
    problem(client.delete(path, params={"confirm": str(uuid4())}), 422, "options")
    problem(client.delete(path, params={"confirm": "yes"}), 422, "invalid-request")
    problem(client.delete(path, params={"purge": "perhaps"}), 422, "invalid-request")
    assert ids(client) == {str(last.backup_id)}
    gone = client.delete(path, params={"confirm": str(last.backup_id)})
    assert (gone.json()["status"], gone.json()["pinned"]) == ("deleted", None)
    assert gone.json()["purged"] is None
    assert ids(client) == set()
    entry = next(e for e in installation.catalog.audited(5) if e.action == "delete")
    assert entry.result == "done"
    assert "an exam" in entry.detail
    assert client.post(f"{path}/undelete").json()["status"] == "completed"
    assert (
        client.delete(path, params={"confirm": str(last.backup_id), "purge": True}).json()[
            "purged"
        ]["shared"]
        == []
    )
    assert list(installation.repository.store.list("data/")) == []


def test_pins_want_a_reason_and_end(client: httpx.Client, installation: Installation) -> None:
    made = backed_up(installation, 1)
    path = f"{PATH}/{made.backup_id}"
    for body in ({}, {"reason": " "}, {"reason": "x" * 501}, {"reason": 7}):
        problem(client.post(f"{path}/pin", json=body), 422, "options")
    assert client.post(f"{path}/pin", json={"reason": "an exam"}).status_code == 200
    assert client.post(f"{path}/unpin").json()["pinned"] is None
    for what in ("undelete", "unpin"):
        problem(client.post(f"{PATH}/{uuid4()}/{what}"), 404, "not-found")


def test_rows_that_a_failed_run_left_are_erased_as_well(
    client: httpx.Client, installation: Installation, catalog: Catalog
) -> None:
    """It has no manifest: what nothing names, and was stored since it began, goes."""
    kept = backed_up(installation, 1)
    backup_id = uuid4()
    with catalog.begin(backup_id, {}):
        half = new_backup(installation.repository, backup_id=backup_id, level=9)
        catalog.update(backup_id, status=BackupStatus.FAILED, error="it was stopped")
    orphans = set(half.objects()) - set(kept.objects())
    assert any(key.startswith("data/") for key in orphans)
    told = client.delete(f"{PATH}/{backup_id}", params={"purge": True}).json()["purged"]
    assert orphans <= set(told["objects"])
    left = {info.key for info in installation.repository.store.list()}
    assert not left & orphans
    assert set(kept.objects()) <= left


def test_one_that_nobody_can_stop_is_left_alone(client: httpx.Client, catalog: Catalog) -> None:
    backup_id = uuid4()
    with catalog.begin(backup_id, {}):
        answer = client.delete(f"{PATH}/{backup_id}")
        told = problem(answer, 409, "busy")
        assert "Ctrl-C" in str(told["detail"])
        assert answer.headers["retry-after"]
        catalog.update(backup_id, pinned="an exam")  # then nobody is told to stop
        told = problem(client.delete(f"{PATH}/{backup_id}"), 409, "removal-refused")
        assert "an exam" in str(told["detail"])
    assert catalog.get(backup_id).status is BackupStatus.PROCESSING
    assert catalog.now() - catalog.get(backup_id).created_at < timedelta(minutes=5)
