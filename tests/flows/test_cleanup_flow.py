"""The flow `cleanup`, on a real Prefect server."""

from __future__ import annotations

from uuid import uuid4

import pytest

from convault.catalog.base import BackupRecord
from convault.commit import commit
from convault.errors import NotAdopted, PolicyError
from convault.installation import Installation
from convault.retention.policy import Policy
from flows.backup import backup
from flows.cleanup import cleanup
from tests.flows.application import Application, differences
from tests.prefect_server import PrefectServer
from tests.restore.builder import back_up


def backed_up(installation: Installation, url: str) -> BackupRecord:
    """Without Prefect: that is not what this is about."""
    manifest = back_up(installation.repository, url)
    with installation.catalog.begin(manifest.backup_id, manifest.options) as lease:
        return commit(installation.repository, installation.catalog, lease, manifest, metrics={})


@pytest.mark.prefect_server
@pytest.mark.xdist_group("flows")
def test_clean_up(
    application: Application, empty: str, prefect_api: PrefectServer,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    with pytest.raises(PolicyError, match="nothing was removed"):
        cleanup()
    monkeypatch.setenv("CONVAULT_KEEP_LAST", "1")
    installation = application.installation()
    made = [backed_up(installation, application.url) for _ in range(3)]
    with installation.catalog.begin(uuid4(), {}):
        tried = cleanup(dry_run=True)
        assert tried["sweep"] is None, "a backup runs"
    assert tried["removed"] == [str(made[0].id)], "a third of three"
    found = cleanup()
    assert found["removed"] == tried["removed"]
    assert set(installation.repository.backup_ids()) == {record.id for record in made[1:]}
    assert any("no rule keeps it" in told for told in prefect_api.artifacts("cleanup"))
    # The trash is emptied and swept; what is left restores.
    monkeypatch.setenv("CONVAULT_TRASH_DAYS", "0")
    found = cleanup(Policy(keep_last=2))
    assert found["removed"] == []
    assert found["sweep"]["expired"] == [str(made[0].id)]
    assert set(differences(application, made[1].id, empty).values()) == {0}
    assert {e.origin for e in installation.catalog.audited()} == {"flow"}
    # Another installation has adopted the repository meanwhile: nothing is made in it.
    installation.repository.adopt(made[0].id)
    with pytest.raises(NotAdopted):
        cleanup()
    with pytest.raises(NotAdopted):
        backup()
