"""Storage files of a backup, encrypted anew: streamed, one at a time."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from hashlib import sha256

from convault.encryption import age_streams
from convault.encryption.objects import Encryptor, Opener
from convault.encryption.rekey_journal import Journal, Rewritten
from convault.errors import ObjectMissing
from convault.files.entries import FileEntry
from convault.layout import file_key
from convault.manifest import Manifest
from convault.progress import report
from convault.repository import Repository
from convault.stores.failures import translated

_PIECE_BYTES = 1024 * 1024


def rewrite_files(
    repository: Repository, manifest: Manifest, opener: Opener, journal: Journal
) -> dict[str, Rewritten]:
    """Every object of a file anew; by the key of the old one. IntegrityError, StoreError."""
    files = {str(file.key): file for file in manifest.stored_files}
    found: dict[str, Rewritten] = {}
    for key, file in files.items():
        report("rekey", "files", done=len(found), total=len(files), unit="files")
        before = journal.find(key)
        if before is not None and is_there(repository, before):
            found[key] = before
            continue
        found[key] = _rewritten(repository, file, opener, journal.encryptor)
        journal.add(key, found[key])
    return found


def rekeyed(file: FileEntry, made: dict[str, Rewritten], encryptor: Encryptor) -> FileEntry:
    """The entry of a file whose object was made anew."""
    if file.key is None:
        return file
    new = made[file.key]
    update = {
        "key": new.key,
        "sha256": new.sha256,
        "stored_bytes": new.stored_bytes,
        "plain_sha256": new.plain_sha256,
        "digest_key": encryptor.digest_key.id,
    }
    return file.model_copy(update=update)


def is_there(repository: Repository, made: Rewritten) -> bool:
    """Whether what was made is still there: it may be swept meanwhile, as nothing named it."""
    try:
        return repository.store.head(made.key).size == made.stored_bytes
    except ObjectMissing:
        return False


def _rewritten(
    repository: Repository, file: FileEntry, opener: Opener, encryptor: Encryptor
) -> Rewritten:
    with (
        translated("keeping a file", tempfile.gettempdir()),
        tempfile.TemporaryFile() as plain,
        tempfile.TemporaryFile() as sealed,
    ):
        opener.file(file, repository.store.stream(str(file.key)), plain)
        plain.seek(0)
        digest = encryptor.hasher()

        def pieces() -> Iterator[bytes]:
            while piece := plain.read(_PIECE_BYTES):
                digest.update(piece)
                yield piece

        age_streams.encrypt(pieces(), sealed, encryptor.recipients)
        size = sealed.tell()
        sealed.seek(0)
        stored = sha256()
        while piece := sealed.read(_PIECE_BYTES):
            stored.update(piece)
        repository.put_file(stored.hexdigest(), sealed, encrypted=True)
    key = file_key(stored.hexdigest(), encrypted=True)
    return Rewritten(key, stored.hexdigest(), size, digest.hexdigest())
