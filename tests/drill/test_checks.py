"""Each check passes on what was restored, and fails when that is made wrong on purpose."""

from __future__ import annotations

import secrets
from dataclasses import replace

import psycopg
import pytest

from convault.dataset.filters import Filters
from convault.dataset.scope import Scope
from convault.drill.report import Check, Outcome
from convault.repository import Repository
from convault.stores import open_store
from tests.drill.conftest import Backup, Drilled, changed, of_other_statements
from tests.patience import PATIENCE
from tests.restore.builder import CONVERSATIONS, MESSAGES, back_up

FAILED, PASSED, NOT_VERIFIED = Outcome.FAILED, Outcome.PASSED, Outcome.NOT_VERIFIED


def ended(checks: dict[tuple[str, str], Check], outcome: Outcome) -> set[tuple[str, str]]:
    return {name for name, check in checks.items() if check.outcome is outcome}


def test_a_backup_as_it_should_be(drilled: Drilled, backup: Backup) -> None:
    checks = drilled(assertions=("SELECT 1 FROM messages WHERE conversation_id IS NULL",))
    assert ended(checks, FAILED) == set()
    assert ended(checks, NOT_VERIFIED) == {("files", "")}
    tables = {str(table.name) for table in backup.manifest.tables}
    for what in ("rows", "digest"):
        assert {subject for name, subject in ended(checks, PASSED) if name == what} == tables
    assert checks["rows", "public.messages_old"].detail == str(
        next(t.rows for t in backup.manifest.tables if t.name.name == "messages_old")
    )
    keys = {subject for name, subject in checks if name == "foreign key"}
    assert keys == {f"{key.name} on {key.table}" for key in backup.manifest.foreign_keys}
    assert len(keys) >= 5
    sequences = {subject for name, subject in ended(checks, PASSED) if name == "sequence"}
    assert "public.conversations_id_seq of public.conversations.id" in sequences
    assert "public.messages_id_seq of public.messages.id" in sequences
    assert ended(checks, PASSED) >= {("restore", "")}


@pytest.mark.parametrize(
    ("meddle", "failing"),
    [
        ("UPDATE notes SET note = note || ' ' WHERE note = 'note 3'", ("digest", "public.notes")),
        ("UPDATE conversations SET code = NULL WHERE id = 3", ("digest", "public.conversations")),
        ("SELECT setval('messages_id_seq', 7)",
         ("sequence", "public.messages_id_seq of public.messages.id")),
        ("ALTER TABLE conversations ALTER id RESTART 50",
         ("sequence", "public.conversations_id_seq of public.conversations.id")),
    ],
)  # fmt: skip
def test_one_thing_that_is_wrong(drilled: Drilled, meddle: str, failing: tuple[str, str]) -> None:
    assert ended(drilled(meddle=meddle), FAILED) == {failing}


def test_a_row_too_many_and_one_too_few(drilled: Drilled) -> None:
    meddle = "INSERT INTO channels VALUES (9, 'new'); DELETE FROM notes WHERE note = 'note 1'"
    checks = drilled(meddle=meddle)
    tables = ("public.channels", "public.notes")
    assert ended(checks, FAILED) == {(what, t) for what in ("rows", "digest") for t in tables}
    assert checks["rows", "public.channels"].detail == "3 instead of 2"


def test_orphans_are_looked_for_whatever_the_key_says(drilled: Drilled, backup: Backup) -> None:
    key = next(k for k in backup.manifest.foreign_keys if k.table.name == "long_notes")
    checks = drilled(
        meddle=f"ALTER TABLE long_notes DROP CONSTRAINT {key.name};"
        "UPDATE long_notes SET conversation_id = 99 WHERE conversation_id < 3;"
        f"ALTER TABLE long_notes ADD CONSTRAINT {key.name} FOREIGN KEY (conversation_id)"
        " REFERENCES conversations NOT VALID"
    )
    subject = f"{key.name} on public.long_notes"
    assert checks["foreign key", subject].outcome is FAILED
    assert checks["foreign key", subject].detail == "2 rows without their parent"
    assert ended(checks, FAILED) == {("foreign key", subject), ("digest", "public.long_notes")}


@pytest.mark.parametrize("how", ["not valid", "declared"])
def test_orphans_that_the_source_allows_are_not_verified(
    drilled: Drilled, backup: Backup, how: str
) -> None:
    key = next(k for k in backup.manifest.foreign_keys if k.table.name == "long_notes")
    manifest = of_other_statements(
        backup,
        lambda sql: f"{sql} NOT VALID" if f"CONSTRAINT {key.name} " in sql else sql,
    ).manifest
    if how == "declared":
        keys = [replace(k, declared=True) if k is key else k for k in manifest.foreign_keys]
        manifest = backup.manifest.model_copy(update={"foreign_keys": tuple(keys)})
    checks = drilled(
        manifest,
        meddle=f"ALTER TABLE long_notes DROP CONSTRAINT {key.name};"
        "UPDATE long_notes SET conversation_id = 99 WHERE conversation_id = 1",
    )
    found = checks["foreign key", f"{key.name} on public.long_notes"]
    assert (found.outcome, found.detail[:6]) == (NOT_VERIFIED, "1 rows")


ODD_KEYS = """
CREATE TABLE tariffs (id int4range, during daterange, PRIMARY KEY (id, during WITHOUT OVERLAPS));
CREATE TABLE conversations (id integer PRIMARY KEY, tariff int4range, days daterange,
    parent integer REFERENCES conversations NOT ENFORCED,
    FOREIGN KEY (tariff, PERIOD days) REFERENCES tariffs (id, PERIOD during));
CREATE TABLE messages (conversation_id integer REFERENCES conversations);
INSERT INTO tariffs VALUES ('[1,2)', '[2026-01-01,2026-02-01)'),
    ('[1,2)', '[2026-02-01,2026-03-01)'), ('[1,2)', '[2026-03-01,)'), ('[2,3)', '[2026-01-01,)');
INSERT INTO conversations VALUES (1, '[1,2)', '[2026-01-15,2026-02-15)', 99),
    (2, '[2,3)', '[2026-01-15,2026-01-20)', NULL);
"""


def test_keys_over_periods_and_keys_that_are_not_enforced(drilled: Drilled, database: str) -> None:
    """Filtered: what a period overlaps is what a row refers to."""
    with psycopg.connect(database) as connection:
        connection.execute(ODD_KEYS.encode())
    repository = Repository.create(open_store(f"memory://{secrets.token_hex(8)}"))
    filters = Filters(conversation_ids=("1",))
    scope = Scope(CONVERSATIONS, MESSAGES, filters=filters)
    manifest = back_up(repository, database, scope=scope)
    assert {table.name.name: table.rows for table in manifest.tables} == {
        "tariffs": 2, "conversations": 1, "messages": 0
    }  # fmt: skip
    checks = drilled(of=Backup(repository, manifest, database))
    assert ended(checks, FAILED) == set()
    key = "conversations_tariff_days_fkey on public.conversations"
    assert checks["foreign key", key].outcome is PASSED
    key = "conversations_parent_fkey on public.conversations"
    assert checks["foreign key", key].outcome is NOT_VERIFIED


def test_a_digest_that_is_not_the_backups(drilled: Drilled, backup: Backup) -> None:
    checks = drilled(changed(backup, "channels", digest="0123456789abcdef"))
    assert ended(checks, FAILED) == {("digest", "public.channels")}
    assert "0123456789abcdef" in checks["digest", "public.channels"].detail


def test_a_backup_without_digests_is_not_verified(drilled: Drilled, backup: Backup) -> None:
    checks = drilled(changed(backup, "channels", digest=None))
    assert checks["digest", "public.channels"].outcome is NOT_VERIFIED
    assert checks["rows", "public.channels"].outcome is PASSED


ASSERTIONS = {
    "SELECT 1 FROM messages m LEFT JOIN conversations c ON c.id = m.conversation_id"
    " WHERE c.id IS NULL": (PASSED, ""),
    "TABLE channels": (FAILED, "it returned 2 rows"),
    "SELECT generate_series(1, 5000)": (FAILED, "it returned 1000 rows or more"),
    "SELECT secret FROM channels": (FAILED, "column"),
    "SELECT 1 / (id - 1), 'top secret' FROM channels": (FAILED, "DivisionByZero"),
    "DELETE FROM channels RETURNING 1": (FAILED, "syntax"),
    "WITH x AS (DELETE FROM notes RETURNING 1) SELECT FROM x": (FAILED, "DECLARE CURSOR"),
    "SELECT setval('messages_id_seq', 1)": (FAILED, "read-only"),
    "SELECT 1 FROM (VALUES ('a;b%')) v (x) WHERE x = ';%s'": (PASSED, ""),
}


def test_assertions(drilled: Drilled, scratch_url: str) -> None:
    checks = drilled(assertions=tuple(ASSERTIONS), timeout=PATIENCE)
    found = {subject: check for (what, subject), check in checks.items() if what == "assertion"}
    assert len(found) == len(ASSERTIONS)
    for check, (query, (outcome, detail)) in zip(found.values(), ASSERTIONS.items(), strict=True):
        assert check.outcome is outcome, (query, check)
        assert detail in check.detail, (query, check)
        assert "top secret" not in check.detail


def test_an_assertion_that_takes_too_long(drilled: Drilled) -> None:
    checks = drilled(assertions=("SELECT pg_sleep(3600)",), timeout=0.5)
    (check,) = (check for (what, _), check in checks.items() if what == "assertion")
    assert check.outcome is FAILED
    assert "it took longer than 0.5 s" in check.detail


def test_objects_that_are_damaged_fail_the_restore(drilled: Drilled, backup: Backup) -> None:
    part = next(part for table in backup.manifest.tables for part in table.parts)
    store = backup.repository.store
    whole = store.get(part.key)
    store.replace(part.key, whole[:-1] + bytes([whole[-1] ^ 1]))
    try:
        checks = drilled()
    finally:
        store.replace(part.key, whole)
    assert ended(checks, FAILED) == {("restore", "")}
    assert part.key in checks["restore", ""].detail
    assert ended(checks, NOT_VERIFIED) == {("rows", ""), ("digest", "")}
    assert ended(checks, PASSED) == set()
