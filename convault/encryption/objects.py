"""Backups for recipients: what is written can be read by whoever has an identity, and by nobody
else, the machine that wrote it included.

Each backup has a random digest key. Digests of plain bytes are HMACs under it: a plain SHA-256
would let anybody who sees the manifest try what a part may hold. The key stands in the manifest,
encrypted to the recipients, because they are to check what they read.
"""

from __future__ import annotations

import base64
import binascii
import hmac
import secrets
import threading
from collections.abc import Iterable, Iterator, Sequence
from hashlib import sha256
from typing import Any, Protocol

from convault import index
from convault.encryption import age, age_streams
from convault.encryption.age import Identity
from convault.encryption.age_chunks import Read
from convault.encryption.age_streams import Sink
from convault.encryption.sealed_file import SealedFile, damaged, opening
from convault.errors import (
    DamagedHeader,
    EncryptionError,
    IdentityNeeded,
    WrongIdentity,
)
from convault.files.entries import FileEntry
from convault.formats import compression
from convault.manifest import DigestKey, EncryptionFacts, Manifest, PartEntry

KEY_BYTES = 32
"""of a digest key"""


class Digest(Protocol):
    """Of `hashlib` or `hmac`."""

    def update(self, data: bytes, /) -> None: ...
    def hexdigest(self) -> str: ...


class Encryptor:
    """Encrypts one backup. May be used by several threads. Holds no secret but the digest key."""

    def __init__(self, recipients: Sequence[str]) -> None:
        """`recipients`: public keys, at least one. Makes a random digest key. EncryptionError
        without recipients, or with more than an age file may have here."""
        if not recipients:
            raise EncryptionError("There is no recipient to encrypt to: `convault keys add`.")
        self.recipients = tuple(sorted(set(recipients)))
        if len(self.recipients) > age.MAX_RECIPIENTS:
            raise EncryptionError(
                f"There are {len(self.recipients)} active recipients, and at most "
                f"{age.MAX_RECIPIENTS} can be encrypted to: `convault keys retire` some."
            )
        self._key = secrets.token_bytes(KEY_BYTES)
        self._lock = threading.Lock()
        self._sealed: dict[bytes, bytes] = {}
        # Once: the manifest must have the same bytes however often it is built.
        self.digest_key = DigestKey(
            id=secrets.token_hex(8),
            recipients=self.recipients,
            sealed=base64.b64encode(age.encrypt(self._key, self.recipients)).decode(),
        )

    @classmethod
    def again(cls, digest_key: DigestKey, secret: bytes) -> Encryptor:
        """The one that had this digest key, and its `secret`."""
        made = cls(digest_key.recipients)
        made._key, made.digest_key = secret, digest_key
        return made

    @property
    def secret(self) -> bytes:
        """The digest key itself."""
        return self._key

    def __repr__(self) -> str:
        """No secret: it may get into a log."""
        return f"Encryptor({', '.join(self.recipients)})"

    @property
    def facts(self) -> EncryptionFacts:
        """What the manifest says of it."""
        return self.facts_with(())

    def facts_with(self, others: Iterable[DigestKey]) -> EncryptionFacts:
        """The same of a backup that holds parts of earlier ones, under their digest keys."""
        return EncryptionFacts(
            scheme="age",
            recipients=self.recipients,
            access="part",
            digest_keys=(self.digest_key, *others),
        )

    def digest(self, plain: bytes | Iterable[bytes]) -> str:
        """HMAC-SHA256 of plain bytes (whole, or in pieces) under the digest key, hex."""
        return _hmac(self._key, plain).hexdigest()

    def hasher(self) -> Digest:
        """The same for what comes piece by piece."""
        return _hmac(self._key, b"")

    def index_blocks(self, data: bytes) -> dict[str, Any]:
        """What the manifest says of the blocks of an index before it was encrypted."""
        found = tuple(self.digest(block) for block in index.blocks_of(data))
        return {"plain_blocks": found, "digest_key": self.digest_key.id}

    def encrypt(self, data: bytes) -> bytes:
        """An age file. Other bytes every time."""
        return age.encrypt(data, self.recipients)

    def encrypt_once(self, data: bytes) -> bytes:
        """An age file, the same one for the same `data`: what lies beside a manifest is written
        again when a commit is tried again, and must then be what it was."""
        name = sha256(data).digest()
        with self._lock:
            if name not in self._sealed:
                self._sealed[name] = self.encrypt(data)
            return self._sealed[name]


class Opener:
    """Opens the objects of one backup, encrypted or not. May be used by several threads."""

    def __init__(
        self, identities: Sequence[Identity], digest_keys: dict[str, bytes], recipients: int = 0
    ) -> None:
        """By `unlocked`. `recipients`: how many an object is encrypted to, at most."""
        self._identities = tuple(identities)
        self._keys = digest_keys
        self._recipients = recipients

    def __repr__(self) -> str:
        """No secret: it may get into a log."""
        return f"Opener({len(self._identities)} identities, {len(self._keys)} digest keys)"

    def opened(self, part: PartEntry, stored: bytes) -> bytes:
        """The part's document, compressed as it was before encryption, from its `stored` bytes.

        IntegrityError, and DamagedHeader, when these are not the bytes that were stored, or were
        not encrypted to whom the manifest names.
        """
        if not part.encrypted:
            if self.is_stored(part, stored):
                return stored
            raise damaged(part.key, "its bytes are not those that were stored")
        opened = self.decrypted(part.key, stored)
        if not self.is_stored(part, stored):
            # age did not mind, but there may be another age file in its place.
            raise damaged(part.key, "its bytes are not those that were stored")
        return opened

    def is_stored(self, part: PartEntry, stored: bytes) -> bool:
        """Whether `stored` are the bytes that the manifest names."""
        return len(stored) == part.stored_bytes and sha256(stored).hexdigest() == part.sha256

    def decrypted(self, name: str, data: bytes) -> bytes:
        """What is in an age file of the backup, whose digest keys the identities have opened."""
        with opening(name):
            return age.decrypt(data, self._identities)

    def sealed_file(self, name: str, size: int, read: Read) -> SealedFile:
        """An age file of the backup, to be read by range: see there. What it gives has to be
        proven."""
        return SealedFile(name, size, self._identities, self._recipients, read)

    def block(self, digest_key: str, data: bytes) -> str:
        """HMAC-SHA256 of a block of the index under one of the backup's digest keys, hex."""
        return _hmac(self._keys[digest_key], data).hexdigest()

    def hasher(self, entry: FileEntry) -> Digest:
        """What makes the entry's `plain_sha256` of the file's bytes."""
        return self._digest(entry)

    def file(self, entry: FileEntry, pieces: Iterable[bytes], target: Sink) -> None:
        """Write a Storage file as it was into `target`, from the `pieces` of its object; nothing in
        `target` is to be used before this returns. IntegrityError, DamagedHeader, and what the
        pieces raise."""
        name = str(entry.key)
        stored, size = sha256(), 0

        def watched() -> Iterator[bytes]:
            nonlocal size
            for piece in pieces:
                stored.update(piece)
                size += len(piece)
                yield piece

        counted = _Counted(target, self._digest(entry))
        if entry.encrypted:
            with opening(name):
                age_streams.decrypt(watched(), counted, self._identities)
        else:
            for piece in watched():
                counted.write(piece)
        if (size, stored.hexdigest()) != (entry.stored_bytes, entry.sha256):
            raise damaged(name, "its bytes are not those that were stored")
        plain = counted.digest.hexdigest()
        if counted.size != entry.plain_bytes or not hmac.compare_digest(
            plain, str(entry.plain_sha256)
        ):
            raise damaged(name, "its content is not that which was stored")

    def plain(self, part: PartEntry, opened: bytes) -> Iterator[bytes]:
        """The plain bytes of a part, in pieces, from what `opened` gave; IntegrityError behind the
        last when they do not have their digest."""
        digest = self._digest(part)
        name = part.key.removesuffix(age.SUFFIX)
        for piece in compression.decompressed([opened], name=name, plain_bytes=part.plain_bytes):
            digest.update(piece)
            yield piece
        if not hmac.compare_digest(digest.hexdigest(), part.plain_sha256):
            raise damaged(part.key, "its content is not that which was stored")

    def _digest(self, part: PartEntry | FileEntry) -> Digest:
        return sha256() if part.digest_key is None else _hmac(self._keys[part.digest_key], b"")


def unlocked(manifest: Manifest, identities: Sequence[Identity]) -> Opener:
    """What opens the backup. Reads no object, so that a wrong key is told before anything is done.

    Of a backup that is not encrypted no identity is needed. IdentityNeeded when none was given,
    WrongIdentity when they are other people's, DamagedHeader when the manifest's own copy of a
    digest key is damaged.
    """
    facts = manifest.encryption
    if facts is None:
        return Opener((), {})
    if not identities:
        raise IdentityNeeded(
            f"Backup {manifest.backup_id} is encrypted. Name the identity file of one of its "
            f"recipients with --identity FILE, or in CONVAULT_IDENTITY_FILE: "
            f"{', '.join(facts.recipients)}.",
            backup=manifest.backup_id,
        )
    keys = {key.id: _open(manifest, key, identities) for key in facts.digest_keys}
    recipients = (facts.recipients, *(key.recipients for key in facts.digest_keys))
    return Opener(identities, keys, max(map(len, recipients)))


def _open(manifest: Manifest, key: DigestKey, identities: Sequence[Identity]) -> bytes:
    where = f"The digest key {key.id} in the manifest of backup {manifest.backup_id}"
    try:
        opened = age.decrypt(base64.b64decode(key.sealed, validate=True), identities)
    except age.NoMatch:
        if not {identity.recipient for identity in identities} & set(key.recipients):
            raise WrongIdentity(
                f"Backup {manifest.backup_id} was not encrypted to the identities that were given "
                f"({', '.join(identity.recipient for identity in identities)}). It opens with that "
                f"of one of: {', '.join(key.recipients)}.",
                backup=manifest.backup_id,
            ) from None
        # The right identity, and the lines that are for it do not open: they were changed.
        raise _damaged_key(where) from None
    except (age.BadHeader, binascii.Error):
        raise _damaged_key(where) from None
    except age.CannotOpen:
        raise damaged(where, "it was changed or cut off") from None
    if len(opened) != KEY_BYTES:
        raise damaged(where, f"it has {len(opened)} bytes instead of {KEY_BYTES}")
    return opened


def _damaged_key(where: str) -> DamagedHeader:
    return DamagedHeader(
        f"{where} is damaged: its age header, which says who may open it, is not the one that was "
        "written. Nothing was read; take the manifest from a copy of the repository."
    )


class _Counted:
    """A file that digests what is written into it."""

    def __init__(self, file: Sink, digest: Digest) -> None:
        self._file = file
        self.digest = digest
        self.size = 0

    def write(self, data: bytes, /) -> int:
        self.digest.update(data)
        self.size += len(data)
        return self._file.write(data)

    def flush(self) -> None:
        self._file.flush()


def _hmac(key: bytes, plain: bytes | Iterable[bytes]) -> Digest:
    found = hmac.new(key, digestmod=sha256)
    for piece in (plain,) if isinstance(plain, bytes) else plain:
        found.update(piece)
    return found
