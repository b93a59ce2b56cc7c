"""The sweep of a repository whose catalog is gone: by grace alone, and after it was taken over.

No lock keeps backups and this sweep apart, because locks live in a catalog. So the marker names
nobody's installation first: a backup that is at work elsewhere reads it before it commits, and is
refused. And an object goes only when it has been unneeded for longer than any backup may take.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from types import TracebackType
from uuid import UUID, uuid5

from convault.errors import LeaseLost, NotAdopted
from convault.repository import Repository
from convault.retention.configured import require_grace
from convault.retention.garbage import look
from convault.retention.sweeping import Swept, sweep_alone


def sweep_without_catalog(
    repository: Repository,
    *,
    grace: timedelta,
    longest: timedelta,
    trash: timedelta,
    dry_run: bool = False,
) -> Swept:
    """Mark what nothing names; remove what was marked by this for longer than `grace`. Whoever
    backed up into the repository is refused from then on, until `convault adopt`; `longest` is what
    a backup of theirs may take.

    ConfigurationError for a grace that is shorter; NotAdopted for a copy, whose own run sweeps it;
    SweepRefused, LeaseLost, StoreError."""
    require_grace(grace, longest)
    if repository.is_copy:
        raise NotAdopted(
            f"{repository.store.url} is a copy: `convault copy` sweeps it, and needs the catalog.",
            store=repository.store.url,
        )
    nobody = uuid5(repository.repository_id, "a sweep without a catalog")
    if not dry_run and repository.installation_id != nobody:
        repository.adopt(nobody)
    guard = _Marker(repository)
    guard.check()
    return sweep_alone(
        repository,
        guard,
        lambda: look(repository, datetime.now(UTC), {}),
        {},
        lambda expired: None,
        grace=grace,
        trash=trash,
        dry_run=dry_run,
    )


class _Marker:
    """Implements `convault.catalog.base.Guard`: nobody has adopted the repository meanwhile."""

    def __init__(self, repository: Repository) -> None:
        self._repository = repository

    def __enter__(self) -> _Marker:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        return None

    def check(self) -> None:
        try:
            self._repository.require_same_writer()
        except NotAdopted:
            raise LeaseLost(
                f"An installation has adopted {self._repository.store.url} meanwhile, and sweeps "
                "it itself. Nothing more is removed."
            ) from None


def require_typed(repository: Repository, typed: UUID | None) -> None:
    """NotAdopted unless the operator wrote the repository's id: then it is meant."""
    if typed != repository.repository_id:
        raise NotAdopted(
            f"With no catalog nobody knows who writes to {repository.store.url}, and a sweep would "
            "take it over. If its catalog is gone for good, repeat this with --repository "
            f"{repository.repository_id}; whoever backs up there needs `convault adopt` then.",
            store=repository.store.url,
        )
