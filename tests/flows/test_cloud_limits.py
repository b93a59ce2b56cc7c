"""What a backup asks of the Prefect server: few enough requests and log lines for Prefect Cloud.

A backup of 3 M rows is modelled from two that are counted: what a run costs once, and what each
chunk and each part cost more.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from urllib.parse import urlsplit

import pytest
from prefect.client.orchestration import get_client
from prefect.client.schemas.filters import LogFilter, LogFilterFlowRunId
from prefect.logging.handlers import APILogWorker
from prefect.settings import (
    PREFECT_API_URL,
    PREFECT_LOGGING_TO_API_BATCH_INTERVAL,
    temporary_settings,
)

from convault.models import BackupOptions
from flows.artifacts import SECONDS
from flows.backup import backup
from tests.counting_proxy import counted
from tests.flows.application import Application
from tests.patience import PATIENCE
from tests.prefect_server import PrefectServer

pytestmark = [pytest.mark.prefect_server, pytest.mark.xdist_group("flows")]

LIMIT = 200
"""requests, and log lines, that a minute may see"""
CHUNKS, PARTS = 20, 160
"""of 3 M rows in 1.24 GB of heap, read whole: chunks of 64 MiB, ranges of 8 MiB"""


@dataclass(frozen=True)
class Cost:
    requests: int
    lines: int
    chunks: int
    parts: int


def cost(server: PrefectServer) -> Cost:
    """Of one backup, which is over in less than a minute."""
    parts = urlsplit(server.url)
    assert parts.hostname is not None
    assert parts.port is not None
    with counted(parts.hostname, parts.port) as (port, found):
        url = re.sub(r":\d+/", f":{port}/", server.url)
        with temporary_settings({PREFECT_API_URL: url}):
            record = backup(BackupOptions())
            APILogWorker.drain_all()
        requests = found.total
    assert record.metrics is not None
    with get_client(sync_client=True) as client:
        lines, page = 0, -1
        while page:
            page = len(
                client.read_logs(
                    LogFilter(flow_run_id=LogFilterFlowRunId(any_=[record.flow_run_id])),
                    limit=200, offset=lines,
                )
            )  # fmt: skip
            lines += page
    return Cost(requests, lines, record.metrics["chunks"], record.metrics["parts"])


def test_a_large_backup_stays_below_the_limits(
    application: Application, prefect_api: PrefectServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CONVAULT_FULL_EVERY", "1")  # nothing is taken over
    monkeypatch.setenv("CONVAULT_PART_BYTES", "1000000")
    # What goes by the clock counts below, or a slow machine's longer run would count as more.
    monkeypatch.setattr("flows.artifacts.SECONDS", PATIENCE)
    small = cost(prefect_api)
    monkeypatch.setenv("CONVAULT_RANGE_PAGES", "4")
    monkeypatch.setenv("CONVAULT_CHUNK_BYTES", "70000")
    large = cost(prefect_api)
    assert large.chunks >= 2 * small.chunks
    assert large.parts >= 2 * small.parts
    for was, is_ in ((small.requests, large.requests), (small.lines, large.lines)):
        grown = max(0, is_ - was)
        assert was + grown / (large.chunks - small.chunks) * CHUNKS < LIMIT
        assert was + grown / (large.parts - small.parts) * PARTS < LIMIT


def test_a_long_one_does_too() -> None:
    """Of what a run asks for again and again, by the clock."""
    progress, lines = 60 / SECONDS, 60 / PREFECT_LOGGING_TO_API_BATCH_INTERVAL.value()
    assert progress + lines < LIMIT / 2
