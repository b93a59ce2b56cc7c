"""A backup into an empty database: everything in one transaction, or nothing."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass

from convault import filling, statements, target
from convault.age import Identity
from convault.encryption import unlocked
from convault.loading import check_objects
from convault.manifest import Manifest
from convault.models import Statement, TableName
from convault.repository import Repository
from convault.statements import Fault


@dataclass(frozen=True, slots=True)
class RestoreResult:
    """What a restore did."""

    rows: dict[TableName, int]
    """per table, as counted in the target"""
    seconds: float
    left_out: tuple[Statement, ...]
    """statements that need something outside the backup that the target does not have; `needs` has
    only what is missing"""
    faults: tuple[Fault, ...]
    """statements that the target refused"""
    redacted: tuple[Statement, ...]
    """statements that ran, or were left out, with a marker where the source has a secret"""
    recomputed: dict[TableName, int]
    """rows that have other values in their generated columns than in the backup, where any have"""

    @property
    def complete(self) -> bool:
        """Whether all that leans on nothing outside the backup is as it was."""
        return not self.recomputed and all(fault.outside for fault in self.faults)


def restore(
    repository: Repository,
    manifest: Manifest,
    target_url: str,
    *,
    tolerate: bool = False,
    identities: Sequence[Identity] = (),
) -> RestoreResult:
    """Make the tables of the backup in the empty database at `target_url` and fill them.

    With `tolerate`, an index or a constraint that the target refuses, and a generated column to
    which it gives other values, is told in the result instead of being an error. Memory is bounded
    by one part. An encrypted backup opens with one of `identities`. On any error the target is as
    it was: EncryptionError tells what is missing to read the rows, IntegrityError names the object
    that is not what was stored, StoreError is the store's, RestoreError the target's.
    """
    started = time.monotonic()
    opener = unlocked(manifest, identities)
    check_objects(repository.store, manifest)
    before, after = ([s for s in manifest.statements if s.after_data is a] for a in (False, True))
    with target.transaction(target_url) as connection:
        target.require_empty(connection)
        outcomes = [statements.run(connection, before, tolerate=tolerate)]
        recomputed = filling.load(connection, repository.store, manifest, opener, tolerate=tolerate)
        rows = filling.count(connection, manifest)
        outcomes.append(statements.run(connection, after, tolerate=tolerate))
    return RestoreResult(
        rows=rows,
        seconds=time.monotonic() - started,
        left_out=tuple(s for outcome in outcomes for s in outcome.left_out),
        faults=tuple(f for outcome in outcomes for f in outcome.faults),
        redacted=tuple(s for s in manifest.statements if s.redacted),
        recomputed=recomputed,
    )
