"""Extensions that the drill's Postgres lacks: what can be checked is, the rest is listed."""

from __future__ import annotations

import secrets
from collections.abc import Callable
from pathlib import Path

import psycopg
import pytest

from convault.drill.drilling import Plan, examine
from convault.drill.rehearsal import rehearse
from convault.drill.report import Check, Outcome
from convault.drill.scratch import Scratch
from convault.embedded.server import EmbeddedPostgres
from convault.repository import Repository
from convault.stores import open_store
from tests.conftest import SYSTEM_VERSIONS
from tests.restore.builder import back_up

BEGIN = """
    CREATE SCHEMA extensions;
    CREATE SCHEMA auth;
    CREATE TABLE auth.users (id uuid PRIMARY KEY);
    CREATE FUNCTION auth.uid() RETURNS uuid LANGUAGE sql AS 'SELECT NULL::uuid';
    INSERT INTO auth.users VALUES ('a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11');
"""
SUPABASE = """
    CREATE EXTENSION "uuid-ossp" WITH SCHEMA extensions;
    CREATE EXTENSION citext WITH SCHEMA extensions;
    CREATE EXTENSION pgcrypto WITH SCHEMA extensions;
    CREATE EXTENSION hstore WITH SCHEMA extensions;
    CREATE TABLE conversations (
        id uuid PRIMARY KEY DEFAULT extensions.uuid_generate_v4(),
        owner uuid DEFAULT auth.uid() REFERENCES auth.users,
        email extensions.citext UNIQUE,
        token bytea DEFAULT extensions.gen_random_bytes(16),
        labels extensions.hstore);
    CREATE TABLE messages (
        id bigserial PRIMARY KEY, conversation_id uuid NOT NULL REFERENCES conversations,
        senders extensions.citext[]);
    INSERT INTO conversations (owner, email, labels)
        SELECT 'a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11', 'Ana' || n || '@Example.org', 'a=>1, b=>NULL'
        FROM generate_series(1, 50) n;
    INSERT INTO messages (conversation_id, senders)
        SELECT id, ARRAY[email, 'x'] FROM conversations;
"""
OTHERS = """
    CREATE EXTENSION cube WITH SCHEMA extensions;
    CREATE TABLE conversations (id bigserial PRIMARY KEY);
    CREATE TABLE messages (id bigserial PRIMARY KEY,
        conversation_id bigint NOT NULL REFERENCES conversations);
    CREATE TABLE places (id bigserial PRIMARY KEY, spot extensions.cube,
        message_id bigint REFERENCES messages);
    INSERT INTO conversations SELECT FROM generate_series(1, 5);
    INSERT INTO messages (conversation_id) SELECT id FROM conversations;
    INSERT INTO places (spot, message_id) SELECT '(1,2)', id FROM messages;
"""
VECTOR = """
    CREATE EXTENSION vector WITH SCHEMA extensions;
    CREATE TABLE conversations (id bigserial PRIMARY KEY, v extensions.vector(3));
    CREATE TABLE messages (id bigserial PRIMARY KEY,
        conversation_id bigint NOT NULL REFERENCES conversations);
    CREATE INDEX ON conversations USING hnsw (v extensions.vector_l2_ops);
    INSERT INTO conversations (v) SELECT ARRAY[n, 0.5, -1]::real[]::extensions.vector
        FROM generate_series(1, 5) n;
"""

CASELESS = """
    CREATE EXTENSION citext WITH SCHEMA extensions;
    CREATE TABLE contacts (mail extensions.citext PRIMARY KEY);
    CREATE TABLE conversations (id integer PRIMARY KEY,
        contact extensions.citext REFERENCES contacts);
    CREATE TABLE messages (id bigserial PRIMARY KEY,
        conversation_id integer NOT NULL REFERENCES conversations);
    INSERT INTO contacts VALUES ('Ana@Example.org');
    INSERT INTO conversations VALUES (1, 'ana@example.ORG');
"""

System = pytest.param(min(SYSTEM_VERSIONS, default=15), id="with contrib")


def drilled(
    url: str, *, into: str | None = None, folder: Path = Path()
) -> dict[tuple[str, str], Check]:
    repository = Repository.create(open_store(f"memory://{secrets.token_hex(8)}"))
    planned = Plan(back_up(repository, url), into, folder, (), 5, repository.store)
    with planned.scratch() as scratch:
        checks = examine(planned, rehearse(repository, planned.manifest, scratch), scratch)
    return {(check.what, check.subject): check for check in checks}


@pytest.fixture
def source(
    cluster_of: Callable[[int], EmbeddedPostgres],
    new_database: Callable[[EmbeddedPostgres], str],
) -> Callable[[int, str], str]:
    def make(version: int, tables: str) -> str:
        url = new_database(cluster_of(version))
        with psycopg.connect(url) as connection:
            connection.execute((BEGIN + tables).encode())
        return url

    return make


@pytest.mark.parametrize("version", [System])
def test_stand_ins_hold_the_values(
    source: Callable[[int, str], str], scratch_url: str, version: int
) -> None:
    checks = drilled(source(version, SUPABASE), into=scratch_url)
    assert [c for c in checks.values() if c.outcome is Outcome.FAILED] == []
    for table in ("public.conversations", "public.messages"):
        assert checks["digest", table].outcome is Outcome.PASSED
    for extension in ("uuid-ossp", "citext", "pgcrypto", "hstore"):
        assert checks["extension", extension].outcome is Outcome.NOT_VERIFIED
        assert "stand-in" in checks["extension", extension].detail
    outside = [c for (what, _), c in checks.items() if what == "foreign key" and "auth" in c.detail]
    assert [check.outcome for check in outside] == [Outcome.NOT_VERIFIED]


@pytest.mark.parametrize("version", [System])
def test_what_leans_on_another_extension_is_not_verified_and_the_rest_is(
    source: Callable[[int, str], str], scratch_url: str, version: int
) -> None:
    checks = drilled(source(version, OTHERS), into=scratch_url)
    assert [c for c in checks.values() if c.outcome is Outcome.FAILED] == []
    for table in ("public.conversations", "public.messages"):
        assert checks["digest", table].outcome is Outcome.PASSED
    assert checks["extension", "cube"].outcome is Outcome.NOT_VERIFIED
    for what in ("rows", "digest"):
        assert checks[what, "public.places"].outcome is Outcome.NOT_VERIFIED
    key = checks["foreign key", "places_message_id_fkey on public.places"]
    assert (key.outcome, "public.places" in key.detail) == (Outcome.NOT_VERIFIED, True)


@pytest.mark.parametrize("version", [System])
@pytest.mark.parametrize("there", [True, False])
def test_a_key_is_held_against_rows_as_its_type_compares(
    source: Callable[[int, str], str], scratch_url: str, version: int, there: bool,
    cluster_of: Callable[[int], EmbeddedPostgres],
    new_database: Callable[[EmbeddedPostgres], str],
) -> None:  # fmt: skip
    """Where the type is; a stand-in could not tell."""
    url = source(version, CASELESS)
    repository = Repository.create(open_store(f"memory://{secrets.token_hex(8)}"))
    manifest = back_up(repository, url)
    scratch = Scratch(new_database(cluster_of(version)) if there else scratch_url, "here")
    planned = Plan(manifest, scratch.url, Path(), (), 5, repository.store)
    checks = examine(planned, rehearse(repository, manifest, scratch), scratch)
    assert [check for check in checks if check.outcome is Outcome.FAILED] == []
    found = [c for c in checks if c.subject == "conversations_contact_fkey on public.conversations"]
    assert [c.outcome for c in found] == [Outcome.PASSED if there else Outcome.NOT_VERIFIED]


def test_an_extension_that_is_there_is_used(
    source: Callable[[int, str], str], folder: Path
) -> None:
    """Although only a superuser may make it."""
    checks = drilled(source(18, VECTOR), folder=folder)
    assert {c.outcome for (what, _), c in checks.items() if what == "digest"} == {Outcome.PASSED}
    assert [name for name in checks if name[0] == "extension"] == []
    assert [c for c in checks.values() if c.outcome is Outcome.FAILED] == []
