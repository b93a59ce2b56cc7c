"""The demo's second backup: some of the conversations only, and encrypted."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import psycopg

from convault.errors import IdentityNeeded, IntegrityError
from convault.restore import restore

if TYPE_CHECKING:
    from convault.encryption.age import Identity
    from convault.manifest import Manifest
    from convault.repository import Repository

STATUS = "open"
"""of the conversations that are backed up"""

_CHOSEN = (
    "SELECT c::text FROM conversations c WHERE status = %(status)s",
    "SELECT m::text FROM messages m JOIN conversations c ON c.id = m.conversation_id"
    " WHERE c.status = %(status)s",
)
_ALL = ("SELECT c::text FROM conversations c", "SELECT m::text FROM messages m")


@dataclass(frozen=True, slots=True)
class Proof:
    """What came back."""

    conversations: int
    messages: int


def prove_closed(repository: Repository, manifest: Manifest, url: str) -> str:
    """What a restore without the identity answers. IntegrityError when it does not refuse."""
    try:
        restore(repository, manifest, url)
    except IdentityNeeded as error:
        return error.message
    raise IntegrityError("The encrypted backup was restored without its identity.")


def prove_chosen(
    repository: Repository,
    manifest: Manifest,
    identities: tuple[Identity, ...],
    source: str,
    target: str,
) -> Proof:
    """Restore it, and compare: every open conversation and each of its messages came back, value
    for value, and nothing but rows of the source (a reply may bring what it replies to along).
    IntegrityError."""
    restore(repository, manifest, target, identities=identities)
    counts = []
    with psycopg.connect(source) as before, psycopg.connect(target) as after:
        for chosen, everything in zip(_CHOSEN, _ALL, strict=True):
            wanted = set(before.execute(chosen, {"status": STATUS}))
            found = set(after.execute(everything))
            if not wanted <= found or not found <= set(before.execute(everything)):
                raise IntegrityError("The restored rows are not those that were chosen.")
            counts.append(len(wanted))
    return Proof(*counts)
