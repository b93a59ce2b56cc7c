"""What schemathesis makes of /openapi.json: no 5xx, and no answer that is not documented."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress
from datetime import UTC, datetime
from typing import Any
from uuid import UUID, uuid4

import pytest
import schemathesis
from hypothesis import HealthCheck, Phase
from hypothesis import settings as given_settings
from prefect.client.orchestration import SyncPrefectClient
from schemathesis.checks import CHECKS, load_all_checks

from api.app import create_app
from convault.catalog import open_catalog
from convault.catalog.base import BackupRecord, BackupStatus, Catalog
from convault.installation import open_installation
from convault.settings import Settings
from tests.handmade import BACKUP, new_backup
from tests.patience import PATIENCE
from tests.serving import KEY, served
from tests.soak import count

pytestmark = [
    pytest.mark.prefect_server,
    pytest.mark.xdist_group("prefect"),
    pytest.mark.soak,
    pytest.mark.long,
]

load_all_checks()
PROMISES = CHECKS.get_by_names(
    [
        "not_a_server_error",
        "status_code_conformance",
        "content_type_conformance",
        "response_schema_conformance",
        "response_headers_conformance",
    ]
)
WAITING = UUID(int=7)


@pytest.fixture(scope="module")
def document(settings: Settings, prefect_client: SyncPrefectClient) -> Iterator[Any]:
    """The API's own description of itself, as a server gives it."""
    repository = open_installation(settings).repository
    repository.put_manifest(new_backup(repository), settings.signing)
    with served(create_app(settings)) as url:
        yield schemathesis.openapi.from_url(f"{url}/openapi.json")


schema = schemathesis.pytest.from_fixture("document")


@pytest.fixture
def rows(settings: Settings) -> Catalog:
    """One backup that is complete, one that waits."""
    catalog = open_catalog(settings.catalog_url())
    now = datetime.now(UTC)
    for backup_id, status in ((BACKUP, BackupStatus.COMPLETED), (WAITING, BackupStatus.PENDING)):
        catalog.add(
            BackupRecord(id=backup_id, status=status, options={}, created_at=now, updated_at=now)
        )
    return catalog


@schema.exclude(path_regex="/verify$", method="GET").parametrize()
@given_settings(
    max_examples=count(1, 10),
    phases=[Phase.explicit, Phase.generate],
    suppress_health_check=list(HealthCheck),
    database=None,
)
def test_it_answers_as_it_says(case: schemathesis.Case, rows: Catalog) -> None:
    """Where an id may be anything, it is mostly one that is there. (Not `GET /verify`: without a
    worker it says 503, as it should.)"""
    given = case.path_parameters.get("backup_id") if case.path_parameters else None
    with suppress(ValueError, AttributeError, TypeError):
        known = (BACKUP, WAITING, uuid4())[UUID(str(given)).int % 3]
        case.path_parameters["backup_id"] = str(known)
    case.call_and_validate(
        headers={"Authorization": f"Bearer {KEY}"}, checks=PROMISES, timeout=PATIENCE
    )
