"""Write an old backup anew for the recipients of today: new objects, then a revision of its
manifest that supersedes the one before.

The old objects stay until a sweep removes them. Killed anywhere, the old revision stands and the
next rekey goes on where this one was (`rekey_journal`); of two at once, one writes the revision.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import Any
from uuid import UUID

from convault import index
from convault.catalog.base import Guard
from convault.commit import look_up_objects
from convault.encryption.age import SUFFIX, Identity
from convault.encryption.objects import Encryptor, Opener, unlocked
from convault.encryption.rekey_files import is_there, rekeyed, rewrite_files
from convault.encryption.rekey_journal import Journal, Rewritten, journal_of
from convault.errors import (
    IntegrityError,
    NotFoundError,
    ObjectConflict,
    ObjectMissing,
    RepositoryError,
    SignatureError,
)
from convault.layout import INDEX_NAMES, part_path
from convault.loading import read_stored
from convault.manifest import (
    FORMAT,
    SHARED_INDEX,
    IndexEntry,
    Manifest,
    MemberEntry,
    PartEntry,
    TableEntry,
)
from convault.models import TableName
from convault.progress import report
from convault.readme import encrypted as readme_encrypted
from convault.repository import Repository
from convault.signing.signature import VARIABLE, Signature, SigningKeys, judged


@dataclass(frozen=True, slots=True)
class Rekeyed:
    """What became of one backup."""

    backup_id: UUID
    revision: int
    """of the manifest that counts now"""
    changed: bool
    """False when it was encrypted to these recipients already"""
    signature: Signature
    """of the manifest that was there before"""
    signed: bool
    """whether the new revision is signed"""
    written_bytes: int = 0
    """of new parts and the new index"""


def rekey(
    repository: Repository,
    backup_id: UUID,
    recipients: Sequence[str],
    *,
    identities: Sequence[Identity],
    keys: SigningKeys,
    journals: Path,
    trust: bool = False,
    workers: int = 2,
    guard: Guard | None = None,
) -> Rekeyed:
    """Encrypt the backup to `recipients`, and to nobody else; also a plain one.

    `journals` is a folder of this machine, of mode 0700, where the work that is done is noted. Each
    of `workers` holds one part in memory at a time. A manifest that was not proven to be signed
    is not signed anew, unless the caller was told to `trust` it. `guard` keeps sweeps out; without
    one nobody may remove objects meanwhile.

    NotFoundError, EncryptionError (an identity is missing or is the wrong one), SignatureError,
    IntegrityError, StoreError, BusyError (another rekey of it works here), LeaseLost,
    ObjectConflict (another one, elsewhere, was quicker). Then the backup is what it was.
    """
    repository.require_current()
    manifest, data = repository.stored_manifest(backup_id)
    _require_known(manifest, data)
    superseded = repository.superseded(manifest)
    found, signing = _signing(data, superseded, keys, backup_id, trust=trust)
    wanted = tuple(sorted(set(recipients)))
    if is_for(manifest, wanted):
        journal_of(journals, backup_id).forget()
        kept = found is not Signature.UNSIGNED
        return Rekeyed(backup_id, manifest.revision, False, found, kept)
    opener = unlocked(manifest, identities)
    with journal_of(journals, backup_id).opened(data, wanted) as journal:
        rewritten = _rewrite(repository, manifest, opener, journal, workers)
        files = rewrite_files(repository, manifest, opener, journal)
        new, index_bytes = _revised(
            repository, manifest, opener, journal.encryptor, rewritten, files
        )
        look_up_objects(repository, new)
        if guard is not None:
            guard.check()
        try:
            repository.put_manifest(new, signing)
        except ObjectConflict:
            raise ObjectConflict(
                f"Another rekey of backup {backup_id} was quicker: revision {new.revision} of its "
                "manifest is there already, and stays. `convault show` tells to whom it is "
                "encrypted; run this again if that is not to whom it should be.",
                backup=backup_id,
            ) from None
        journal.done()
    written = sum(made.stored_bytes for made in (*rewritten.values(), *files.values()))
    written += index_bytes
    return Rekeyed(backup_id, new.revision, True, found, bool(signing), written)


def is_for(manifest: Manifest, recipients: Sequence[str]) -> bool:
    """Whether all of the backup is encrypted, and to these recipients alone."""
    facts = manifest.encryption
    if facts is None:
        return False
    sets = [facts.recipients, *(key.recipients for key in facts.digest_keys)]
    parts = [part for table in manifest.tables for part in table.parts]
    sealed = all(p.encrypted for p in parts) and all(f.encrypted for f in manifest.stored_files)
    return sealed and all(set(those) == set(recipients) for those in sets)


def left_behind(repository: Repository) -> int:
    """Bytes of the objects that only superseded revisions name: they open with the keys of then,
    and stay until a sweep removes them."""
    needed: set[str] = set()
    for _, manifest in repository.manifests():
        if isinstance(manifest, Manifest):
            needed.update(manifest.objects())
    superseded: dict[str, int] = {}
    for backup_id, revision in repository.revisions().items():
        for number in range(1, revision):
            try:
                data = repository.manifest_bytes(backup_id, number)
                superseded |= repository.read_manifest(backup_id, data, number).objects()
            except (NotFoundError, RepositoryError):
                continue  # a number that was left out, or one that is swept or unreadable
    return sum(size for key, size in superseded.items() if key not in needed)


def _signing(
    data: bytes, superseded: bytes | None, keys: SigningKeys, backup_id: UUID, *, trust: bool
) -> tuple[Signature, SigningKeys]:
    """What the old manifest's signature is, and the keys for the new one: whoever could forge the
    one must not get the other signed."""
    what = f"the manifest of backup {backup_id}"
    found = judged(data, keys, what=what, trust=trust, superseded=superseded)
    if found is Signature.UNCHECKED and not trust:
        raise SignatureError(
            f"Backup {backup_id} is signed, and there is no key here: the new revision would be "
            f"unsigned. Set {VARIABLE} and try again; --trust goes on without.",
            backup=backup_id,
        )
    return found, keys if found is Signature.SIGNED or trust else SigningKeys()


def _require_known(manifest: Manifest, data: bytes) -> None:
    """RepositoryError when the manifest says more than this version knows: readers pass that over,
    but a new revision would lose it."""
    if not _holds(manifest.model_dump(mode="json"), json.loads(data)["convault"]):
        raise RepositoryError(
            f"Backup {manifest.backup_id} was written by a later version, and its manifest holds "
            "what this one does not know and would lose: upgrade Convault. Nothing was changed.",
            backup=manifest.backup_id,
        )


def _holds(known: Any, found: Any) -> bool:
    """Whether every member of every object in `found` is in `known` too."""
    if isinstance(found, dict):
        return isinstance(known, dict) and all(
            name in known and _holds(known[name], value) for name, value in found.items()
        )
    if isinstance(found, list) and isinstance(known, list):
        return all(_holds(*pair) for pair in zip(known, found, strict=True))
    return True


def _rewrite(
    repository: Repository, manifest: Manifest, opener: Opener, journal: Journal, workers: int
) -> dict[str, Rewritten]:
    """Every part object anew; by the key of the old one."""
    parts = {part.key: (table.name, part) for table in manifest.tables for part in table.parts}
    total, done = sum(part.stored_bytes for _, part in parts.values()), 0

    def one(name: TableName, part: PartEntry) -> Rewritten:
        before = journal.find(part.key)
        if before is not None and is_there(repository, before):
            return before
        made = _rewritten(repository, name, part, opener, journal.encryptor)
        journal.add(part.key, made)
        return made

    found: dict[str, Rewritten] = {}
    with ThreadPoolExecutor(workers, thread_name_prefix="rekey") as pool:
        futures = {key: pool.submit(one, *what) for key, what in parts.items()}
        try:
            for key, future in futures.items():
                report("rekey", str(parts[key][0]), done=done, total=total, unit="bytes")
                found[key] = future.result()
                done += parts[key][1].stored_bytes
        except BaseException:
            pool.shutdown(wait=True, cancel_futures=True)
            raise
    report("rekey", str(manifest.backup_id), done=done, total=total, unit="bytes")
    return found


def _rewritten(
    repository: Repository, name: TableName, part: PartEntry, opener: Opener, encryptor: Encryptor
) -> Rewritten:
    opened = opener.opened(part, read_stored(repository.store, part))
    plain_digest = encryptor.digest(opener.plain(part, opened))  # and the old digest is checked
    data = encryptor.encrypt(opened)
    digest = sha256(data).hexdigest()
    key = repository.part_key(name, digest, _plain_suffix(part) + SUFFIX)
    repository.put_part(key, digest, data)
    return Rewritten(key, digest, len(data), plain_digest)


def _revised(
    repository: Repository,
    manifest: Manifest,
    opener: Opener,
    encryptor: Encryptor,
    rewritten: dict[str, Rewritten],
    files: dict[str, Rewritten],
) -> tuple[Manifest, int]:
    """The next revision, with all that it names stored; and the bytes of its index."""
    entry = _index(repository, manifest, opener, encryptor, rewritten)
    new = manifest.model_copy(
        update={
            "format": FORMAT,
            "revision": manifest.revision + 1,
            "encryption": encryptor.facts,
            "tables": tuple(_table(t, rewritten, encryptor) for t in manifest.tables),
            "members": tuple(_member(repository, manifest, m) for m in manifest.members),
            "index": entry,
            "files": tuple(rekeyed(file, files, encryptor) for file in manifest.files),
            "indexes": (),
            "features": tuple(f for f in manifest.features if f != SHARED_INDEX),
        }
    )
    return new, 0 if entry is None else entry.bytes


def _table(table: TableEntry, rewritten: dict[str, Rewritten], encryptor: Encryptor) -> TableEntry:
    parts = []
    for number, part in enumerate(table.parts):
        made = rewritten[part.key]
        update = {
            "key": made.key,
            "path": part_path(table.name, number, _plain_suffix(part) + SUFFIX),
            "sha256": made.sha256,
            "stored_bytes": made.stored_bytes,
            "plain_sha256": made.plain_sha256,
            "digest_key": encryptor.digest_key.id,
        }
        parts.append(part.model_copy(update=update))
    return table.model_copy(update={"parts": tuple(parts)})


def _member(repository: Repository, manifest: Manifest, member: MemberEntry) -> MemberEntry:
    """README.txt of a plain backup gets what tells how to decrypt; the rest stays."""
    if member.path != "README.txt" or manifest.encryption is not None:
        return member
    text = readme_encrypted.text(manifest.backup_id) + _beside(repository, member)
    return MemberEntry.model_validate(repository.put_revised(manifest.backup_id, member.path, text))


def _index(
    repository: Repository,
    manifest: Manifest,
    opener: Opener,
    encryptor: Encryptor,
    rewritten: dict[str, Rewritten],
) -> IndexEntry | None:
    entry = manifest.index
    if entry is None:
        return None
    pieces = []
    for piece in manifest.all_indexes:
        data = _beside(repository, piece)
        pieces.append(data if manifest.encryption is None else opener.decrypted(piece.key, data))
    renamed = index.renamed(pieces, {old: new.key for old, new in rewritten.items()})
    stored = repository.put_revised(
        manifest.backup_id, INDEX_NAMES[True], encryptor.encrypt(renamed)
    )
    made = {**stored, "tables": entry.tables, **encryptor.index_blocks(renamed)}
    return IndexEntry.model_validate(made)


def _beside(repository: Repository, entry: MemberEntry | IndexEntry) -> bytes:
    """A file beside the manifest, proven to be the one that it names."""
    try:
        data = repository.store.get(entry.key)
    except ObjectMissing:
        data = b""
    if len(data) != entry.bytes or sha256(data).hexdigest() != entry.sha256:
        raise IntegrityError(
            f"{entry.key} is missing or damaged: put it back from a copy of the repository. "
            "Nothing was changed.",
            key=entry.key,
        )
    return data


def _plain_suffix(part: PartEntry) -> str:
    return part.key.rpartition("/")[2].removeprefix(part.sha256).removesuffix(SUFFIX)
