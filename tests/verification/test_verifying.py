"""Reading in turns, ages, repair, and what stands in the catalog afterwards."""

from __future__ import annotations

import os
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from hashlib import sha256
from uuid import uuid4

import psycopg
import pytest

from convault.catalog import BackupStatus
from convault.dataset.scope import scope_of
from convault.errors import NotFoundError, OptionsError
from convault.models import BackupOptions
from convault.settings import Settings
from convault.verification.findings import FindingKind, Repair
from convault.verification.reading import Subset
from convault.verification.verifying import concluded, read_some, survey, verify
from tests.restore.builder import back_up
from tests.verification.conftest import PART_BYTES, Kept


@pytest.mark.parametrize(("text", "runs"), [("1/1", 1), ("1/5", 5), ("2/5", 3), ("5/5", 1)])
def test_turns_read_everything(kept: Kept, text: str, runs: int) -> None:
    repository, catalog = kept.installation.repository, kept.installation.catalog
    read: list[str] = []
    for _ in range(runs):
        seen = survey(repository, catalog)
        read_some(repository, catalog, seen, Subset.parse(text))
        read += seen.read
    objects = kept.first.objects() | kept.second.objects()
    assert set(read) == set(objects)
    if int(text[-1]) % int(text[0]) == 0:
        assert len(read) == len(objects), "nothing is read twice before all is read"
    assert set(catalog.objects_read(repository.repository_id)) == set(objects)


def test_a_run_that_ends_early_keeps_its_turn(kept: Kept, monkeypatch: pytest.MonkeyPatch) -> None:
    repository, catalog = kept.installation.repository, kept.installation.catalog
    seen = survey(repository, catalog)
    stream = type(repository.store).stream
    left = [3]

    def breaking(self: object, key: str, *range_: int) -> object:
        left[0] -= 1
        if left[0] < 0:
            raise OSError("the disk is gone")
        return stream(self, key, *range_)  # type: ignore[arg-type]

    monkeypatch.setattr(type(repository.store), "stream", breaking)
    with pytest.raises(OSError, match="disk is gone"):
        read_some(repository, catalog, seen, Subset.parse("1/2"))
    assert catalog.turn(repository.repository_id, "", 2) == 0
    monkeypatch.undo()
    again = survey(repository, catalog)
    read_some(repository, catalog, again, Subset.parse("1/2"))
    assert catalog.turn(repository.repository_id, "", 2) == 1
    assert set(seen.read) < set(again.read)


@pytest.mark.parametrize("text", ["", "0/3", "4/3", "1", "1/0", "-1/3", "1/3/5", "ALL", "1/99999"])
def test_what_is_no_fraction_is_refused(text: str) -> None:
    with pytest.raises(OptionsError, match="N/T"):
        Subset.parse(text)


def test_the_longest_unread_object_and_its_age(kept: Kept) -> None:
    repository, catalog = kept.installation.repository, kept.installation.catalog
    read_some(repository, catalog, seen := survey(repository, catalog), Subset.parse("all"))
    assert concluded(repository, catalog, seen).oldest_unread is not None
    key = sorted(kept.first.objects())[2]
    long_ago = datetime.now(UTC) - timedelta(days=400)
    os.utime(kept.store / key, (long_ago.timestamp(), long_ago.timestamp()))
    environment = kept.application.environment
    with psycopg.connect(environment["CONVAULT_CATALOG_URL"]) as connection:
        connection.execute(
            "UPDATE backup_objects SET read_at = now() - interval '300 days' WHERE key = %s", [key]
        )
    found = verify(kept.installation)
    assert found.oldest_unread is not None
    assert found.oldest_unread.key == key
    shown = found.to_json(datetime.now(UTC))["oldest_unread"]
    assert abs(shown["seconds"] - 300 * 86400) < 5000
    # Never read at all: as old as it is.
    with psycopg.connect(environment["CONVAULT_CATALOG_URL"]) as connection:
        connection.execute("DELETE FROM backup_objects WHERE key = %s", [key])
    shown = verify(kept.installation).to_json(datetime.now(UTC))["oldest_unread"]
    assert abs(shown["seconds"] - 400 * 86400) < 5000


def test_what_is_gone_is_forgotten(kept: Kept) -> None:
    repository, catalog = kept.installation.repository, kept.installation.catalog
    catalog.record_read(repository.repository_id, {"data/gone/x": True})
    verify(kept.installation)
    assert catalog.objects_read(repository.repository_id) == {}


def _parts(kept: Kept) -> list[str]:
    return [p.key for t in kept.first.tables if t.name.name == "messages" for p in t.parts]


def test_a_part_that_the_source_still_holds_is_repairable_and_repaired(kept: Kept) -> None:
    flipped, missing, cut = _parts(kept)[:3]
    whole = {key: kept.read(key) for key in (flipped, missing, cut)}
    damage = whole[flipped][:-1] + bytes([whole[flipped][-1] ^ 1])
    kept.write(flipped, damage)
    kept.write(cut, whole[cut][:9])
    kept.delete(missing)
    all_ = Subset.parse("all")
    looked = verify(kept.installation, subset=all_)
    assert {f.key: f.repair for f in looked.findings} == dict.fromkeys(whole, Repair.REPAIRABLE)
    assert not looked.sound
    assert kept.read(flipped) == damage, "without --repair nothing is written"

    repaired = verify(kept.installation, subset=all_, put_back=True)
    assert {f.key: f.repair for f in repaired.findings} == dict.fromkeys(whole, Repair.REPAIRED)
    assert repaired.sound
    assert {key: kept.read(key) for key in whole} == whole
    aside = {path.read_bytes() for path in (kept.store / "damaged").rglob("*") if path.is_file()}
    assert aside == {damage, whole[cut][:9]}
    afterwards = verify(kept.installation, subset=all_)
    assert (afterwards.findings, afterwards.set_aside) == ((), 2)


def test_what_is_sound_is_never_overwritten(kept: Kept) -> None:
    before = {path: path.stat().st_mtime_ns for path in kept.store.rglob("*") if path.is_file()}
    verify(kept.installation, subset=Subset.parse("all"), put_back=True)
    assert {path: path.stat().st_mtime_ns for path in before} == before


def test_rows_that_changed_cannot_be_put_back(kept: Kept) -> None:
    key = _parts(kept)[-1]
    damage = kept.read(key)[:7]
    kept.write(key, damage)
    with psycopg.connect(kept.application.url) as connection:
        connection.execute("UPDATE messages SET body = body || '!' WHERE id = 1400")
        connection.commit()
        found = verify(kept.installation, put_back=True)
        connection.execute("UPDATE messages SET body = left(body, -1) WHERE id = 1400")
    (finding,) = found.findings
    assert (finding.kind, finding.repair) == (FindingKind.DAMAGED, Repair.NOT_REPAIRABLE)
    assert "have changed in the source" in finding.reason
    assert kept.read(key) == damage


def test_a_filter_that_selects_other_rows_by_now_is_not_the_only_way(kept: Kept) -> None:
    """A part of all rows of its pages is one object, whichever backups hold it."""
    repository, url = kept.installation.repository, kept.application.url
    options = BackupOptions.parse({"channelIds": [1, 2]})
    manifest = back_up(
        repository, url, part_bytes=PART_BYTES, scope=scope_of(kept.application.settings, options)
    )
    filtered = manifest.model_copy(update={"options": options.to_json()})
    repository.put_manifest(filtered)
    key = _parts(kept)[0]
    assert key in filtered.objects()
    whole = kept.read(key)
    kept.write(key, whole[:7])
    with psycopg.connect(url) as connection:
        connection.execute("INSERT INTO channels VALUES (3, 'other')")
        connection.execute("UPDATE conversations SET channel_id = 3 WHERE id % 3 = 0")
        connection.commit()
        found = verify(kept.installation, put_back=True)
        connection.execute("UPDATE conversations SET channel_id = 1 + id % 2 WHERE id % 3 = 0")
        connection.execute("DELETE FROM channels WHERE id = 3")
    assert {f.key: f.repair for f in found.findings}[key] is Repair.REPAIRED
    assert kept.read(key) == whole


def test_without_a_source_nothing_is_repairable_and_the_reason_is_told(kept: Kept) -> None:
    kept.delete(_parts(kept)[0])
    values = {name.lower(): value for name, value in kept.application.environment.items()}
    values["database_url"] = "postgresql://127.0.0.1:1/nowhere"
    installation = replace(kept.installation, settings=Settings(**values))
    (finding,) = verify(installation, put_back=True).findings
    assert finding.repair is Repair.NOT_REPAIRABLE
    assert "could not be asked" in finding.reason


def test_rows_of_before_learn_the_digest_of_their_manifest(kept: Kept) -> None:
    catalog, id_ = kept.installation.catalog, kept.first.backup_id
    digest = sha256(kept.first.to_bytes()).hexdigest()
    assert catalog.get(id_).manifest_sha256 == digest
    catalog.update(id_, manifest_sha256=None)
    verify(kept.installation)
    assert catalog.get(id_).manifest_sha256 == digest


def test_a_completed_row_without_a_manifest_is_told(kept: Kept) -> None:
    lost = kept.first.backup_id
    key = kept.installation.repository.manifest_key(lost)
    kept.delete(key)
    alone = survey(kept.installation.repository, kept.installation.catalog, lost)
    assert [(f.kind, f.key) for f in alone.findings] == [(FindingKind.MISSING, key)]
    assert kept.installation.catalog.get(lost).status is BackupStatus.COMPLETED


def test_a_backup_that_never_was_is_not_found(kept: Kept) -> None:
    with pytest.raises(NotFoundError):
        verify(kept.installation, uuid4())


def test_one_backup_alone(kept: Kept) -> None:
    assert verify(kept.installation, kept.second.backup_id).backups == (kept.second.backup_id,)
