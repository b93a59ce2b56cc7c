"""Kills backups of an application, and looks at what they leave."""

from __future__ import annotations

import json
import os
import signal
import subprocess
from collections.abc import Callable
from dataclasses import dataclass
from hashlib import sha256
from typing import Any
from uuid import UUID, uuid4

import psycopg

from convault.catalog import BackupStatus
from convault.models import BackupOptions
from convault.reconcile import reconcile
from flows.backup import backup
from tests.flows.application import Application, differences


@dataclass
class Killed:
    """What became of a victim."""

    backup_id: UUID
    uploads: int
    committed: bool
    """whether it had stored its manifest"""
    finished: bool
    """whether it was too quick to be killed"""


class Ward:
    """Kills backups of one application, and looks at what they leave."""

    def __init__(
        self,
        application: Application,
        victims: subprocess.Popen[str],
        new_database: Callable[[], Any],
    ) -> None:
        self.application = application
        self._victims = victims
        self._new_database = new_database
        self._restored: set[UUID] = set()

    def kill(self, kill: dict[str, Any]) -> Killed:
        """Change some rows, so that there is something to store, and run a victim."""
        self.application.execute(
            "UPDATE messages SET body = md5(random()::text) WHERE id % 20 = 0; UPDATE"
            " conversations SET subject = md5(random()::text)"
        )
        backup_id = uuid4()
        order = {"environment": self.application.environment, "backup_id": str(backup_id),
                 "kill": kill}  # fmt: skip
        assert self._victims.stdin is not None
        assert self._victims.stdout is not None
        self._victims.stdin.write(json.dumps(order) + "\n")
        self._victims.stdin.flush()
        answer = json.loads(self._victims.stdout.readline())
        status = answer["status"]
        finished = os.WIFEXITED(status) and os.WEXITSTATUS(status) == 0
        assert finished or os.WTERMSIG(status) == signal.Signals[kill.get("signal", "SIGKILL")]
        return Killed(backup_id, answer["uploads"], answer["committed"], finished)

    def listed(self) -> set[UUID]:
        return set(self.application.installation().repository.backup_ids())

    def check_every_listed_backup(self) -> None:
        """Each is complete, and each that is new restores to what the source holds: to be called
        before rows are changed again."""
        self._check(self.listed())

    def _check(self, backup_ids: set[UUID]) -> None:
        repository = self.application.installation().repository
        digests: dict[str, str] = {}
        for backup_id in backup_ids:
            manifest = repository.manifest(backup_id)
            for part in (*manifest.members, *(p for t in manifest.tables for p in t.parts)):
                # What several of them share is looked at once.
                assert digests.setdefault(part.key, part.sha256) == part.sha256
        for key, digest in digests.items():
            assert sha256(repository.store.get(key)).hexdigest() == digest, key
        for backup_id in backup_ids - self._restored:
            self._restored.add(backup_id)
            with self._new_database() as url:
                assert set(differences(self.application, backup_id, url).values()) == {0}

    def check_the_next_backup(self, killed: Killed) -> None:
        """It succeeds and is whole, and the row of the one that was killed follows its manifest."""
        catalog = self.application.installation().catalog
        record = backup(BackupOptions())
        assert record.status is BackupStatus.COMPLETED
        self._check({record.id})
        rows = {row.id: row for row in catalog.list()}
        if killed.backup_id in self.listed():
            assert rows[killed.backup_id].status is BackupStatus.COMPLETED
        elif killed.backup_id in rows:
            # Its lease may last for 90 s; then it is called what it is.
            with psycopg.connect(self.application.environment["CONVAULT_CATALOG_URL"]) as session:
                session.execute(
                    "UPDATE backups SET lease_expires_at = now() - interval '1 s' WHERE id = %s",
                    [killed.backup_id],
                )
            reconcile(self.application.installation().repository, catalog)
            row = catalog.get(killed.backup_id)
            assert row.status is BackupStatus.FAILED
            assert (row.error or "").startswith("interrupted")
        assert self.listed() == {
            row.id for row in catalog.list() if row.status is BackupStatus.COMPLETED
        }
