"""Which tables are in the dataset: without messages, with declared relations, named by patterns."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import closing
from uuid import uuid4

import pytest

from convault.dataset.belonging import indexed
from convault.embedded.server import EmbeddedPostgres
from convault.models import TableName
from convault.repository import Repository
from convault.restore import restore
from convault.sources.postgres import find
from convault.sources.selection import select
from convault.sources.session import connect
from convault.stores import open_store
from tests.filters.world import selected, source_of, wanted
from tests.restore.builder import back_up
from tests.sources.reading import run

Make = Callable[[EmbeddedPostgres], str]

WITHOUT = """
CREATE TABLE conversations (id integer PRIMARY KEY, last_message_id bigint, status text);
CREATE TABLE messages (id bigint PRIMARY KEY, conversation_id integer REFERENCES conversations,
    sent_on date) ;
ALTER TABLE conversations ADD CONSTRAINT last FOREIGN KEY (last_message_id) REFERENCES messages;
CREATE TABLE attachments (id bigint PRIMARY KEY, message_id bigint REFERENCES messages);
CREATE TABLE scans (attachment_id bigint REFERENCES attachments);
CREATE TABLE reactions (
    id bigint PRIMARY KEY, conversation_id integer REFERENCES conversations,
    message_id bigint CONSTRAINT "on" REFERENCES messages);
CREATE TABLE reports (
    conversation_id integer REFERENCES conversations,
    attachment_id bigint CONSTRAINT about REFERENCES attachments);
INSERT INTO conversations VALUES (1, NULL, 'open'), (2, NULL, 'closed');
INSERT INTO messages VALUES (1, 1), (2, 2);
UPDATE conversations SET last_message_id = id;
INSERT INTO attachments VALUES (1, 1), (2, 2);
INSERT INTO reactions VALUES (1, 1, 1), (2, 2, 1), (3, NULL, 2);
INSERT INTO reports VALUES (1, 2), (2, NULL);
"""

DECLARED = """
CREATE SCHEMA billing;
CREATE TABLE conversations (id bigint PRIMARY KEY, status text, org varchar, number integer);
CREATE TABLE messages (id bigint PRIMARY KEY, conversation_id integer);
CREATE TABLE attachments (id bigint PRIMARY KEY, message_id bigint REFERENCES messages);
CREATE TABLE billing."Invoices" (id bigint PRIMARY KEY, "the org" text, ticket bigint);
CREATE TABLE authors (name text, id integer);
ALTER TABLE messages ADD author integer;
INSERT INTO conversations SELECT n, CASE WHEN n < 4 THEN 'open' END, 'org ' || n % 3, n
    FROM generate_series(1, 9) n;
INSERT INTO authors SELECT 'author ' || n, n % 5 FROM generate_series(1, 10) n;
INSERT INTO messages SELECT n, n % 12, n % 5 FROM generate_series(1, 40) n;
INSERT INTO attachments SELECT n, n FROM generate_series(1, 40) n;
INSERT INTO billing."Invoices" SELECT n, 'org ' || n % 4, n % 10 FROM generate_series(1, 40) n;
"""
RELATIONS = """
messages.conversation_id -> conversations.id; messages.author -> authors.id;
billing."Invoices"("the org", ticket) -> conversations(org, number)
"""

SALES = '''
CREATE SCHEMA "Sales & co";
CREATE TABLE public.currencies (code text PRIMARY KEY);
CREATE TABLE "Sales & co"."select" (
    "from" integer PRIMARY KEY, "where" text REFERENCES public.currencies);
CREATE TABLE "Sales & co"."Ordem ""1""" (id integer PRIMARY KEY, "from" integer
    REFERENCES "Sales & co"."select", at date) ;
CREATE TABLE "Sales & co".parts (id integer, at date, PRIMARY KEY (id, at)) PARTITION BY RANGE (at);
CREATE TABLE public.parts_2026 PARTITION OF "Sales & co".parts DEFAULT;
CREATE TABLE public.prices (code text REFERENCES public.currencies);
INSERT INTO public.currencies VALUES ('BRL'), ('EUR');
INSERT INTO "Sales & co"."select" VALUES (1, 'BRL'), (2, NULL);
INSERT INTO "Sales & co"."Ordem ""1""" VALUES (1, 1, '2026-01-01'), (2, NULL, NULL);
INSERT INTO "Sales & co".parts SELECT n, '2026-01-01' FROM generate_series(1, 500) n;
'''


@pytest.fixture
def repository() -> Repository:
    return Repository.create(open_store(f"memory://{uuid4().hex}"))


def test_without_messages(
    cluster: EmbeddedPostgres, new_database: Make, repository: Repository
) -> None:
    url, target = new_database(cluster), new_database(cluster)
    run(url, WITHOUT)
    manifest = back_up(repository, url, scope=wanted({"includeMessages": False}))
    assert {t.name.name: t.rows for t in manifest.tables} == {
        "conversations": 2, "reactions": 3, "reports": 2
    }  # fmt: skip
    assert [(a.name, a.reason) for a in manifest.absent] == [
        ("public.messages", "excluded"),
        ("public.attachments", "unreachable"),
        ("public.scans", "unreachable"),
    ]
    result = restore(repository, manifest, target)
    assert result.complete
    assert {s.name.partition(" ")[0] for s in result.left_out} == {"last", '"on"', "about"}
    assert {need for s in result.left_out for need in s.needs} == {
        "public.messages", "public.attachments"
    }  # fmt: skip
    assert run(target, "SELECT id, last_message_id FROM conversations ORDER BY id") == [
        (1, 1), (2, 2)
    ]  # fmt: skip


def test_without_messages_and_filtered(cluster: EmbeddedPostgres, new_database: Make) -> None:
    url = new_database(cluster)
    run(url, WITHOUT)
    assert selected(url, {"includeMessages": False, "status": "open"}) == {
        "conversations": {"1"}, "reactions": {"1"}, "reports": {"1"}
    }  # fmt: skip


def test_nothing_is_said_to_be_missing_by_accident(
    cluster: EmbeddedPostgres, new_database: Make
) -> None:
    url = new_database(cluster)
    run(url, WITHOUT)
    with source_of(url, {"includeMessages": False}).snapshot() as snapshot:
        assert snapshot.warnings == ()
        assert snapshot.not_included == ()


def test_declared_relations_bring_tables_rows_and_an_index(
    cluster: EmbeddedPostgres, new_database: Make, repository: Repository
) -> None:
    url, target = new_database(cluster), new_database(cluster)
    run(url, DECLARED)
    open_ = "SELECT id FROM conversations WHERE status = 'open'"
    queries = {
        "conversations": open_,
        "messages": f"SELECT id FROM messages WHERE conversation_id IN ({open_})",
        "attachments": f"SELECT id FROM attachments WHERE message_id IN"
        f" (SELECT id FROM messages WHERE conversation_id IN ({open_}))",
        "Invoices": """SELECT id FROM billing."Invoices" i WHERE EXISTS (
            SELECT FROM conversations c
            WHERE c.org = i."the org" AND c.number = i.ticket AND c.status = 'open')""",
    }
    # Without a unique key an author may be several rows: all of them are referenced.
    queries["authors"] = (
        f"SELECT name FROM authors WHERE id IN (SELECT author FROM messages"
        f" WHERE conversation_id IN ({open_}))"
    )
    found = selected(url, {"status": "open"}, convault_relations=RELATIONS)
    assert found == {name: {str(r[0]) for r in run(url, q)} for name, q in queries.items()}

    scope = wanted({"status": "open"}, convault_relations=RELATIONS)
    manifest = back_up(repository, url, scope=scope)
    declared = [key for key in manifest.foreign_keys if key.declared]
    assert [key.name for key in declared] == ["", "", ""]
    assert manifest.index is not None
    assert TableName("public", "attachments") in manifest.index.tables
    restore(repository, manifest, target)
    names = run(target, "SELECT conrelid::regclass::text FROM pg_constraint WHERE contype = 'f'")
    assert names == [("attachments",)]  # what was declared is no constraint


def test_a_relation_that_the_schema_declares_too_is_one(
    cluster: EmbeddedPostgres, new_database: Make
) -> None:
    url = new_database(cluster)
    run(url, WITHOUT)
    relation = "messages.conversation_id -> conversations.id"
    with source_of(url, {}, convault_relations=relation).snapshot() as snapshot:
        assert not [key for key in snapshot.dataset.foreign_keys if key.declared]


@pytest.mark.parametrize(
    ("patterns", "tables"),
    [
        (
            ["Sales & co.*"],
            {"public.currencies": 2, "Sales & co.select": 2, 'Sales & co.Ordem "1"': 2,
             "Sales & co.parts": 0, "public.parts_2026": 500},
        ),
        (["*.select"], {"public.currencies": 2, "Sales & co.select": 2}),
        (["parts_2026"], {"Sales & co.parts": 0, "public.parts_2026": 500}),
        (["prices", "currencies"], {"public.currencies": 2, "public.prices": 0}),
    ],
)  # fmt: skip
def test_tables_by_pattern(
    cluster: EmbeddedPostgres, new_database: Make, repository: Repository,
    patterns: list[str], tables: dict[str, int],
) -> None:  # fmt: skip
    url, target = new_database(cluster), new_database(cluster)
    run(url, SALES)
    scope = wanted({"tables": patterns})
    manifest = back_up(repository, url, scope=scope)
    assert manifest.root is None
    assert manifest.index is None
    assert manifest.selection is None
    assert {str(t.name): t.rows for t in manifest.tables} == tables
    result = restore(repository, manifest, target)
    assert result.complete
    assert not result.left_out
    for table in manifest.tables:
        query = f"SELECT * FROM {table.name.quoted}"
        assert sorted(map(str, run(target, query))) == sorted(map(str, run(url, query)))


def test_convaults_own_tables_and_managed_schemas_are_in_no_wildcard(
    cluster: EmbeddedPostgres, new_database: Make
) -> None:
    url = new_database(cluster)
    run(url, "CREATE SCHEMA auth; CREATE TABLE auth.users (id integer PRIMARY KEY);"
        "CREATE TABLE backups (id integer); CREATE TABLE convault_migrations (name text);"
        "CREATE TABLE profiles (user_id integer REFERENCES auth.users)")  # fmt: skip
    with source_of(url, {"tables": ["*.*"]}).snapshot() as snapshot:
        assert [str(t.name) for t in snapshot.dataset.tables] == ["public.profiles"]
        assert indexed(snapshot.dataset) == ()
        (key,) = [s for s in snapshot.statements if s.kind == "foreign key"]
        assert key.needs == ("auth.users",)


FOLDED = """
    CREATE SCHEMA own;
    CREATE TYPE own.folded AS (word text);
    CREATE FUNCTION own.compare(own.folded, own.folded) RETURNS integer IMMUTABLE LANGUAGE sql
        RETURN btarraycmp(ARRAY[lower(($1).word)], ARRAY[lower(($2).word)]);
    CREATE FUNCTION own.eq(own.folded, own.folded) RETURNS boolean IMMUTABLE LANGUAGE sql
        RETURN lower(($1).word) = lower(($2).word);
    CREATE OPERATOR own.= (LEFTARG = own.folded, RIGHTARG = own.folded, FUNCTION = own.eq);
    CREATE OPERATOR CLASS own.folded_ops DEFAULT FOR TYPE own.folded USING btree AS
        OPERATOR 3 own.=, FUNCTION 1 own.compare(own.folded, own.folded);
    CREATE DOMAIN own.key AS own.folded;
"""
"""A type that compares without regard to capitals, as citext does, where `pg_catalog.=` tells them
apart."""


def test_keys_are_compared_as_their_own_operators_do(
    cluster: EmbeddedPostgres, new_database: Make
) -> None:
    url = new_database(cluster)
    run(url, FOLDED)
    run(url, """
        CREATE TABLE conversations (id own.folded PRIMARY KEY);
        CREATE TABLE messages (id integer PRIMARY KEY, own own.key REFERENCES conversations (id));
        CREATE TABLE notes (id integer PRIMARY KEY, own own.folded);
        INSERT INTO conversations VALUES ('(Ana)'), ('(Bob)');
        INSERT INTO messages VALUES (1, '(ANA)'), (2, '(bob)'), (3, '(ana)'), (4, NULL);
        INSERT INTO notes VALUES (1, '(aNa)'), (2, '(Bob)');
    """)  # fmt: skip
    scope = wanted(
        {"conversationIds": ["(anA)"]}, convault_relations="notes.own -> conversations.id"
    )
    with closing(connect(url)) as connection:
        dataset = find(connection, scope)
        found = select(connection, dataset, scope)
    assert found is not None
    assert {t.name.name: len(found.of(t)) for t in dataset.tables} == {
        "conversations": 1, "messages": 2, "notes": 1
    }  # fmt: skip
    assert found.warnings == ()


def test_collations_of_the_two_sides_may_differ(
    cluster: EmbeddedPostgres, new_database: Make
) -> None:
    url = new_database(cluster)
    run(url, """
        CREATE TABLE conversations (id text COLLATE "C" PRIMARY KEY);
        CREATE TABLE messages (id integer PRIMARY KEY,
            own varchar(9) COLLATE "POSIX" REFERENCES conversations);
        CREATE TABLE notes (id integer PRIMARY KEY, own text COLLATE "default");
        INSERT INTO conversations VALUES ('a'), ('b');
        INSERT INTO messages VALUES (1, 'a'), (2, 'b');
        INSERT INTO notes VALUES (1, 'a'), (2, 'b');
    """)  # fmt: skip
    assert selected(
        url, {"conversationIds": ["a"]}, convault_relations="notes.own -> conversations.id"
    ) == {"conversations": {"a"}, "messages": {"1"}, "notes": {"1"}}
