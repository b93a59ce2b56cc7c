"""Parts of a backup as they are read from its store: each is proven to be the backup's."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from hashlib import sha256
from uuid import UUID

from tenacity import Retrying, retry_if_exception, stop_after_attempt, wait_exponential_jitter

from convault.encryption.objects import Opener
from convault.errors import ConvaultError, IntegrityError, ObjectMissing
from convault.manifest import Manifest, PartEntry
from convault.stores.base import Store

_LOOKUPS = 8
"""objects that are looked up at the same time"""
_ATTEMPTS = 4
"""of reading one object, when the store cannot be reached"""


def check_objects(store: Store, manifest: Manifest) -> None:
    """Look up every object of the backup. IntegrityError names those that are missing or have
    another size than the manifest says."""
    check_sizes(store, manifest.objects(), manifest.backup_id)


def check_sizes(store: Store, sizes: Mapping[str, int], backup_id: UUID) -> None:
    """Look up some objects, as `check_objects` does."""

    def fault(key: str, size: int) -> str | None:
        try:
            found = store.head(key).size
        except ObjectMissing:
            return f"{key} is missing"
        return None if found == size else f"{key} has {found} bytes instead of {size}"

    with ThreadPoolExecutor(_LOOKUPS) as pool:
        faults = [found for found in pool.map(fault, sizes, sizes.values()) if found]
    if faults:
        more = f", and {len(faults) - 3} more" if len(faults) > 3 else ""
        raise IntegrityError(
            f"Backup {backup_id} is damaged: {'; '.join(faults[:3])}{more}. Nothing was "
            "loaded; `convault list` shows the other backups.",
            backup=backup_id,
        )


def check_members(store: Store, manifest: Manifest) -> None:
    """Hold the objects beside the parts (README.txt, schema.sql, the index) against their digests.
    IntegrityError names the first that is missing or another one."""
    digests, sizes = manifest.digests(), manifest.objects()
    keys = [member.key for member in manifest.members]
    if manifest.index is not None:
        keys.append(manifest.index.key)
    for key in dict.fromkeys(keys):
        for attempt in read_attempts():
            with attempt:
                found, size = sha256(), 0
                try:
                    for piece in store.stream(key):
                        found.update(piece)
                        size += len(piece)
                        if size > sizes[key]:
                            break
                except ObjectMissing:
                    raise _damaged_member(key, "it is missing") from None
        if size != sizes[key] or found.hexdigest() != digests[key]:
            raise _damaged_member(key, "its bytes do not have the digest of the manifest")


def _damaged_member(key: str, what: str) -> IntegrityError:
    return IntegrityError(f"{key} is damaged: {what}. Nothing was loaded.", key=key)


def read_part(store: Store, part: PartEntry, opener: Opener) -> bytes:
    """The plain bytes of a part (at most 32 MiB, or one row). IntegrityError names the object when
    its digest or its size is not the manifest's."""
    return b"".join(opener.plain(part, opener.opened(part, read_stored(store, part))))


def read_stored(store: Store, part: PartEntry) -> bytes:
    """A part's bytes as they are stored, not checked; at most some more than there should be:
    enough to see that there are too many. IntegrityError when it is missing."""
    return _read(part, lambda: store.stream(part.key), part.stored_bytes)


def read_range(store: Store, part: PartEntry, start: int, end: int) -> bytes:
    """Bytes [start, end) of a part as they are stored, not checked. IntegrityError when it is
    missing."""
    return _read(part, lambda: store.stream(part.key, start, end), end - start)


def read_attempts() -> Retrying:
    """How often one object is read, and how far apart, when the store cannot be reached."""
    return Retrying(
        retry=retry_if_exception(lambda e: isinstance(e, ConvaultError) and e.transient),
        stop=stop_after_attempt(_ATTEMPTS),
        wait=wait_exponential_jitter(multiplier=0.2, max=10, jitter=0.2),
        reraise=True,
    )


def damaged(part: PartEntry, what: str) -> IntegrityError:
    """The error that names a part."""
    return IntegrityError(f"{part.key} is damaged: {what}. Nothing was loaded.", key=part.key)


def _read(part: PartEntry, stream: Callable[[], Iterable[bytes]], most: int) -> bytes:
    try:
        return read_attempts()(lambda: b"".join(_pieces(stream(), most)))
    except ObjectMissing:
        raise damaged(part, "it is missing") from None


def _pieces(stream: Iterable[bytes], left: int) -> Iterator[bytes]:
    for piece in stream:
        yield piece
        left -= len(piece)
        if left < 0:
            return
