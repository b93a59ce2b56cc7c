"""Live rows whose values are in each other's way: swapped ones, and keys that act at once."""

from __future__ import annotations

import secrets
from collections.abc import Callable

import psycopg
import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from convault.embedded.server import EmbeddedPostgres
from convault.errors import RestoreError
from convault.manifest import Manifest
from convault.repository import Repository
from convault.restore import RestoreOptions, restore
from convault.restore.undo import undo
from convault.stores import open_store
from tests.restore.builder import back_up
from tests.restore.test_live import run
from tests.restore.test_selection import rows
from tests.soak import count

N = 6
PHASES = [Phase.explicit, Phase.generate]
SCHEMA = """
CREATE TABLE conversations (id int PRIMARY KEY, code int NOT NULL UNIQUE, email text NOT NULL,
    slot int4range NOT NULL, seat int GENERATED ALWAYS AS IDENTITY,
    CONSTRAINT apart EXCLUDE USING gist (slot WITH &&));
CREATE UNIQUE INDEX ON conversations (lower(email)) WHERE email <> '';
CREATE TABLE messages (id int PRIMARY KEY,
    conversation_id int NOT NULL REFERENCES conversations ON DELETE RESTRICT,
    code int NOT NULL REFERENCES conversations (code) ON UPDATE RESTRICT ON DELETE CASCADE,
    reply int REFERENCES messages ON DELETE RESTRICT,
    place int NOT NULL, UNIQUE (conversation_id, place));
CREATE TABLE outbox (said text);
CREATE FUNCTION says() RETURNS trigger LANGUAGE plpgsql
    AS $$BEGIN INSERT INTO public.outbox VALUES (TG_OP); RETURN NULL; END$$;
CREATE TRIGGER says AFTER INSERT OR UPDATE OR DELETE ON messages FOR EACH ROW
    EXECUTE FUNCTION says();
"""
OUTSIDE = "CREATE TABLE audit (message int NOT NULL REFERENCES messages ON DELETE CASCADE)"
"""which the source does not have: rows that a restore has to leave alone"""
State = tuple[list[int], list[int], list[int], list[int], list[int | None]]


def state() -> st.SearchStrategy[State]:
    """Permutations of what is unique, and whom each message belongs to, quotes and answers."""
    numbers = list(range(1, N + 1))
    chosen = st.lists(st.sampled_from(numbers), min_size=N, max_size=N)
    replies = st.lists(st.none() | st.sampled_from(numbers), min_size=N, max_size=N)
    return st.tuples(
        st.permutations(numbers),
        st.permutations(numbers),
        chosen,
        st.permutations(numbers),
        replies,
    )


def filled(url: str, drawn: State, extra: int) -> None:
    """`extra`: the id of a further row of each, so that those of two states differ."""
    codes, mails, belongs, places, replies = drawn
    values = ", ".join(
        f"({n}, {code}, 'M{mail}@x', int4range({code * 10}, {code * 10 + 5}))"
        for n, code, mail in zip(range(1, N + 1), codes, mails, strict=True)
    )
    messages = ", ".join(
        f"({n}, {c}, {codes[c - 1]}, {r or 'NULL'}, {p})"
        for n, c, r, p in zip(range(1, N + 1), belongs, replies, places, strict=True)
    )
    more = f"({extra}, {extra}, 'more{extra}', int4range({extra * 10}, {extra * 10 + 1}))"
    run(
        url,
        "TRUNCATE conversations, messages, outbox CASCADE",
        f"INSERT INTO conversations (id, code, email, slot) VALUES {values}, {more}",
        f"INSERT INTO messages VALUES {messages}, ({extra}, {extra}, {extra}, NULL, 99)",
        "TRUNCATE outbox",
    )


def content(url: str, *tables: str) -> list[list[tuple[object, ...]]]:
    return [
        rows(url, f"SELECT t::text FROM {table} t ORDER BY 1")
        for table in ("conversations", "messages", "outbox", *tables)
    ]


@pytest.fixture(scope="module")
def pair(cluster: EmbeddedPostgres) -> Callable[[], tuple[str, str]]:

    made = []
    with psycopg.connect(cluster.url(), autocommit=True) as connection:
        for _ in range(2):
            name = f"parking_{secrets.token_hex(6)}"
            connection.execute(f"CREATE DATABASE {name} TEMPLATE template0".encode())
            made.append(cluster.url(name))
            run(made[-1], SCHEMA)
    run(made[1], OUTSIDE)
    return lambda: (made[0], made[1])


def backed_up(url: str) -> tuple[Repository, Manifest]:
    repository = Repository.create(open_store(f"memory://{secrets.token_hex(6)}"))
    return repository, back_up(repository, url)


@pytest.mark.soak
@settings(
    max_examples=count(5, 150), phases=PHASES,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)  # fmt: skip
@given(was=state(), now=state(), outside=st.booleans())
def test_any_permutation_is_put_back(
    pair: Callable[[], tuple[str, str]], was: State, now: State, outside: bool
) -> None:
    source, target = pair()
    filled(source, was, 50)
    repository, manifest = backed_up(source)
    for mode in ("overwrite", "replace"):
        filled(target, now, 50 if mode == "overwrite" else 70)
        if outside:
            run(target, f"INSERT INTO audit SELECT id FROM messages WHERE id <= {N}")
        before = content(target, "audit")
        result = restore(
            repository, manifest, target, RestoreOptions.parse({"mode": mode}),
            confirm=lambda question: True,
        )  # fmt: skip
        wanted = content(source)
        assert content(target, "audit") == [*wanted, before[3]]
        # Whatever stepped aside may not be NULL again, and every key is as it was.
        assert rows(target, "SELECT count(*) FROM pg_attribute WHERE attnotnull AND attnum > 0"
                            " AND attrelid IN ('conversations'::regclass, 'messages'::regclass)"
                    ) == [(9,)]  # fmt: skip
        assert rows(target, "SELECT count(*) FROM pg_constraint WHERE condeferrable") == [(0,)]
        if result.restore_id is not None:
            undo(target, result.restore_id)
            assert content(target, "audit") == before


AT_ONCE = """
CREATE TABLE conversations (id int PRIMARY KEY, code int, handle text NOT NULL,
    CONSTRAINT one_code UNIQUE NULLS NOT DISTINCT (code));
CREATE UNIQUE INDEX handles ON conversations (handle);
CREATE UNIQUE INDEX both_one ON conversations ((code % 100)) NULLS NOT DISTINCT;
COMMENT ON CONSTRAINT one_code ON conversations IS 'it''s one';
ALTER TABLE conversations REPLICA IDENTITY USING INDEX handles;
CREATE TABLE messages (id int4range, at daterange, body text, code int,
    conversation_id int REFERENCES conversations, PRIMARY KEY (id, at WITHOUT OVERLAPS));
INSERT INTO conversations VALUES (1, 10, 'a'), (2, 20, 'b'), (3, NULL, 'c');
INSERT INTO messages VALUES ('[1,2)', '[2020-01-01,2021-01-01)', 'first', 1, 1),
    ('[1,2)', '[2021-01-01,2022-01-01)', 'second', 2, 2);
"""
OTHERWISE = (
    "UPDATE conversations SET code = NULL, handle = 'x' WHERE id = 3",
    "UPDATE conversations SET code = 99, handle = 'z' WHERE id = 1",
    "UPDATE conversations SET code = 10, handle = 'c' WHERE id = 2",
    "UPDATE conversations SET code = 20, handle = 'a' WHERE id = 3",
    "UPDATE conversations SET code = NULL, handle = 'b' WHERE id = 1",
    "UPDATE messages SET body = 'changed' WHERE lower(at) = '2020-01-01'",
    "DELETE FROM messages WHERE lower(at) = '2021-01-01'",
    "INSERT INTO messages VALUES ('[1,2)', '[2023-01-01,2024-01-01)', 'third', 3, 3)",
)
SHAPE = """
    SELECT pg_get_constraintdef(c.oid), obj_description(c.oid), t.relreplident,
        (SELECT array_agg(i.indexrelid::regclass::text) FROM pg_index i
            WHERE i.indrelid = t.oid AND i.indisreplident),
        (SELECT bool_and(attnotnull) FROM pg_attribute WHERE attrelid = t.oid
            AND attname IN ('id', 'handle'))
    FROM pg_constraint c JOIN pg_class t ON t.oid = c.conrelid WHERE conname = 'one_code'
"""


def test_one_null_a_replica_identity_and_a_key_without_overlaps(
    cluster: EmbeddedPostgres, new_database: Callable[[EmbeddedPostgres], str]
) -> None:
    """Postgres 18: rows are the same when their ranges are equal, not when they overlap."""
    source, target = new_database(cluster), new_database(cluster)
    for url in (source, target):
        run(url, AT_ONCE)
    repository, manifest = backed_up(source)
    run(target, *OTHERWISE)
    shape = rows(target, SHAPE)
    before = [rows(target, f"SELECT t::text FROM {t} t ORDER BY 1")
              for t in ("conversations", "messages")]  # fmt: skip
    result = restore(repository, manifest, target, RestoreOptions.parse({"mode": "overwrite"}))
    after = rows(target, "SELECT t::text FROM conversations t ORDER BY 1")
    assert after == rows(source, "SELECT t::text FROM conversations t ORDER BY 1")
    bodies = "SELECT body FROM messages ORDER BY at"
    assert rows(target, bodies) == [("first",), ("second",), ("third",)]
    assert rows(target, SHAPE) == shape == [
        ("UNIQUE NULLS NOT DISTINCT (code)", "it's one", "i", ["handles"], True)
    ]  # fmt: skip
    assert result.restore_id is not None
    undo(target, result.restore_id)
    assert before == [rows(target, f"SELECT t::text FROM {t} t ORDER BY 1")
                      for t in ("conversations", "messages")]  # fmt: skip
    # What overlaps and is not equal is another row, for which there is no room.
    run(target, "UPDATE messages SET at = '[2020-02-01,2020-03-01)' WHERE body = 'changed'")
    with pytest.raises(RestoreError):
        restore(repository, manifest, target, RestoreOptions.parse({"mode": "skip"}))
    result = restore(
        repository, manifest, target, RestoreOptions.parse({"mode": "replace"}),
        confirm=lambda question: True,
    )  # fmt: skip
    assert rows(target, bodies) == [("first",), ("second",)]
