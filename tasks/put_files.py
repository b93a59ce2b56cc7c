"""Put Storage files of a backup back."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from prefect import get_run_logger, task

from convault.encryption.age import Identity
from convault.files.addresses import Address
from convault.files.restoring import FilesPut, put_back
from convault.manifest import Manifest
from convault.restore import RestoreOptions
from convault.settings import Settings
from convault.stores.base import Store
from tasks.boundary import contained
from tasks.load import Load
from tasks.policy import POLICY


class Given(Protocol):
    """What a restore works on."""

    @property
    def settings(self) -> Settings: ...
    @property
    def store(self) -> Store: ...
    @property
    def manifest(self) -> Manifest: ...
    @property
    def identities(self) -> Sequence[Identity]: ...


# What was put back by an attempt before is there, and is the same.
@task(name="put_files", retries=3, **POLICY)
@contained
def put_files(
    given: Load[Given], options: RestoreOptions, only: Load[frozenset[Address]] | None = None
) -> FilesPut:
    """Every file of the backup, or those that were at these places, into the project of
    SUPABASE_URL."""
    work = given.content
    places = None if only is None else only.content
    done = put_back(work.settings, work.store, work.manifest, work.identities, options, places)
    for line in done.lines():
        get_run_logger().info("%s", line)
    return done
