"""Random histories of a database: each backup of a chain equals the database at its snapshot."""

from __future__ import annotations

import random

import psycopg
import pytest
from obstore.store import MemoryStore

from convault.repository import Repository
from convault.stores.objects import ObjectStore
from tests.incremental.chain import Chain, conversations_held, conversations_told, stored
from tests.soak import count
from tests.sources.reading import run

TABLES = """
    DROP SCHEMA public CASCADE; CREATE SCHEMA public;
    CREATE TYPE mood AS ENUM ('sad', 'ok');
    CREATE TABLE conversations (id bigint PRIMARY KEY, title text);
    CREATE TABLE messages (
        id bigint PRIMARY KEY,
        conversation_id bigint REFERENCES conversations,
        moods mood[] DEFAULT '{sad}',
        length int GENERATED ALWAYS AS (id % 7) STORED,
        seen boolean,
        body text
    ) WITH (autovacuum_enabled = off, fillfactor = 80);
    CREATE TABLE labels (id bigint, conversation_id bigint REFERENCES conversations, tags text[],
        PRIMARY KEY (id)) PARTITION BY RANGE (id);
    CREATE TABLE labels_1 PARTITION OF labels FOR VALUES FROM (MINVALUE) TO (50);
    CREATE TABLE labels_2 PARTITION OF labels FOR VALUES FROM (50) TO (MAXVALUE);
    CREATE TABLE names (id bigint PRIMARY KEY, conversation_id bigint REFERENCES conversations,
        of regclass DEFAULT 'messages');
    INSERT INTO conversations SELECT g, 'conversation ' || g FROM generate_series(1, 12) g;
    INSERT INTO messages (id, conversation_id, seen, body)
        SELECT g, g % 12 + 1, g % 2 = 0, repeat(md5(g::text), 8) FROM generate_series(1, 120) g;
    INSERT INTO labels SELECT g, g % 12 + 1, ARRAY['a', NULL, g::text]
        FROM generate_series(1, 99) g;
    INSERT INTO names VALUES (1, 1), (2, NULL);
"""
CONVERSATION = {"conversations": "id", "messages": "conversation_id", "labels_1": "conversation_id",
                "labels_2": "conversation_id", "names": "conversation_id"}  # fmt: skip

INSERT = "INSERT INTO messages (id, conversation_id, body)"
OFTEN = {
    "nothing": "SELECT 1",
    "insert": INSERT + " SELECT coalesce(max(id), 0) + 1, {c}, 'n{n}' FROM messages",
    "insert many": INSERT + " SELECT m + g, {c}, repeat('{n}', 150) FROM generate_series(1, 30) g,"
        " (SELECT coalesce(max(id), 0) AS m FROM messages) x",
    "update in place": "UPDATE messages SET seen = NOT seen WHERE id % 29 = {n} % 29",
    "update to other pages": "UPDATE messages SET body = repeat(body || '{n}', 2)"
        " WHERE id % 17 = {n} % 17 AND length(body) < 5000",
    "move to another conversation": "UPDATE messages SET conversation_id = {c} WHERE id = {n} % 99",
    "delete": "DELETE FROM messages WHERE id % 17 = {n} % 17",
    "rollback": "BEGIN; DELETE FROM messages; " + INSERT + " VALUES ({n}, 1, 'r'); ROLLBACK",
    "subtransactions": "BEGIN; " + INSERT + " VALUES (-{n}, {c}, 'a'); SAVEPOINT s; " + INSERT
        + " VALUES (-{n} - 1000, 1, 'b'); ROLLBACK TO s; " + INSERT
        + " VALUES (-{n} - 2000, NULL, 'c'); SAVEPOINT t; UPDATE messages SET body = 't'"
        " WHERE id = -{n}; RELEASE t; COMMIT",
    "vacuum": "VACUUM messages", "freeze": "VACUUM (FREEZE) messages",
    "labels": "INSERT INTO labels SELECT coalesce(max(id), 0) + 1, {c}, '{{x}}' FROM labels",
    "a row in the place of another": "DELETE FROM messages WHERE id = (SELECT max(id) FROM"
        " messages);; VACUUM messages;; " + INSERT + " VALUES (5000 + {n}, {c}, 'p')",
}  # fmt: skip
SELDOM = {
    "truncate": "TRUNCATE messages",
    "truncate and fill": "BEGIN; TRUNCATE messages; " + INSERT
        + " SELECT g, {c}, 'x{n}' FROM generate_series(1, 99) g; COMMIT",
    "rewrite": "VACUUM FULL messages",
    "rewrite with another type": "ALTER TABLE messages ALTER seen TYPE text USING seen::text;"
        " ALTER TABLE messages ALTER seen TYPE boolean USING seen::boolean",
    "drop and add a column": "ALTER TABLE messages DROP COLUMN IF EXISTS f;"
        " ALTER TABLE messages ADD f int DEFAULT {n}",
    "rename a label": "ALTER TYPE mood RENAME VALUE '{label}' TO 'm{n}'",
    "detach": "ALTER TABLE labels DETACH PARTITION labels_1",
    "attach": "ALTER TABLE labels ATTACH PARTITION labels_1 FOR VALUES FROM (MINVALUE) TO (50)",
    "drop a partition": "DROP TABLE labels_2; CREATE TABLE labels_2 PARTITION OF labels"
        " FOR VALUES FROM (50) TO (MAXVALUE)",
    "a table in the place of another": "DROP TABLE messages; CREATE TABLE messages (id bigint"
        " PRIMARY KEY, conversation_id bigint REFERENCES conversations, moods mood[] DEFAULT"
        " '{{{label}}}', length int, seen boolean, body text); " + INSERT
        + " SELECT g, {c}, 'y{n}' FROM generate_series(1, 99) g; UPDATE names SET of = 'messages'",
    "a table renamed": "ALTER TABLE conversations RENAME title TO heading;"
        " ALTER TABLE conversations RENAME heading TO title; ALTER TABLE messages RENAME TO m;"
        " ALTER TABLE m RENAME TO messages",
}  # fmt: skip
STEPS = count(2, 6)
"""backups of a history after its first"""


def one_change(url: str, chosen: random.Random) -> str:
    """Its name; a change that Postgres refuses changes nothing."""
    labels = [str(row[0]) for row in run(url, "SELECT enumlabel FROM pg_enum ORDER BY 1")]
    (kind,) = chosen.choices([OFTEN, SELDOM], [4, 1])
    name = chosen.choice(list(kind))
    n, c, label = chosen.randrange(1, 500), chosen.randrange(1, 13), chosen.choice(labels)
    try:
        for statement in kind[name].format(n=n, c=c, label=label).split(";;"):
            run(url, statement)
    except psycopg.Error as error:
        return f"{name}({n}) -- {type(error).__name__}"
    return f"{name}({n})"


@pytest.mark.soak
@pytest.mark.timeout(3000)
def test_each_backup_equals_the_database_at_its_snapshot(database: str) -> None:
    taken = read = 0
    for history in range(count(20, 200)):
        chosen = random.Random(f"{database} {history}")
        run(database, TABLES)
        repository = Repository.create(ObjectStore(MemoryStore(), "memory://chain"))
        chain = Chain(repository, database, range_pages=chosen.choice([1, 2, 4]))
        told: list[str] = [f"{database} {history}"]
        backups = []
        for step in range(STEPS + 1):
            told += [
                one_change(database, chosen) for _ in range(chosen.randrange(1, 4) if step else 0)
            ]
            manifest, rows = chain.back_up(full=step == STEPS and history % 4 == 0)
            backups.append((manifest, rows))
            assert manifest.reuse is not None
            assert not manifest.reuse.differing, told
            taken += manifest.reuse.ranges
            read += sum(not e.taken_over for t in manifest.tables for e in t.ranges)
            names = next(t for t in manifest.tables if t.name.name == "names")
            assert not any(entry.taken_over for entry in names.ranges)
        for manifest, rows in backups:
            assert stored(repository, manifest) == rows, told
            assert {str(t.name): t.rows for t in manifest.tables if t.kind == "r"} == {
                name: sum(found.values()) for name, found in rows.items()
            }
            held = conversations_held(repository, manifest, CONVERSATION)
            assert conversations_told(repository, manifest) == held, told
            assert not chain.warnings
    # Short histories start with a full read, and one rewrite costs a whole table: a quarter of what
    # was read is far above chance, and below what the seed of any one run makes of it.
    assert taken > read / 4, "hardly a range was taken over, so nothing was shown"
