"""Storage files that are damaged or missing in the repository: read again from where they were.

Only a file that is stored as it is comes back byte for byte, and only while Storage still has the
same bytes under one of its names. Encrypted, it would have other bytes each time.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from hashlib import sha256
from typing import BinaryIO

from convault.errors import ConfigurationError, FilesError, FilesUnavailable
from convault.files.addresses import Address
from convault.files.storage import CutShort, FileStorage
from convault.project import project
from convault.repository import Repository
from convault.stores.failures import translated
from convault.verification.findings import Repair
from convault.verification.holdings import Needed

Outcome = tuple[Repair, str]
"""and why"""


def refetched(repository: Repository, needed: Needed, *, put_back: bool) -> Outcome:
    """What can be done about a file's object; with `put_back` it is done. StoreError."""
    names = [place for place in needed.files if not place.entry.encrypted]
    if not names:
        return Repair.NOT_REPAIRABLE, (
            "it is encrypted, and would have other bytes: delete it, and the next backup with "
            "files reads it anew"
        )
    try:
        opened = project()
    except ConfigurationError as error:
        return Repair.NOT_REPAIRABLE, f"Storage could not be asked: {error.message}"
    names = [place for place in names if place.project == opened.url]
    if not names:
        return Repair.NOT_REPAIRABLE, "it is of another project than that of SUPABASE_URL"
    storage = FileStorage(opened)
    try:
        for place in names:
            with translated("keeping a file", tempfile.gettempdir()), _spool() as spool:
                if not _is_again(storage, place.entry.address, needed, spool):
                    continue
                if not put_back:
                    return Repair.REPAIRABLE, "Storage still has it: use --repair"
                repository.put_file(needed.sha256, spool, encrypted=False)
                repository.store.flush()
                return Repair.REPAIRED, "it was put back, as Storage still has it"
    except (FilesError, FilesUnavailable) as error:
        return Repair.NOT_REPAIRABLE, f"Storage could not be asked: {error.message}"
    return Repair.NOT_REPAIRABLE, "Storage has it no more, or another file in its place"


def _is_again(storage: FileStorage, address: Address, needed: Needed, spool: BinaryIO) -> bool:
    """Whether the file there has the bytes that are needed; then they are in `spool`."""
    remote = storage.look(address)
    if remote is None or remote.size != needed.size:
        return False

    def take(pieces: Iterator[bytes]) -> str:
        spool.seek(0)
        spool.truncate()
        digest = sha256()
        for piece in pieces:
            digest.update(piece)
            spool.write(piece)
        return digest.hexdigest()

    try:
        return storage.read(address, needed.size, take) == needed.sha256
    except CutShort:
        return False


def _spool() -> BinaryIO:
    return tempfile.TemporaryFile()
