"""One backup, from the first repository into a copy: objects, then revisions, the manifest last."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from hashlib import sha256
from uuid import UUID

from convault import layout
from convault.catalog.base import BackupRecord, Guard
from convault.errors import CopyError, IntegrityError, NotFoundError, ObjectConflict, ObjectMissing
from convault.replication.transport import Brought, Transport, objects_of
from convault.repository import Repository
from convault.signing.signature import Signature, SigningKeys


@dataclass(frozen=True, slots=True)
class Carrier:
    """Between two repositories."""

    first: Repository
    copy: Repository
    transport: Transport
    rows: Mapping[UUID, BackupRecord]
    keys: SigningKeys
    guard: Guard
    """keeps out whoever removes something from the copy"""

    def carry(self, backup_id: UUID) -> Brought | None:
        """Have the backup in the copy, in every revision of its manifest; None when the first
        repository has it no more. May be repeated.

        IntegrityError, RepositoryError for what is damaged there: then the copy has the backup as
        it had it before, or not at all. CopyError, LeaseLost, StoreError.
        """
        try:
            return self._carry(backup_id)
        except (NotFoundError, IntegrityError):
            if self._is_there(backup_id):
                raise
            return None  # deleted while it was on its way

    def _carry(self, backup_id: UUID) -> Brought | None:
        manifests = self._manifests(backup_id)
        revision = max(manifests)
        manifest = self.first.read_manifest(backup_id, manifests[revision], revision)
        proven = self._require_genuine(backup_id, manifests)
        brought = self.transport.bring(objects_of(manifest))
        if not self._is_there(backup_id):
            return None
        # What was proven may have been removed since the lock was lost.
        self.guard.check()
        # The highest first, and that which makes the backup exist last: so at no moment does one
        # count whose objects did not come along.
        for number in sorted(manifests, key=lambda n: (n == 1, -n)):
            self._put(backup_id, number, manifests[number], proven=number in proven)
        return brought

    def _manifests(self, backup_id: UUID) -> dict[int, bytes]:
        """Every revision that is there, by number."""
        found = {1: self.first.manifest_bytes(backup_id, 1)}
        for info in self.first.store.list(layout.revisions_of(backup_id)):
            about = layout.revision_of(info.key)
            if about is not None:
                found[about[1]] = self.first.manifest_bytes(*about)
        return found

    def _require_genuine(self, backup_id: UUID, manifests: Mapping[int, bytes]) -> set[int]:
        """IntegrityError for a manifest that is not what was committed, or wrongly signed. Which
        revisions are known to be right."""
        row = self.rows.get(backup_id)
        committed = None if row is None else row.manifest_sha256
        if committed is not None and sha256(manifests[1]).hexdigest() != committed:
            raise self._forged(backup_id, 1, "its bytes are not those that were committed")
        proven = {1} if committed is not None else set()
        for number, data in manifests.items():
            superseded = manifests[1] if number > 1 else None
            signature = self.keys.check(data, superseded=superseded)
            if signature is Signature.WRONG:
                why = f"its signature is wrong: {self.keys.problem(data)}"
                raise self._forged(backup_id, number, why)
            if signature is Signature.SIGNED:
                proven.add(number)
        return proven

    def _put(self, backup_id: UUID, number: int, data: bytes, *, proven: bool) -> None:
        key = layout.manifest_key(backup_id, number)
        try:
            self.copy.put_manifest_bytes(backup_id, number, data)
        except ObjectConflict:
            if not proven:
                raise CopyError(
                    f"{key} has other bytes in {self.copy.store.url} than in "
                    f"{self.first.store.url}, and which of both is right cannot be told without a "
                    "signing key. Nothing was changed: `convault show` and `convault verify "
                    "--from` tell more.",
                    backup=backup_id,
                ) from None
            # What is there is kept under `damaged/`.
            self.copy.put_part(key, sha256(data).hexdigest(), data)
            self.copy.store.flush()
        if self.copy.store.get(key) != data:
            raise CopyError(
                f"{key} was stored in {self.copy.store.url}, and has other bytes there. See "
                "whether that place is sound, and copy again.",
                backup=backup_id,
            )

    def _is_there(self, backup_id: UUID) -> bool:
        try:
            self.first.store.head(layout.manifest_key(backup_id))
        except ObjectMissing:
            return False
        return True

    def _forged(self, backup_id: UUID, number: int, why: str) -> IntegrityError:
        key = layout.manifest_key(backup_id, number)
        return IntegrityError(
            f"{key} in {self.first.store.url} is not copied: {why}. What the copy holds stays.",
            backup=backup_id,
        )
