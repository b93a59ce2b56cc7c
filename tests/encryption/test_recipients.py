"""To whom backups are encrypted: the table, and that no backup is silently a plain one."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from uuid import uuid4

import psycopg
import pytest

from convault.catalog import Recipient
from convault.catalog.postgres import PostgresCatalog
from convault.encryption.objects import Encryptor
from convault.encryption.recipients import FOUND, Mode, decide, encryptor_of, opens, recipients_of
from convault.errors import EncryptionError, NotFoundError, RecipientMissing
from convault.reconcile import reconcile
from convault.repository import Repository
from tests.encryption.keys import new_key
from tests.handmade import BACKUP, new_backup, new_repository

A, B, C = (new_key()[1].recipient for _ in range(3))
NOW = datetime(2026, 1, 1, tzinfo=UTC)
ACTIVE = Recipient(public_key=A, added_at=NOW)
RETIRED = Recipient(public_key=B, added_at=NOW, retired_at=NOW)


@pytest.fixture
def catalog(database: str) -> PostgresCatalog:
    made = PostgresCatalog(database)
    made.migrate()
    return made


@pytest.mark.parametrize(
    ("mode", "known", "before", "chosen"),
    [
        ("auto", [], False, None),
        ("auto", [ACTIVE], False, (A,)),
        ("auto", [RETIRED, ACTIVE], True, (A,)),
        ("required", [ACTIVE], False, (A,)),
        ("off", [ACTIVE], True, None),
        ("off", [], True, None),
    ],
)
def test_a_backup_is_encrypted_to_the_active_ones(
    mode: Mode, known: Sequence[Recipient], before: bool, chosen: object
) -> None:
    assert decide(mode, known, before) == chosen


@pytest.mark.parametrize(
    ("mode", "known", "before"),
    [
        ("auto", [RETIRED], False),
        ("auto", [RETIRED], True),
        ("auto", [], True),
        ("required", [], False),
        ("required", [RETIRED], True),
    ],
)
def test_it_is_refused_rather_than_plain(
    mode: Mode, known: Sequence[Recipient], before: bool
) -> None:
    with pytest.raises(RecipientMissing, match="convault keys add") as caught:
        decide(mode, known, before)
    assert "CONVAULT_ENCRYPTION=off" in caught.value.message
    assert all(recipient.public_key in caught.value.message for recipient in known)


# The table


def test_recipients_are_added_retired_and_added_again(catalog: PostgresCatalog) -> None:
    assert catalog.recipients() == []
    first = catalog.add_recipient(A, "office")
    catalog.add_recipient(B)
    assert [r.public_key for r in catalog.recipients()] == [A, B]
    assert catalog.add_recipient(A) == first
    retired = catalog.retire_recipient(A)
    assert not retired.active
    assert catalog.retire_recipient(A) == retired
    again = catalog.add_recipient(A, "home")
    assert again.active
    assert (again.label, again.added_at) == ("home", first.added_at)
    with pytest.raises(NotFoundError, match="convault keys show"):
        catalog.retire_recipient(C)


def test_the_last_one_is_retired_only_when_told(catalog: PostgresCatalog) -> None:
    catalog.add_recipient(A)
    catalog.add_recipient(B)
    catalog.retire_recipient(B)
    with pytest.raises(EncryptionError, match="--last"):
        catalog.retire_recipient(A)
    assert [r.active for r in catalog.recipients()] == [True, False]
    assert not catalog.retire_recipient(A, last=True).active


def test_of_two_that_are_retired_at_once_one_stays(catalog: PostgresCatalog) -> None:
    catalog.add_recipient(A)
    catalog.add_recipient(B)
    start = threading.Barrier(2)

    def retire(public_key: str) -> bool:
        start.wait()
        try:
            catalog.retire_recipient(public_key)
        except EncryptionError:
            return False
        return True

    with ThreadPoolExecutor(2) as pool:
        assert sorted(pool.map(retire, [A, B])) == [False, True]
    assert sum(r.active for r in catalog.recipients()) == 1


def test_nothing_but_public_keys_gets_into_the_table(
    catalog: PostgresCatalog, database: str
) -> None:
    secret = new_key()[0]
    with psycopg.connect(database) as connection, pytest.raises(psycopg.errors.CheckViolation):
        connection.execute("INSERT INTO backup_recipients (public_key) VALUES (%s)", [secret])
    assert catalog.recipients() == []


# What the manifests say


def backed_up(catalog: PostgresCatalog, *recipients: str) -> Repository:
    repository = new_repository()
    catalog.register_repository(repository.repository_id, uuid4(), "memory://")
    encryptor = Encryptor(recipients) if recipients else None
    repository.put_manifest(new_backup(repository, encryptor=encryptor))
    return repository


def test_a_rebuilt_catalog_learns_that_backups_are_encrypted(catalog: PostgresCatalog) -> None:
    repository = backed_up(catalog, A, B)
    reconcile(repository, catalog)
    assert {(r.public_key, r.active, r.label) for r in catalog.recipients()} == {
        (A, False, FOUND),
        (B, False, FOUND),
    }
    with pytest.raises(RecipientMissing, match=A):
        encryptor_of("auto", repository, catalog)
    catalog.add_recipient(A)
    encryptor = encryptor_of("auto", repository, catalog)
    assert encryptor is not None
    assert encryptor.recipients == (A,)


def test_a_manifest_cannot_make_anybody_a_recipient(catalog: PostgresCatalog) -> None:
    """Whoever can write to the store could have new backups encrypted to themselves."""
    catalog.add_recipient(A)
    repository = backed_up(catalog, C)
    reconcile(repository, catalog, thorough=True)
    encryptor = encryptor_of("auto", repository, catalog)
    assert encryptor is not None
    assert encryptor.recipients == (A,)


def test_init_learns_it_again_when_the_table_was_emptied(
    catalog: PostgresCatalog, database: str
) -> None:
    repository = backed_up(catalog, A)
    reconcile(repository, catalog)
    with psycopg.connect(database) as connection:
        connection.execute("DELETE FROM backup_recipients")
    with pytest.raises(RecipientMissing):  # also before that
        encryptor_of("auto", repository, catalog)
    reconcile(repository, catalog, thorough=True)
    assert [r.public_key for r in catalog.recipients()] == [A]


def test_plain_backups_stay_plain(catalog: PostgresCatalog) -> None:
    repository = backed_up(catalog)
    reconcile(repository, catalog, thorough=True)
    assert catalog.recipients() == []
    assert encryptor_of("auto", repository, catalog) is None
    manifest = repository.manifest(BACKUP)
    assert recipients_of(manifest) == ()
    assert not opens(manifest, A)
