"""A backup after another one: it costs what changed, and is a whole backup to whoever reads it."""

from __future__ import annotations

import shutil
from typing import Any

import psycopg
import pytest
from typer.testing import CliRunner

from cli.main import app
from convault.archive.composed import Archive
from convault.comparison import compare
from convault.manifest import Manifest
from convault.models import BackupOptions
from convault.restore import restore
from convault.restore.options import RestoreOptions
from flows.backup import backup
from tests.encryption.keys import new_key
from tests.flows.application import Application, differences
from tests.sources.reading import run

pytestmark = [pytest.mark.prefect_server, pytest.mark.xdist_group("flows")]


def reused(record: Any) -> dict[str, Any]:
    found: dict[str, Any] = record.metrics["reused"]
    return found


def told(*arguments: str) -> str:
    result = CliRunner().invoke(app, list(arguments), catch_exceptions=False)
    assert result.exit_code == 0, result.output
    return result.output


def check_one_conversation(
    application: Application, manifest: Manifest, target: str, **options: Any
) -> None:
    """Its rows come back by the indexes of this backup and of earlier ones."""
    repository = application.installation().repository
    restore(repository, manifest, target, options=RestoreOptions(conversations=("7",)), **options)
    query = "SELECT id, body, tags FROM messages WHERE conversation_id = 7 ORDER BY id"
    assert run(target, query) == run(application.url, query) != []
    assert run(target, "SELECT count(*) FROM messages WHERE conversation_id <> 7") == [(0,)]
    with psycopg.connect(target, autocommit=True) as connection:
        connection.execute("DROP SCHEMA public CASCADE; CREATE SCHEMA public")


def test_it_takes_over_what_is_unchanged_and_needs_no_earlier_backup(
    application: Application, empty: str
) -> None:
    repository = application.installation().repository
    first = backup()
    assert reused(first)["full_because"] == "there is no earlier backup with the same options"
    before = {info.key for info in repository.store.list()}
    second = backup()
    assert second.parent_id == first.id
    assert second.metrics is not None
    assert second.metrics["new_bytes"] == 0
    assert (second.rows, second.stored_bytes) == (first.rows, first.stored_bytes)
    assert reused(second)["ranges"] == reused(second)["of_ranges"] > 6
    new = {info.key for info in repository.store.list()} - before
    assert {key for key in new if key.startswith("data/messages")} == set()
    application.execute("UPDATE messages SET body = 'changed' WHERE id > 1990")
    application.execute("INSERT INTO messages (conversation_id, body) VALUES (7, 'new')")
    third = backup()
    manifest = repository.manifest(third.id)
    assert 0 < reused(third)["ranges"] < reused(third)["of_ranges"]
    assert manifest.reuse is not None
    assert manifest.reuse.since_full == 2
    reasons = {e.read_because for t in manifest.tables for e in t.ranges if not e.taken_over}
    assert "its rows changed" in reasons

    shown = told("show", str(third.id))
    assert "Taken over unchanged" in shown
    assert str(second.id) in shown
    for gone in (first.id, second.id):
        shutil.rmtree(application.store / "backups" / str(gone))
    check_one_conversation(application, manifest, empty)
    assert set(differences(application, third.id, empty).values()) == {0}
    whole = Archive(repository, third.id)
    assert sum(len(piece) for piece in whole.stream()) == whole.size


def test_what_is_missing_from_the_store_is_read_again(application: Application, empty: str) -> None:
    first = backup()
    gone, cut = sorted((application.store / "data" / "messages").iterdir())[:2]
    gone.unlink()
    cut.write_bytes(b"x")
    second = backup()
    manifest = application.installation().repository.manifest(second.id)
    reasons = [e.read_because for t in manifest.tables for e in t.ranges if e.read_because]
    assert reasons == ["a part of it is missing from the store, or damaged"] * 2
    assert second.metrics is not None
    assert second.metrics["repaired"] == 1
    assert set(differences(application, first.id, empty).values()) == {0}
    for index in (application.store / "data" / "=index").iterdir():
        index.unlink()
    third = reused(backup())
    assert third["ranges"] == 0
    assert "is missing from where backups share it" in third["full_because"]


def test_everything_is_read_when_asked_for_or_due_and_what_differs_is_told(
    application: Application, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CONVAULT_FULL_EVERY", "2")
    installation = application.installation()
    repository = installation.repository
    backup()
    assert reused(backup())["ranges"] > 0
    due = backup()
    assert reused(due)["ranges"] == 0
    assert "CONVAULT_FULL_EVERY" in reused(due)["full_because"]
    asked = backup(BackupOptions(full=True))
    assert reused(asked)["full_because"] == "asked for with --full"
    assert asked.metrics is not None
    assert asked.metrics["new_bytes"] == 0
    assert asked.metrics["warnings"] == reused(asked)["differing"] == []

    # A backup that says otherwise: as if what was read then had not been what was there.
    manifest = repository.manifest(asked.id)
    table = manifest.tables[-1]
    other = table.parts[0].model_copy(update={"plain_sha256": "0" * 64})
    changed = table.model_copy(update={"parts": (other, *table.parts[1:])})
    forged = manifest.model_copy(update={"tables": (*manifest.tables[:-1], changed)})
    key = repository.manifest_key(asked.id)
    repository.store.replace(key, installation.signing.sign(forged.to_bytes()))
    catalog = application.environment["CONVAULT_CATALOG_URL"]
    ((known,),) = run(catalog, f"SELECT manifest_sha256 FROM backups WHERE id = '{asked.id}'")
    run(catalog, f"UPDATE backups SET manifest_sha256 = NULL WHERE id = '{asked.id}'")
    red = backup(BackupOptions(full=True))
    assert red.metrics is not None
    assert red.parent_id == asked.id
    (range_,) = reused(red)["differing"]
    assert range_.startswith("public.messages pages 0-")
    assert any("one of the two is wrong" in warning for warning in red.metrics["warnings"])

    shutil.rmtree(application.store / "backups" / str(red.id))
    run(catalog, f"DELETE FROM backups WHERE id = '{red.id}'")
    run(catalog, f"UPDATE backups SET manifest_sha256 = '{known}' WHERE id = '{asked.id}'")
    assert "is not the one that was committed" in reused(backup())["full_because"]


def test_encrypted_parts_are_taken_over_while_the_same_people_can_open_them(
    application: Application, empty: str
) -> None:
    _, alice = new_key()
    _, bob = new_key()
    catalog = application.installation().catalog
    for key in (alice, bob):
        catalog.add_recipient(key.recipient)
    backup()
    application.execute("INSERT INTO messages (conversation_id, body) VALUES (7, 'new')")
    second = backup()
    repository = application.installation().repository
    manifest = repository.manifest(second.id)
    assert 0 < reused(second)["ranges"] < reused(second)["of_ranges"]
    assert manifest.encryption is not None
    assert len(manifest.encryption.digest_keys) == 2
    check_one_conversation(application, manifest, empty, identities=[bob])
    restore(repository, manifest, empty, identities=[bob])
    names = [table.name for table in manifest.tables]
    assert all(found.equal for found in compare(application.url, empty, names))
    catalog.retire_recipient(bob.recipient)
    third = backup()
    assert reused(third)["ranges"] == 0
    assert "is encrypted to others" in reused(third)["full_because"]
