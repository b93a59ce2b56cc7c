"""Triggers, policies, privileges and secrets, through a whole backup and restore."""

from __future__ import annotations

import psycopg
import pytest

from convault import secrets
from convault.commit import write_members
from convault.errors import RestoreError
from convault.models import BackupOptions, Dataset, Statement
from convault.repository import Repository
from convault.restore import restore
from tests.canaries import found, marker
from tests.restore.builder import back_up

ROLE = "cv_rights_reader"
SECRET = "sb_secret_" + marker("webhook").replace("canary", "Canary_")
SOURCE = f"""
    CREATE SCHEMA supabase_functions; CREATE SCHEMA auth;
    CREATE FUNCTION supabase_functions.http_request() RETURNS trigger LANGUAGE plpgsql
        AS 'BEGIN RETURN NEW; END';
    CREATE FUNCTION auth.uid() RETURNS uuid LANGUAGE sql AS 'SELECT NULL::uuid';
    CREATE TABLE conversations (id int PRIMARY KEY, owner uuid);
    CREATE TABLE messages (id int PRIMARY KEY, conversation int REFERENCES conversations,
        body text);
    CREATE FUNCTION refuses() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RAISE ''not now''; END';
    INSERT INTO conversations VALUES (1, NULL);
    INSERT INTO messages SELECT n, 1, 'x' FROM generate_series(1, 10) n;
    CREATE TRIGGER refuses BEFORE INSERT ON messages FOR EACH ROW EXECUTE FUNCTION refuses();
    ALTER TABLE messages ENABLE ALWAYS TRIGGER refuses;
    CREATE TRIGGER hook AFTER INSERT ON messages FOR EACH ROW
        EXECUTE FUNCTION supabase_functions.http_request('https://x', 'POST',
            '{{"Authorization": "Bearer {SECRET}"}}', '{{}}', '1000');
    ALTER TABLE conversations ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY;
    CREATE POLICY mine ON conversations FOR SELECT TO {ROLE} USING (owner = auth.uid());
    CREATE POLICY nobody ON conversations AS RESTRICTIVE FOR DELETE USING (false);
    GRANT SELECT ON messages TO {ROLE};
    COMMENT ON TABLE messages IS 'posts with {SECRET}';
"""


@pytest.fixture
def source(database: str) -> str:
    with psycopg.connect(database, autocommit=True) as connection:
        if not connection.execute("SELECT FROM pg_roles WHERE rolname = %s", (ROLE,)).fetchall():
            connection.execute(f"CREATE ROLE {ROLE}".encode())
        connection.execute(SOURCE.encode())
    return database


def _without_role(statements: tuple[Statement, ...]) -> tuple[Statement, ...]:
    """As a backup of a role that the target does not have."""
    return tuple(
        Statement(s.kind, s.name, s.sql.replace(ROLE, "cv_gone"), s.after_data,
                  tuple(need.replace(ROLE, "cv_gone") for need in s.needs), s.redacted)
        for s in statements
    )  # fmt: skip


def test_what_is_there_runs_and_what_is_not_is_told(
    source: str, target: str, repository: Repository
) -> None:
    manifest = back_up(repository, source)
    manifest = manifest.model_copy(update={"statements": _without_role(manifest.statements)})
    result = restore(repository, manifest, target)
    assert result.complete
    assert sum(result.rows.values()) == 11
    assert [(s.kind, s.name, s.needs) for s in result.left_out] == [
        ("trigger", "hook on public.messages", ("supabase_functions.http_request()",)),
        ("policy", "mine on public.conversations", ("auth.uid()", "role cv_gone")),
        ("privilege", "public.messages", ("role cv_gone",)),
    ]
    assert [(s.kind, s.name, s.redacted) for s in result.redacted] == [
        ("trigger", "hook on public.messages", ("sb_secret_ key",)),
        ("comment", "public.messages", ("sb_secret_ key",)),
    ]
    with psycopg.connect(target) as connection:
        assert connection.execute("SELECT polname FROM pg_policy").fetchall() == [("nobody",)]
        assert connection.execute(
            "SELECT tgname, tgenabled FROM pg_trigger WHERE NOT tgisinternal"
        ).fetchall() == [("refuses", "A")]
        with pytest.raises(psycopg.errors.RaiseException):
            connection.execute("INSERT INTO messages VALUES (11, 1, 'y')")


def test_only_what_is_missing_is_told(source: str, target: str, repository: Repository) -> None:
    with psycopg.connect(target, autocommit=True) as connection:
        connection.execute(SOURCE.partition("CREATE TABLE")[0].encode())
    manifest = back_up(repository, source)
    changed = manifest.model_copy(update={"statements": _without_role(manifest.statements)})
    told = {s.name: s.needs for s in restore(repository, changed, target).left_out}
    assert told == {
        "mine on public.conversations": ("role cv_gone",),
        "public.messages": ("role cv_gone",),
    }


def test_a_secret_of_the_schema_never_reaches_the_store(
    source: str, target: str, repository: Repository
) -> None:
    manifest = back_up(repository, source)
    dataset = Dataset(manifest.root, (), ())
    members = write_members(
        repository, manifest.backup_id, facts=manifest.source, dataset=dataset,
        options=BackupOptions(), statements=manifest.statements,
    )  # fmt: skip
    repository.put_manifest(manifest.model_copy(update={"members": members}))
    places = [(found.key, repository.store.get(found.key)) for found in repository.store.list()]
    assert found([SECRET, SECRET.removeprefix("sb_secret_")], places) == set()
    # And it is where it was looked for: the marker stands in its place.
    assert {place.rpartition("/")[2] for _, place in found([secrets.MARKER], places)} == {
        "datapackage.json", "schema.sql",
    }  # fmt: skip
    restore(repository, manifest, target)
    with psycopg.connect(target) as connection:
        assert connection.execute("SELECT obj_description('messages'::regclass)").fetchone() == (
            f"posts with {secrets.MARKER}",
        )


def test_a_policy_that_the_target_refuses_is_an_error_unless_tolerated(
    source: str, target: str, repository: Repository
) -> None:
    manifest = back_up(repository, source)
    broken = tuple(
        Statement(s.kind, s.name, s.sql.replace("USING (false)", "USING (gone)"), s.after_data)
        if s.name.startswith("nobody") else s for s in manifest.statements
    )  # fmt: skip
    manifest = manifest.model_copy(update={"statements": broken})
    with pytest.raises(RestoreError, match=r"policy nobody on public\.conversations"):
        restore(repository, manifest, target)
    result = restore(repository, manifest, target, tolerate=True)
    assert [fault.statement.name for fault in result.faults] == ["nobody on public.conversations"]
    assert not result.complete


def test_the_source_warns_of_secrets(source: str) -> None:
    from convault.dataset.scope import Scope
    from convault.sources.postgres import PostgresSource
    from tests.restore.builder import CONVERSATIONS, MESSAGES

    asked = PostgresSource(source, scope=Scope(CONVERSATIONS, MESSAGES), lock_timeout=10)
    with asked.snapshot() as snapshot:
        told = snapshot.warnings
    assert len(told) == 2
    assert told[0].startswith(
        "The trigger hook on public.messages holds what looks like a secret (sb_secret_ key)"
    )
    assert not any(SECRET in text for text in told)
