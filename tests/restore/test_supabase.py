"""A schema as Supabase applications have it, into a plain Postgres, and users who are not there."""

from __future__ import annotations

from collections.abc import Callable

import psycopg
import pytest

from convault.embedded.server import EmbeddedPostgres
from convault.errors import RestoreError
from convault.models import Statement
from convault.repository import Repository
from convault.restore import RestoreOptions, restore
from tests.conftest import SYSTEM_VERSIONS
from tests.restore.builder import back_up
from tests.restore.test_live import run
from tests.restore.test_selection import rows

NewDatabase = Callable[[EmbeddedPostgres], str]

SCHEMA = """
CREATE SCHEMA extensions;
CREATE EXTENSION "uuid-ossp" WITH SCHEMA extensions;
CREATE EXTENSION citext WITH SCHEMA extensions;
CREATE SCHEMA auth;
CREATE TABLE auth.users (id uuid PRIMARY KEY, email text, created_at timestamptz DEFAULT now());
CREATE FUNCTION auth.uid() RETURNS uuid LANGUAGE sql STABLE
    AS $$ SELECT nullif(current_setting('request.jwt.claim.sub', true), '')::uuid $$;
CREATE TABLE public.conversations (
    id uuid PRIMARY KEY DEFAULT extensions.uuid_generate_v4(),
    owner uuid REFERENCES auth.users, email extensions.citext UNIQUE, created_at timestamptz);
CREATE TABLE public.messages (
    id uuid PRIMARY KEY DEFAULT extensions.uuid_generate_v4(),
    conversation_id uuid NOT NULL REFERENCES public.conversations ON DELETE CASCADE,
    sender uuid DEFAULT auth.uid(), body text);
ALTER TABLE public.conversations ENABLE ROW LEVEL SECURITY;
ALTER TABLE public.messages ENABLE ROW LEVEL SECURITY;
CREATE POLICY own ON public.conversations USING (owner = auth.uid());
CREATE POLICY own ON public.messages USING (EXISTS (SELECT FROM public.conversations c
    WHERE c.id = conversation_id AND c.owner = auth.uid()));
INSERT INTO auth.users SELECT md5(n::text)::uuid FROM generate_series(1, 5) n;
INSERT INTO public.conversations SELECT md5('c' || n)::uuid, md5(n::text)::uuid,
    'Person' || n || '@Example.org', now() FROM generate_series(1, 5) n;
INSERT INTO public.messages (conversation_id, sender, body)
    SELECT md5('c' || (1 + n % 5))::uuid, NULL, 'body ' || n FROM generate_series(1, 50) n;
"""
USERS = """
CREATE SCHEMA auth;
CREATE TABLE auth.users (id uuid PRIMARY KEY, email text, created_at timestamptz DEFAULT now());
INSERT INTO auth.users SELECT md5(n::text)::uuid FROM generate_series(1, 3) n;
"""
CONTENT = (
    "SELECT c.id::text, c.email::text, m.id::text, m.body FROM conversations c JOIN messages m"
    " ON m.conversation_id = c.id ORDER BY m.id"
)


@pytest.fixture(scope="session")
def contrib(cluster_of: Callable[[int], EmbeddedPostgres]) -> EmbeddedPostgres:
    """A server that has citext and uuid-ossp, which the wheel's do not."""
    return cluster_of(max(SYSTEM_VERSIONS))


@pytest.mark.skipif(not SYSTEM_VERSIONS, reason="no system Postgres, which brings the extensions")
def test_it_comes_back_into_a_plain_postgres(
    contrib: EmbeddedPostgres, cluster: EmbeddedPostgres, new_database: NewDatabase,
    repository: Repository,
) -> None:  # fmt: skip
    """The wheel's Postgres has neither extension, nor a schema `auth`."""
    source, target = new_database(contrib), new_database(cluster)
    run(source, SCHEMA)
    result = restore(repository, back_up(repository, source), target)
    assert rows(target, CONTENT) == rows(source, CONTENT)
    assert result.complete
    lacking = {lack.name: lack for lack in result.lacking}
    assert {"uuid-ossp", "citext", "auth.uid()"} <= set(lacking)
    assert 'CREATE EXTENSION IF NOT EXISTS "uuid-ossp" WITH SCHEMA extensions;' in (
        lacking["uuid-ossp"].sql
    )
    assert lacking["citext"].instead
    left_out = {(s.kind, s.needs) for s in result.left_out}
    assert ("foreign key", ("auth.users",)) in left_out
    assert ("policy", ("auth.uid()",)) in left_out
    # What stands in works as the real thing does, as far as this Postgres can.
    icu = rows(target, "SELECT count(*) FROM pg_collation WHERE collname = 'citext_without_case'")
    with psycopg.connect(target) as connection:
        found = connection.execute(
            "SELECT count(*) FROM conversations WHERE email = 'PERSON1@example.ORG'"
        ).fetchall()
        assert found == icu
        made = connection.execute(
            "INSERT INTO conversations (email) VALUES ('x') RETURNING id"
        ).fetchone()
        assert made is not None
    # Rows are closed until the policies are there; the SQL that was listed brings what they need.
    secured = "SELECT bool_and(relrowsecurity) FROM pg_class WHERE relname IN" \
              " ('conversations', 'messages')"  # fmt: skip
    assert rows(target, secured) == [(True,)]
    run(target, lacking["auth.uid()"].sql)
    for statement in result.left_out:
        if statement.kind == "policy":
            run(target, statement.sql)
    assert len(rows(target, "SELECT FROM pg_policy")) == 2


@pytest.mark.skipif(not SYSTEM_VERSIONS, reason="no system Postgres, which brings the extensions")
def test_extensions_that_are_there_are_used(
    contrib: EmbeddedPostgres, new_database: NewDatabase, repository: Repository
) -> None:
    source, target = new_database(contrib), new_database(contrib)
    run(source, SCHEMA)
    result = restore(repository, back_up(repository, source), target)
    assert rows(target, CONTENT) == rows(source, CONTENT)
    assert "citext" not in {lack.name for lack in result.lacking}
    assert rows(target, "SELECT extname FROM pg_extension ORDER BY 1") == [
        ("citext",), ("plpgsql",), ("uuid-ossp",)
    ]  # fmt: skip


def test_an_extension_that_nothing_stands_in_for_is_named_with_its_sql(
    database: str, target: str, repository: Repository
) -> None:
    run(database, "CREATE TABLE conversations (id int PRIMARY KEY)",
        "CREATE TABLE messages (id int REFERENCES conversations)")  # fmt: skip
    manifest = back_up(repository, database)
    needed = Statement(
        "extension", "postgis", "CREATE EXTENSION IF NOT EXISTS postgis WITH SCHEMA public", False
    )
    manifest = manifest.model_copy(update={"statements": (needed, *manifest.statements)})
    with pytest.raises(RestoreError, match="the extension postgis") as caught:
        restore(repository, manifest, target)
    assert "CREATE EXTENSION IF NOT EXISTS postgis WITH SCHEMA public;" in caught.value.message
    assert rows(target, "SELECT FROM pg_class WHERE relname = 'conversations'") == []
    assert restore(repository, manifest, target, tolerate=True).lacking[0].name == "postgis"


SMALL = """
CREATE TABLE public.conversations (id int PRIMARY KEY, owner uuid
    CONSTRAINT by_owner REFERENCES auth.users);
CREATE TABLE public.messages (id int PRIMARY KEY, conversation_id int NOT NULL
    REFERENCES public.conversations, reply_to int REFERENCES public.messages);
INSERT INTO public.conversations SELECT n, md5(n::text)::uuid FROM generate_series(1, 5) n;
INSERT INTO public.messages SELECT n, 1 + n % 5, CASE WHEN n > 5 THEN n - 4 END
    FROM generate_series(1, 20) n;
"""
HOOK = """
CREATE FUNCTION auth.welcome() RETURNS trigger LANGUAGE plpgsql AS $$
    BEGIN INSERT INTO auth.welcomed VALUES (NEW.id); RETURN NULL; END $$;
CREATE TABLE auth.welcomed (id uuid);
CREATE TRIGGER welcome AFTER INSERT ON auth.users FOR EACH ROW EXECUTE FUNCTION auth.welcome();
"""


@pytest.mark.parametrize("live", [False, True], ids=["empty", "live"])
@pytest.mark.parametrize(
    ("how", "conversations", "users"),
    [("null", 5, 3), ("skip", 3, 3), ("stub", 5, 5)],
)
def test_users_who_are_not_there(
    cluster: EmbeddedPostgres, new_database: NewDatabase, repository: Repository,
    how: str, conversations: int, users: int, live: bool,
) -> None:  # fmt: skip
    source, target = new_database(cluster), new_database(cluster)
    run(source, USERS.replace("(1, 3)", "(1, 5)"), SMALL)
    manifest = back_up(repository, source)
    run(target, USERS, HOOK)
    if live:
        run(target, SMALL.split("INSERT")[0])
    with pytest.raises(RestoreError, match=r"2 rows by by_owner on public\.conversations"):
        restore(repository, manifest, target)
    assert rows(target, "SELECT count(*) FROM auth.users") == [(3,)]
    options = RestoreOptions.parse({"missingUsers": how})
    if how == "stub" and not live:
        # SQL of the backup runs as a plain role there, which may not switch the trigger off.
        with pytest.raises(RestoreError, match="has triggers or rules of its own"):
            restore(repository, manifest, target, options)
        run(target, "DROP TRIGGER welcome ON auth.users")
    result = restore(repository, manifest, target, options)
    assert result.missing_users == {"by_owner on public.conversations": 2}
    counts = "SELECT (SELECT count(*) FROM conversations), (SELECT count(*) FROM auth.users)"
    assert rows(target, counts) == [(conversations, users)]
    expected = rows(source, f"""
        WITH RECURSIVE kept AS (
            SELECT m.* FROM messages m WHERE reply_to IS NULL
                AND ({how != 'skip'} OR conversation_id <= 3)
            UNION SELECT m.* FROM messages m JOIN kept k ON m.reply_to = k.id
                WHERE {how != 'skip'} OR m.conversation_id <= 3)
        SELECT count(*) FROM kept""")  # fmt: skip
    assert rows(target, "SELECT count(*) FROM messages") == expected
    valid = "SELECT bool_and(convalidated) FROM pg_constraint WHERE contype = 'f'"
    assert rows(target, valid) == [(True,)]
    assert rows(target, "SELECT * FROM auth.welcomed") == []
