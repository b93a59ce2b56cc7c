"""A Supabase project, read through its REST API with its secret key alone."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from urllib.parse import urlsplit

from convault.dataset.scope import Scope
from convault.errors import SnapshotLost
from convault.models import Dataset, SourceFacts
from convault.project import Project
from convault.sources.base import Snapshot
from convault.sources.rest import described, tables
from convault.sources.rest.api import PATIENCE, RestApi
from convault.sources.rest.described import Description
from convault.sources.rest.filtering import RootFilter, require_comparable
from convault.sources.rest.service_key import require_service_key
from convault.sources.rest.snapshot import RestSnapshot
from convault.stores.buckets import Patience


class RestSource:
    """Implements `sources.base.Source`. Asks nothing before a snapshot, or `check`, is asked for.

    There is no snapshot: every page shows the rows as they are at that moment. What is gathered is
    proven to be whole, and told where it may be torn (`convault.per_page`).
    """

    def __init__(self, project: Project, *, scope: Scope, patience: Patience = PATIENCE) -> None:
        self._project = project
        self._scope = scope
        self._api = RestApi(project, scope.root.schema, patience)

    def check(self) -> None:
        """See `sources.base.Source`."""
        tables.require_possible(self._scope)
        require_service_key(self._api, self._project)
        _, dataset = self._chosen()
        if self._scope.filters.kinds:
            require_comparable(dataset)
            RootFilter(self._api, dataset, self._scope.filters)

    @contextmanager
    def snapshot(self) -> Iterator[Snapshot]:
        """What is read through it; see `sources.base.Source.snapshot`. SnapshotLost at the end when
        the tables are others than they were."""
        tables.require_possible(self._scope)
        require_service_key(self._api, self._project)
        description, dataset = self._chosen()
        yield RestSnapshot(self._api, self._facts(), description, dataset, self._scope)
        if self._chosen()[1] != dataset:
            raise SnapshotLost(
                "Tables were changed while rows were read, so the schema and the values that were "
                "read may not fit each other. The backup must start again."
            )

    def _chosen(self) -> tuple[Description, Dataset]:
        description = described.read(self._api.description(), self._api.schema)
        return description, tables.choose(description, self._scope)

    def _facts(self) -> SourceFacts:
        parts = urlsplit(self._project.url)
        return SourceFacts(
            host=parts.netloc,
            database=f"{self._api.schema} (by REST)",
            system_identifier="",
            server_version="",
            snapshot="",
            taken_at=datetime.now(UTC).isoformat(),
        )
