"""The flows `verify` and `drill`, on a real Prefect server."""

from __future__ import annotations

import importlib
import shutil
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from prefect import Flow

from convault.embedded.server import EmbeddedPostgres
from convault.errors import DrillFailed, VerificationFailed
from convault.incidents import Kind
from convault.notify.reporting import reported
from convault.settings import load_settings
from flows.backup import backup
from flows.drill import drill
from flows.verify import verify
from tests.flows.application import Application
from tests.notify.receivers import http_receiver, patient
from tests.prefect_server import CHECKOUT, PrefectServer

ASKED = {"backup_id": "0c0ffee0-0000-4000-8000-000000000001", "target": "staging"}
DEPLOYED = yaml.safe_load((CHECKOUT / "prefect.yaml").read_text())["deployments"]


@pytest.mark.parametrize("deployment", DEPLOYED, ids=lambda d: d["name"])
def test_what_is_deployed_exists_and_takes_its_parameters(deployment: dict[str, Any]) -> None:
    file, _, name = deployment["entrypoint"].partition(":")
    flow: Flow[..., Any] = getattr(importlib.import_module(file[:-3].replace("/", ".")), name)
    assert isinstance(flow, Flow)
    # What has a schedule starts by itself; a restore is always told which backup, and where to.
    asked = {} if deployment["schedules"] or name != "restore" else ASKED
    flow.validate_parameters({**deployment["parameters"], **asked})
    assert deployment["concurrency_limit"]["limit"] == 1
    assert all(s["slug"] and s["active"] is False for s in deployment["schedules"])


def test_the_schedules() -> None:
    slugs = {d["entrypoint"]: [s["slug"] for s in d["schedules"]] for d in DEPLOYED}
    assert slugs["flows/verify.py:verify"] == ["weekly"]
    assert slugs["flows/drill.py:drill"] == ["monthly"]
    assert slugs["flows/cleanup.py:cleanup"] == ["daily"]
    assert slugs["flows/watch.py:watch"] == ["often"]
    assert slugs["flows/replicate.py:replicate"] == ["daily"]


@pytest.fixture
def home(monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    folder = Path(tempfile.mkdtemp(prefix="cv-"))
    folder.chmod(0o711)
    monkeypatch.setenv("CONVAULT_HOME", str(folder))
    yield folder
    shutil.rmtree(folder)


@pytest.mark.prefect_server
@pytest.mark.xdist_group("flows")
def test_verify_and_drill(
    application: Application, home: Path, monkeypatch: pytest.MonkeyPatch,
    cluster: EmbeddedPostgres, new_database: Callable[[EmbeddedPostgres], str],
    prefect_api: PrefectServer,
) -> None:  # fmt: skip
    record = backup()
    found = verify(read_data="1/2")
    assert (found.sound, found.findings) == (True, ())
    assert 0 < found.read_objects < found.objects

    part = next((application.store / "data" / "messages").iterdir())
    whole = part.read_bytes()
    part.write_bytes(whole[:50])
    with pytest.raises(VerificationFailed, match=part.name):
        verify(record.id)
    assert any(part.name in told for told in prefect_api.artifacts("verification"))
    assert verify(put_back=True).sound
    assert part.read_bytes() == whole

    report = drill(record.id)
    assert report["outcome"] == "passed"
    row = application.installation().catalog.get(record.id)
    assert row.drill == report
    assert row.verified_at is not None
    assert any("public.messages" in told for told in prefect_api.artifacts("drill"))
    assert [path.name for path in (home / "drill").iterdir()] == ["lock"]

    part.write_bytes(whole[:-1] + bytes([whole[-1] ^ 1]))
    patient(monkeypatch)
    with http_receiver() as receiver:
        monkeypatch.setenv("CONVAULT_NOTIFY_URLS", receiver.apprise())
        with pytest.raises(DrillFailed, match=part.name):
            drill()
        [message] = receiver.messages
        assert "A drill failed: drill-failed." in message
        with reported(Kind.DRILL, load_settings(), print):
            pass  # another one, which passed
        assert receiver.titles[1:] == ["Over: A drill failed: drill-failed"]
    row = application.installation().catalog.get(record.id)
    assert row.verified_at is None
    assert row.drill is not None
    assert row.drill["outcome"] == "failed"

    monkeypatch.setenv("CONVAULT_TARGET_LIVE_URL", new_database(cluster))
    with pytest.raises(Exception, match="is a superuser"):
        drill(into="live")
