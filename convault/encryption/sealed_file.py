"""One age file of a store, read by range; and what is said of one that cannot be opened."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager

from convault.encryption import age
from convault.encryption.age import Identity
from convault.encryption.age_chunks import Chunks, Read, Span, header_bytes, header_end
from convault.errors import DamagedHeader, IntegrityError


class SealedFile:
    """An age file, of which as little is read as is asked for: its header once, and the chunks that
    hold the bytes. What they give is not proven to be the backup's (`age_chunks`)."""

    def __init__(
        self, name: str, size: int, identities: Sequence[Identity], recipients: int, read: Read
    ) -> None:
        """`size`: bytes of it, which a digest of somebody else proves; `recipients`: for how many
        it is, to read as much of it at first. `read` gives its bytes [start, end).

        DamagedHeader, IntegrityError, and the errors of `read`.
        """
        self._name, self._read = name, read
        with opening(name):
            start = read(0, min(size, header_bytes(recipients)))
            whole = age.MAX_HEADER_BYTES + 256
            if len(start) < min(size, whole) and _is_short(start):
                start = read(0, min(size, whole))
            self._chunks = Chunks(start, size, identities)

    @property
    def plain_bytes(self) -> int:
        """How many bytes are in it."""
        return self._chunks.plain_bytes

    def spans(self, spans: Iterable[Span]) -> list[bytes]:
        """The bytes of each span. IntegrityError, and the errors of `read`."""
        with opening(self._name):
            return self._chunks.read(spans, self._read)


@contextmanager
def opening(name: str) -> Iterator[None]:
    """Says of an age file that does not open which it is, and what to do. DamagedHeader,
    IntegrityError."""
    try:
        yield
    except (age.NoMatch, age.BadHeader):
        raise DamagedHeader(
            f"{name} is damaged: its age header, which says who may open it, is not the one "
            "that was written. Nothing was read from it; put the object back from a copy of "
            "the repository, or use another backup.",
            key=name,
        ) from None
    except age.CannotOpen:
        raise damaged(name, "what is behind its age header was changed or cut off") from None


def damaged(name: str, what: str) -> IntegrityError:
    """The error that names an object."""
    return IntegrityError(
        f"{name} is damaged: {what}. Nothing was kept of it; put it back from a copy of the "
        "repository, or use another backup.",
        key=name,
    )


def _is_short(start: bytes) -> bool:
    """Whether the header, or the nonce behind it, goes on."""
    end = header_end(start)
    return end is None or len(start) < end + 16
