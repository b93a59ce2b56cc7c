"""Without a Prefect server, or without the deployment on it, nobody is told that a run began."""

from __future__ import annotations

from uuid import uuid4

import pytest
from prefect.settings import PREFECT_API_URL, temporary_settings

from convault.errors import PrefectUnavailable
from convault.models import BackupOptions
from deployments import start_backup


def test_no_address_is_set() -> None:
    with (
        temporary_settings({PREFECT_API_URL: None}),
        pytest.raises(PrefectUnavailable, match="PREFECT_API_URL is not set"),
    ):
        start_backup(BackupOptions(), uuid4())


def test_nobody_listens(closed_port: int) -> None:
    with (
        temporary_settings({PREFECT_API_URL: f"http://127.0.0.1:{closed_port}/api"}),
        pytest.raises(PrefectUnavailable, match="cannot be reached") as caught,
    ):
        start_backup(BackupOptions(), uuid4())
    assert caught.value.__suppress_context__
    assert caught.value.transient
    assert caught.value.http_status == 503


@pytest.mark.prefect_server
@pytest.mark.xdist_group("prefect")
def test_nothing_is_deployed(prefect_api: object, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("deployments.start.DEPLOYMENT", "backup/nothing")
    with pytest.raises(PrefectUnavailable, match="prefect deploy --all --no-prompt"):
        start_backup(BackupOptions(), uuid4())
