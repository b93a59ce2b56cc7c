"""includeUsers: of auth.users the key and the e-mail address of those that the rows reference."""

from __future__ import annotations

import io
from collections.abc import Callable
from dataclasses import replace

import psycopg
import pytest
import zstandard

from convault.archive.composed import members_of
from convault.dataset.filters import Filters
from convault.dataset.omissions import in_lines, left_out
from convault.errors import MissingPrivilege, OptionsError
from convault.manifest import Manifest
from convault.models import BackupFormat, TableName
from convault.repository import Repository
from convault.restore import restore
from tests.restore.builder import back_up
from tests.sensitive.school import entry, fill, in_memory, names, rows, scope, source

USERS = """
    CREATE SCHEMA auth;
    CREATE TABLE auth.users (instance uuid, id uuid PRIMARY KEY, email varchar(255),
        encrypted_password varchar(255), recovery_token text, phone text UNIQUE,
        confirmed_at text GENERATED ALWAYS AS (lower(phone)) STORED);
    INSERT INTO auth.users (id, email, encrypted_password, recovery_token, phone)
        SELECT md5('user' || n)::uuid, 'user' || n || '@example.org', 'canaryhash' || n,
            'canarytoken' || n, 'canaryphone' || n FROM generate_series(1, 40) n;
    ALTER TABLE conversations ADD owner uuid REFERENCES auth.users,
        ADD editor uuid REFERENCES auth.users;
    UPDATE conversations SET owner = md5('user' || id)::uuid;
    UPDATE conversations SET editor = md5('user' || 20 + id)::uuid WHERE id < 3;
    ALTER TABLE messages ADD author uuid REFERENCES auth.users;
    UPDATE messages SET author = md5('user' || CASE WHEN id < 40 THEN 30 ELSE 31 END)::uuid;
    CREATE TABLE strangers (id uuid REFERENCES auth.users);
    INSERT INTO strangers SELECT md5('user' || 40)::uuid;
"""

REFERENCED = """
    SELECT id::text, email FROM auth.users WHERE id IN (
        SELECT owner FROM conversations UNION SELECT editor FROM conversations
        UNION SELECT author FROM messages) ORDER BY 1
"""


@pytest.fixture
def app(database: str) -> str:
    """The school, on a database with users."""
    fill(database, USERS)
    return database


def kept(manifest: Manifest, repository: Repository) -> list[tuple[object, ...]]:
    """The rows of auth.users in the backup, which are CSV."""
    users = entry(manifest, "auth.users")
    found = []
    for part in users.parts:
        stored = io.BytesIO(repository.store.get(part.key))
        reader = zstandard.ZstdDecompressor().stream_reader(stored, read_across_frames=True)
        found += reader.read().decode().split("\r\n")[1:-1]
    return sorted(tuple(line.replace('"', "").split(",")) for line in found)


@pytest.mark.parametrize("range_pages", [16, 1])
def test_key_and_address_of_referenced_users_are_kept_and_nothing_else(
    app: str, range_pages: int
) -> None:
    repository = in_memory()
    manifest = back_up(
        repository, app, scope=scope(users=True), format=BackupFormat.CSV, range_pages=range_pages
    )
    users = entry(manifest, "auth.users")
    assert users.reference_only
    assert [column.name for column in users.columns] == ["id", "email"]
    expected = rows(app, REFERENCED)
    assert kept(manifest, repository) == expected
    assert users.rows == len(expected) == 12 + 2 + 2
    assert {t.name for t in manifest.tables if t.reference_only} == {TableName("auth", "users")}
    assert any(member.path.startswith("auth/users/") for member in members_of(manifest))
    assert manifest.index is not None
    assert TableName("auth", "users") not in manifest.index.tables


def test_their_rows_are_never_taken_for_stored(app: str) -> None:
    """Which of them are kept changes without a change of theirs."""
    with source(app, scope(users=True)).snapshot() as snapshot:
        users = snapshot.dataset.table(TableName("auth", "users"))
        assert "depends on the rows of other tables" in snapshot.provenance(users).obstacle


def test_without_it_nothing_of_users_is_kept(app: str) -> None:
    assert "auth.users" not in names(back_up(in_memory(), app, scope=scope()))


def test_a_restore_neither_makes_nor_fills_them_and_says_so(app: str, target: str) -> None:
    repository = in_memory()
    manifest = back_up(repository, app, scope=scope(users=True))
    manifest = Manifest.from_bytes(manifest.to_bytes(), where="here")
    result = restore(repository, manifest, target)
    assert rows(target, "SELECT to_regclass('auth.users')") == [(None,)]
    assert {s.needs for s in result.left_out} == {("auth.users",)}
    assert TableName("auth", "users") not in result.rows
    assert "for reference only, not restored: auth.users" in in_lines(left_out(manifest))


def test_users_that_only_excluded_or_masked_columns_name_are_not_kept(app: str) -> None:
    asked = scope(users=True, masks={"conversations.owner": "null", "messages.author": "null"})
    manifest = back_up(in_memory(), app, scope=asked)
    assert entry(manifest, "auth.users").rows == 2
    everything = {f"conversations.{c}": "null" for c in ("owner", "editor")}
    asked = scope(users=True, masks={**everything, "messages.author": "null"})
    assert entry(back_up(in_memory(), app, scope=asked), "auth.users").rows == 0


def test_under_a_filter_only_those_of_selected_rows_are_kept(app: str) -> None:
    only = Filters(conversation_ids=("1", "5"))
    repository = in_memory()
    manifest = back_up(
        repository, app, scope=replace(scope(users=True), filters=only), format=BackupFormat.CSV
    )
    expected = rows(app, """
        SELECT id::text, email FROM auth.users WHERE id IN (
            SELECT owner FROM conversations WHERE id IN (1, 5)
            UNION SELECT editor FROM conversations WHERE id IN (1, 5)
            UNION SELECT author FROM messages WHERE conversation_id IN (1, 5)) ORDER BY 1
    """)  # fmt: skip
    assert kept(manifest, repository) == expected
    assert len(expected) == 2 + 1 + 2
    masks = {"conversations.owner": "null", "messages.author": "null"}
    asked = replace(scope(users=True, masks=masks), filters=only)
    assert entry(back_up(in_memory(), app, scope=asked), "auth.users").rows == 1


def test_their_address_can_be_masked_or_left_out(app: str) -> None:
    with source(app, scope(users=True, columns=["auth.users.email"])).snapshot() as snapshot:
        users = snapshot.dataset.table(TableName("auth", "users"))
        assert [column.name for column in users.columns] == ["id"]
    with source(app, scope(users=True, masks={"auth.users.email": "hash"})).snapshot() as snapshot:
        users = snapshot.dataset.table(TableName("auth", "users"))
        assert [column.mask for column in users.columns] == ["", "hash"]
    for asked in (scope(users=True, columns=["auth.users.id"]),
                  scope(users=True, masks={"auth.users.id": "hash"})):  # fmt: skip
        with pytest.raises(OptionsError):
            source(app, asked).check()


def test_they_are_locked_like_the_others_and_are_no_reason_to_name_their_schema(app: str) -> None:
    with psycopg.connect(app, autocommit=True) as connection:
        connection.execute("CREATE TABLE auth.sessions (id uuid)")
    with source(app, scope(users=True)).snapshot() as snapshot:
        assert rows(app, "SELECT DISTINCT mode FROM pg_locks"
                         " WHERE relation = 'auth.users'::regclass") == [
            ("AccessShareLock",)
        ]  # fmt: skip
        assert {name.schema for name in snapshot.not_included} <= {"public", "crm"}


def test_without_rights_on_them_the_grant_is_told(app: str, new_role: Callable[[str], str]) -> None:
    url = new_role("GRANT USAGE ON SCHEMA public, crm TO {role};"
                   " GRANT SELECT ON ALL TABLES IN SCHEMA public, crm TO {role};")  # fmt: skip
    source(url, scope(tables=["audits"])).check()
    with pytest.raises(MissingPrivilege) as refused:
        source(url, scope(users=True)).check()
    role = url.partition("//")[2].partition("@")[0]
    grants = f'GRANT USAGE ON SCHEMA auth TO "{role}"; GRANT SELECT ON auth.users TO "{role}";'
    assert grants in refused.value.message
    for grant in grants.split("; "):
        with psycopg.connect(app, autocommit=True) as connection:
            connection.execute(grant.encode())
    source(url, scope(users=True)).check()


def test_where_there_are_no_users_that_is_said(app: str) -> None:
    with psycopg.connect(app, autocommit=True) as connection:
        connection.execute("ALTER TABLE conversations DROP owner, DROP editor")
        connection.execute("ALTER TABLE messages DROP author")
    with pytest.raises(OptionsError, match=r"foreign key to auth\.users"):
        source(app, scope(users=True)).check()
    with psycopg.connect(app, autocommit=True) as connection:
        connection.execute("DROP TABLE auth.users CASCADE")
    with pytest.raises(OptionsError, match=r"no table auth\.users"):
        source(app, scope(users=True)).check()


def test_users_cannot_be_both_wanted_and_excluded(app: str) -> None:
    with pytest.raises(OptionsError, match="choose one"):
        source(app, scope(users=True, tables=["auth.*"])).check()
