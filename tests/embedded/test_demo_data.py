"""The demo data has the habits of a real database that it promises."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator
from typing import Any

import psycopg
import pytest

from convault.embedded import demo_data
from convault.embedded.server import EmbeddedPostgres

MESSAGES = 4000


def every_row(connection: psycopg.Connection[Any]) -> str:
    """A digest of every row of every table."""
    tables = connection.execute(
        "SELECT oid::regclass::text FROM pg_class WHERE relkind = 'r'"
        " AND relnamespace = 'public'::regnamespace ORDER BY 1"
    ).fetchall()
    digest = hashlib.sha256()
    for (table,) in tables:
        digest.update(table.encode())
        for (row,) in connection.execute(f"SELECT t::text FROM ONLY {table} t ORDER BY 1"):
            digest.update(row.encode())
    return digest.hexdigest()


@pytest.fixture
def school(database: str) -> Iterator[psycopg.Connection[Any]]:
    demo_data.fill(database, messages=MESSAGES)
    with psycopg.connect(database, autocommit=True) as connection:
        yield connection


def one(connection: psycopg.Connection[Any], query: str) -> Any:
    row = connection.execute(query).fetchone()
    assert row is not None
    return row[0]


def test_the_rows_have_long_tails_and_awkward_values(school: psycopg.Connection[Any]) -> None:
    assert one(school, "SELECT count(*) FROM messages") == MESSAGES
    toasted = one(
        school,
        "SELECT count(DISTINCT chunk_id) FROM pg_toast.pg_toast_"
        + str(one(school, "SELECT 'messages'::regclass::oid")),
    )
    assert 0.004 < toasted / MESSAGES < 0.03
    assert one(school, "SELECT max(octet_length(metadata::text)) FROM messages") > 50_000
    for condition in (
        "body IS NULL", "body = ''", "body LIKE E'%\\n%'", "body LIKE '%\"%'",
        "body LIKE E'%\\\\\\\\%'",
        "body LIKE '%🎉%'", "body LIKE '%ã%'", "body LIKE '%receipt%'", "body LIKE E'%\\t%'",
        "length(body) > 1000", "metadata IS NULL", "tags IS NULL", "tags = '{}'",
        "tags[1] IS NULL AND cardinality(tags) > 0", "reply_to IS NOT NULL", "words > 0",
    ):  # fmt: skip
        assert one(school, f"SELECT count(*) FROM messages WHERE {condition}"), condition


def test_conversations_overlap_and_some_live_long(school: psycopg.Connection[Any]) -> None:
    pages = "ctid >= '(50,0)' AND ctid < '(60,0)'"
    together = f"SELECT count(DISTINCT conversation_id) FROM messages WHERE {pages}"
    assert one(school, together) > 10
    lives = "SELECT max(sent_at) - min(sent_at) AS life FROM messages GROUP BY conversation_id"
    assert one(school, f"SELECT count(*) FROM ({lives}) WHERE life > '200 days'")
    assert one(school, f"SELECT count(*) FROM ({lives}) WHERE life < '3 days'")


def test_it_looks_used(school: psycopg.Connection[Any]) -> None:
    dropped = school.execute(
        "SELECT attrelid::regclass::text FROM pg_attribute WHERE attisdropped"
        " AND attrelid IN ('messages'::regclass, 'conversations'::regclass)"
    ).fetchall()
    assert sorted(dropped) == [("conversations",), ("messages",)]
    assert one(
        school,
        "SELECT atthasmissing FROM pg_attribute"
        " WHERE attrelid = 'messages'::regclass AND attname = 'archived'",
    )
    # VACUUM tells how many dead rows it found: deleted and updated ones.
    notices: list[str] = []
    school.add_notice_handler(lambda notice: notices.append(notice.message_primary or ""))
    school.execute("VACUUM (VERBOSE) messages")
    dead = next(n for n in notices if "tuples: " in n).partition("tuples: ")[2].partition(" ")[0]
    assert int(dead) > MESSAGES * 0.1
    assert one(school, "SELECT max(id) - count(*) FROM messages") == MESSAGES // 40


def test_partitions_hold_the_events(school: psycopg.Connection[Any]) -> None:
    counts = school.execute(
        "SELECT tableoid::regclass::text, count(*) FROM message_events GROUP BY 1"
    ).fetchall()
    assert len(counts) >= 6
    assert min(count for _, count in counts) > 0


def test_new_rows_get_new_keys(school: psycopg.Connection[Any]) -> None:
    last = one(school, "SELECT max(id) FROM messages")
    assert (
        one(
            school,
            "INSERT INTO messages (conversation_id, direction, sent_at)"
            " SELECT id, 'internal', now() FROM conversations LIMIT 1 RETURNING id",
        )
        == last + 1
    )
    school.execute(
        "INSERT INTO contacts (full_name, created_at) VALUES ('Somebody', now());"
        "INSERT INTO channels (kind, name) VALUES ('sms', 'New')"
    )


def test_the_same_seed_gives_the_same_rows(
    cluster: EmbeddedPostgres, new_database: Callable[[EmbeddedPostgres], str]
) -> None:
    digests = []
    for seed in (1, 1, 2):
        url = new_database(cluster)
        demo_data.fill(url, messages=300, seed=seed)
        demo_data.pass_a_day(url, seed=seed)
        with psycopg.connect(url) as connection:
            digests.append(every_row(connection))
    assert digests[0] == digests[1] != digests[2]


def test_a_day_changes_a_little(database: str) -> None:
    demo_data.fill(database, messages=1000)
    count = "SELECT count(*) FROM messages"
    edited = "SELECT count(*) FROM messages WHERE body LIKE '%✏️'"
    assert demo_data.pass_a_day(database) == 10
    with psycopg.connect(database, autocommit=True) as connection:
        assert 1005 <= one(connection, count) <= 1010
        assert one(connection, edited) > 0
        assert one(connection, "SELECT count(*) FROM message_events_default") >= 10
        newest = one(connection, "SELECT max(sent_at) FROM messages")
        demo_data.pass_a_day(database)
        assert one(connection, "SELECT max(sent_at) FROM messages") > newest


def test_it_knows_what_it_filled(database: str) -> None:
    assert demo_data.filled(database) is None
    demo_data.fill(database, messages=1)
    assert demo_data.filled(database) == 1
    with pytest.raises(ValueError, match="at least 1"):
        demo_data.fill(database, messages=0)
    with psycopg.connect(database, autocommit=True) as connection:
        connection.execute("TRUNCATE settings")
    assert demo_data.filled(database) is None


def test_filling_is_all_or_nothing(database: str) -> None:
    """A database that has something of that name already is left as it was."""
    with psycopg.connect(database, autocommit=True) as connection:
        connection.execute("CREATE TABLE messages (id int)")
    with pytest.raises(psycopg.errors.DuplicateTable):
        demo_data.fill(database, messages=10)
    with psycopg.connect(database, autocommit=True) as connection:
        tables = connection.execute(
            "SELECT relname FROM pg_class WHERE relkind = 'r'"
            " AND relnamespace = 'public'::regnamespace"
        ).fetchall()
    assert tables == [("messages",)]
