"""What a run shows in Prefect, and what passing rows through its tasks costs."""

from __future__ import annotations

import os
import time
import weakref
from datetime import datetime, timedelta

import pyarrow as pa
import pytest
from prefect import flow, task

from cli.backups import backup as command_backup
from cli.listing import omissions, show
from flows.backup import backup
from tasks.load import Load
from tasks.policy import POLICY
from tests.flows.application import Application
from tests.patience import PATIENCE
from tests.prefect_server import PrefectServer

pytestmark = [
    pytest.mark.prefect_server,
    pytest.mark.events,
    pytest.mark.xdist_group("flows"),
]


def test_artifacts_tell_progress_tables_and_result(
    application: Application, prefect_api: PrefectServer
) -> None:
    record = backup()
    found = prefect_api.ask(
        "/artifacts/filter", {"artifacts": {"flow_run_id": {"any_": [str(record.flow_run_id)]}}}
    )
    by_key = {artifact["key"]: artifact for artifact in found}
    assert set(by_key) == {"backup-progress", "backup-tables", "backup-result"}
    assert by_key["backup-progress"]["type"] == "progress"
    assert by_key["backup-progress"]["data"] == 100.0
    assert by_key["backup-tables"]["type"] == "table"
    assert "public.messages" in by_key["backup-tables"]["data"]
    assert by_key["backup-result"]["type"] == "markdown"
    assert str(record.id) in by_key["backup-result"]["data"]
    assert f"{record.rows} rows" in by_key["backup-result"]["data"]


def test_runs_of_tasks_are_named_for_their_rows(
    application: Application, prefect_api: PrefectServer
) -> None:
    record = backup()
    assert record.metrics is not None
    wanted = {"fetch", "serialize", "compress", "upload"}
    deadline = time.monotonic() + PATIENCE
    while True:
        # The server writes them down some time after they ran.
        runs = prefect_api.ask(
            "/task_runs/filter",
            {"flow_runs": {"id": {"any_": [str(record.flow_run_id)]}}, "limit": 200},
        )
        done = [run for run in runs if run["state_type"] == "COMPLETED"]
        if len([run for run in done if run["name"].startswith("record ")]) == 1:
            break
        assert time.monotonic() < deadline, [run["name"] for run in runs]
        time.sleep(0.3)
    names = {run["name"] for run in done}
    assert {name.split()[0] for name in names} >= {*wanted, "begin", "chunk", "count", "record"}
    for step in wanted:
        assert f"{step} public.channels pages 0-end #0" in names
    assert "count all tables" in names
    assert f"record {record.id}" in names
    chunks = [run for run in done if run["name"].startswith("chunk ")]
    assert len(chunks) == record.metrics["chunks"]
    assert all(run["run_count"] == 1 for run in done)


def test_what_is_not_included_is_told(
    application: Application,
    prefect_api: PrefectServer,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """In the row's metrics, in the artifact, and by the commands."""
    application.execute("CREATE TABLE message_attachments (message_id bigint, name text)")
    application.execute("CREATE TABLE audit_log (entry text)")
    record = backup()
    assert record.metrics is not None
    assert record.metrics["not_included"] == ["public.audit_log", "public.message_attachments"]
    (warning,) = record.metrics["warnings"]
    assert "public.message_attachments is not in the backup, although its column" in warning
    (artifact,) = prefect_api.ask(
        "/artifacts/filter",
        {
            "artifacts": {
                "flow_run_id": {"any_": [str(record.flow_run_id)]},
                "key": {"any_": ["backup-result"]},
            }
        },
    )
    assert f"**Warning:** {warning}" in artifact["data"]
    assert "- `public.audit_log`\n- `public.message_attachments`\n" in artifact["data"]

    monkeypatch.setattr("cli.backups.load_flow", lambda: backup)
    command_backup()
    told = capsys.readouterr().err.splitlines()
    assert f"Warning: {warning}" in told
    assert "Not included: public.audit_log, public.message_attachments." in told
    show(str(record.id))
    shown = {tuple(line.split("  ", 1)) for line in capsys.readouterr().out.splitlines()}
    facts = {fact[0].strip(): fact[1].strip() for fact in shown if len(fact) == 2}
    assert facts["warning"] == warning
    assert facts["not included"] == "public.audit_log, public.message_attachments"


def test_what_is_all_included_is_told_by_silence(application: Application) -> None:
    record = backup()
    assert record.metrics is not None
    assert record.metrics["not_included"] == record.metrics["warnings"] == []
    assert omissions(record) == []


@task(name="give", **POLICY)
def give(size: int) -> Load[pa.Table]:
    return Load("rows", pa.table({"value": pa.array([os.urandom(1024)] * (size // 1024))}))


@task(name="take", **POLICY)
def take(rows: Load[pa.Table]) -> int:
    return rows.content.nbytes


def test_passing_a_piece_takes_no_time_and_keeps_nothing(prefect_api: PrefectServer) -> None:
    """A piece is passed in the time of an empty one, and let go while the flow still runs."""
    size = 32 * 1024 * 1024

    @flow(name="passing", persist_result=False)
    def passing() -> tuple[timedelta, list[bool]]:
        kept = []
        fastest = timedelta.max
        for _ in range(5):
            rows = give(size)
            kept.append(weakref.ref(rows.content))
            started = datetime.now()
            assert take(rows) >= size
            fastest = min(fastest, datetime.now() - started)
            rows.release()
        return fastest, [reference() is None for reference in kept]

    fastest, freed = passing()
    assert freed == [True] * 5
    assert fastest < timedelta(seconds=0.25)  # 5 ms on an idle core; hashing it alone takes 40
