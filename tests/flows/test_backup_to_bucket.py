"""The whole way round through `s3://`, on both servers: init, backup, backup again, restore."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from convault.archive.composed import Archive
from convault.embedded.server import EmbeddedPostgres
from convault.errors import StoreError
from flows.backup import backup
from tests.flows.application import build, differences
from tests.prefect_server import PrefectServer

pytestmark = [pytest.mark.prefect_server, pytest.mark.xdist_group("flows")]


def test_what_went_into_a_bucket_comes_back(
    bucket_url: str,
    cluster: EmbeddedPostgres,
    new_database: Callable[[EmbeddedPostgres], str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    prefect_api: PrefectServer,
) -> None:
    application = build(
        new_database(cluster),
        new_database(cluster),
        tmp_path / "unused",
        CONVAULT_STORE_URL=bucket_url,
        CONVAULT_RANGE_PAGES="16",
        CONVAULT_PART_BYTES="131072",
        CONVAULT_CHUNK_BYTES="300000",
    )
    for name, value in application.environment.items():
        monkeypatch.setenv(name, value)
    record = backup()
    assert record.rows == 2 + 50 + 2000
    assert set(differences(application, record.id, new_database(cluster)).values()) == {0}
    again = backup()
    assert again.metrics is not None
    assert again.metrics["new_bytes"] == 0
    repository = application.installation().repository
    assert set(repository.backup_ids()) == {record.id, again.id}
    assert sum(map(len, Archive(repository, record.id).stream())) == record.file_size

    monkeypatch.setenv("CONVAULT_STORE_URL", bucket_url.replace("://bucket", "://no-bucket"))
    with pytest.raises(StoreError, match="does not exist"):
        backup()
