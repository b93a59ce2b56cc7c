"""Writing down who did what, whether it worked or not."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from uuid import UUID

from convault.catalog.base import AuditEntry, Catalog
from convault.errors import ConvaultError


@dataclass(frozen=True, slots=True)
class Actor:
    """Who asks for something, and from where."""

    name: str
    origin: str
    """`cli`, `flow`, or `api` and the address of who called it"""


class Note:
    """What is to be written down beside the result."""

    detail = ""


@contextmanager
def audited(
    catalog: Catalog, actor: Actor, action: str, backup_id: UUID | None = None
) -> Iterator[Note]:
    """The block's end is written down: `done`, or the code of the error that left it. When only the
    writing of a success fails, that is the error: what nobody can trace must not look done."""
    note = Note()

    def write(result: str) -> None:
        catalog.audit(
            AuditEntry(
                actor=actor.name, origin=actor.origin, action=action, backup_id=backup_id,
                result=result, detail=note.detail,
            )
        )  # fmt: skip

    try:
        yield note
    except ConvaultError as error:
        note.detail = note.detail or error.message
        write(error.code)
        raise
    write("done")
