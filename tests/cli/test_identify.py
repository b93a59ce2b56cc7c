"""Which backup a few characters mean."""

from __future__ import annotations

from dataclasses import dataclass
from types import SimpleNamespace
from typing import Any, cast
from uuid import UUID

import pytest

from cli.identify import backup_named, is_backup_name, shortened
from convault.catalog.base import BackupStatus
from convault.dataset.filters import is_full
from convault.errors import NotFoundError
from convault.installation import Installation

A = UUID("aaaaaaaa-0000-4000-8000-000000000001")
B = UUID("aaaaaaaa-1000-4000-8000-000000000002")
C = UUID("cccccccc-0000-4000-8000-000000000003")


@dataclass
class Rows:
    """A stand-in for a catalog: what is tested is which of the ids is taken."""

    ids: list[UUID]
    filtered: tuple[UUID, ...] = ()

    def list(
        self, *, status: BackupStatus | None = None, limit: int | None = None
    ) -> list[SimpleNamespace]:
        options = {True: {"status": ["open"]}, False: {}}
        return [
            SimpleNamespace(id=i, options=options[i in self.filtered]) for i in self.ids[:limit]
        ]


def installation(rows: list[UUID], stored: list[UUID]) -> Installation:
    repository = SimpleNamespace(backup_ids=lambda: stored)
    return cast(Any, SimpleNamespace(catalog=Rows(rows), repository=repository))


def test_a_full_id_is_taken_as_it_is() -> None:
    nothing = installation([], [])
    assert backup_named(nothing, str(A)) == A
    assert backup_named(nothing, str(A).upper()) == A
    assert backup_named(nothing, A.hex) == A


def test_first_characters_of_a_row_or_of_a_manifest() -> None:
    both = installation([A], [A, C])
    assert backup_named(both, "a") == A
    assert backup_named(both, "CCCC") == C


def test_first_characters_that_several_have() -> None:
    both = installation([A], [B])
    with pytest.raises(NotFoundError, match="2 backups begin with 'aaaa'"):
        backup_named(both, "aaaa")
    assert backup_named(both, "aaaaaaaa-1") == B


@pytest.mark.parametrize("text", ["", "b", "latest ", "{aaaaaaaa", "urn:uuid:" + str(A)])
def test_nothing_of_that_name(text: str) -> None:
    with pytest.raises(NotFoundError, match="convault list"):
        backup_named(installation([A], [A]), text)


def test_latest_is_the_newest_that_is_complete() -> None:
    assert backup_named(installation([C, A], []), "latest") == C
    with pytest.raises(NotFoundError, match="convault backup"):
        backup_named(installation([], [A]), "latest")


def test_shown_ids_are_short_and_tell_apart() -> None:
    assert shortened([A, C]) == {A: "aaaaaaaa", C: "cccccccc"}
    assert shortened([A, B]) == {A: "aaaaaaaa-0", B: "aaaaaaaa-1"}
    assert shortened([A, A]) == {A: "aaaaaaaa"}
    assert shortened([]) == {}


def test_what_looks_like_an_id() -> None:
    assert is_backup_name("latest")
    assert is_backup_name("0b6F4e0e-")
    assert not is_backup_name("backup.tar")
    assert not is_backup_name("")


def test_latest_is_never_a_part() -> None:
    mixed = installation([C, A], [])
    mixed.catalog.filtered = (C,)  # type: ignore[attr-defined]
    assert backup_named(mixed, "latest") == A
    mixed.catalog.filtered = (A, C)  # type: ignore[attr-defined]
    with pytest.raises(NotFoundError, match=rf"only such as hold a part: {C} \(1 status\), {A}"):
        backup_named(mixed, "latest")


@pytest.mark.parametrize(
    ("options", "full"),
    [
        ({}, True),
        ({"includeMessages": True, "includeAttachments": False, "conversationIds": []}, True),
        ({"includeMessages": False}, False),
        ({"tables": ["messages"]}, False),
        ({"startDate": "2026-01-01"}, False),
        ({"status": ["open"]}, False),
        ({"participantIds": ["x"]}, False),
    ],
)
def test_what_is_a_full_backup(options: dict[str, Any], full: bool) -> None:
    assert is_full(options) is full
