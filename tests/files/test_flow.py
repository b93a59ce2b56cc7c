"""The flow `backup` with files, as the command and the API start it, and what is refused before."""

from __future__ import annotations

from pathlib import Path

import pytest

from convault.catalog import BackupStatus
from convault.drill.drilling import drill
from convault.errors import FilesError, OptionsError
from convault.files.wanted import files_wanted
from convault.models import BackupOptions
from convault.settings import Settings
from flows.backup import backup
from tests.files.world import World, outcomes
from tests.prefect_server import PrefectServer

pytestmark = [pytest.mark.prefect_server, pytest.mark.xdist_group("commands")]


def test_the_flow_copies_files_and_the_drill_finds_each(
    world: World, prefect_api: PrefectServer
) -> None:
    world.upload("a.txt", b"one")
    world.attach("a.txt", "../b.txt")
    world.link(world.url_of("a.txt"), 2)
    record = backup(BackupOptions(include_attachments=True))
    assert record.metrics is not None
    assert record.metrics["files"] == {
        "stored": 1, "missing": 0, "changed": 0, "external_rows": 1, "objects": 1, "bytes": 3,
        "stored_bytes": 3, "read": 1, "held": 0, "new_bytes": 3,
    }  # fmt: skip
    [warning] = [w for w in record.metrics["warnings"] if "Files of" in w]
    assert warning.startswith("Files of 1 rows were not copied")
    assert "(1 of public.message_attachments.path)" in warning
    installation = world.application.installation()
    manifest = installation.repository.manifest(record.id)
    assert outcomes(manifest) == {"a.txt": "stored", "malformed: ": "external"}
    report = drill(installation, record.id)
    checks = [check for check in report.checks if check.what == "files"]
    assert [check.outcome.value for check in checks] == ["passed"] * 3
    world.attach("b.txt", bucket="no-such-bucket")
    with pytest.raises(FilesError, match="no such bucket"):
        backup(BackupOptions(include_attachments=True))
    failed = installation.catalog.list(limit=1)[0]
    assert failed.status is BackupStatus.FAILED
    assert "no-such-bucket" in str(failed.error)
    assert installation.repository.backup_ids() == [record.id]


def test_what_cannot_be_is_refused_before_anything_is_started(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    options = BackupOptions(include_attachments=True)
    settings = Settings(convault_store_url="supabase://media/backups")
    monkeypatch.delenv("SUPABASE_URL", raising=False)
    monkeypatch.chdir(tmp_path)
    with pytest.raises(OptionsError, match=r"SUPABASE_URL.*leave includeAttachments out"):
        files_wanted(settings, options)
    assert files_wanted(settings, BackupOptions()) is None
    monkeypatch.setenv("SUPABASE_URL", "https://abc.supabase.co")
    monkeypatch.setenv("SUPABASE_SERVICE_ROLE_KEY", "sb_secret_x")
    wanted = files_wanted(settings, options)
    assert wanted is not None
    assert wanted.borders.own == ("media", "backups")
    assert "sb_secret_x" not in repr(wanted)
    s3 = Settings(
        convault_store_url="s3://media/x?endpoint=https://abc.storage.supabase.co/storage/v1/s3"
    )
    wanted = files_wanted(s3, options)
    assert wanted is not None
    assert wanted.borders.own == ("media", "x")
    for host in ("ABC.supabase.co:443", "files.example.com"):
        monkeypatch.setenv("AWS_ENDPOINT_URL_S3", f"https://{host}/storage/v1/s3")
        by_host = Settings(
            convault_store_url="s3://media/x", convault_file_hosts="Files.example.com"
        )
        wanted = files_wanted(by_host, options)
        assert wanted is not None
        assert wanted.borders.own == ("media", "x"), host
    monkeypatch.delenv("AWS_ENDPOINT_URL_S3")
    with pytest.raises(OptionsError, match="where the backups are kept"):
        files_wanted(
            Settings(convault_store_url="supabase://media"), BackupOptions(buckets=("media",))
        )
    with pytest.raises(OptionsError, match="does not name other"):
        files_wanted(Settings(convault_file_buckets="media"), BackupOptions(buckets=("other",)))
