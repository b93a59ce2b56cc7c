"""Whatever is committed between two steps of taking the snapshot, what is read is of one moment.

A change is attempted from another connection after each step in turn. Where it commits before the
snapshot is fixed the backup holds the new state; where the lock keeps it out, or it commits
afterwards, the backup holds the old one.
"""

from __future__ import annotations

import secrets
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import dataclass

import psycopg
import pytest

from convault.embedded.server import EmbeddedPostgres
from convault.errors import LockNotAvailable
from convault.sources import postgres
from tests.databases import drop_database
from tests.sources.reading import read_all, run, source


@pytest.fixture(scope="module")
def one_database(cluster: EmbeddedPostgres) -> Iterator[str]:
    """For all the tests of this file: making one for each would take most of the time."""
    name = f"test_{secrets.token_hex(6)}"
    run(cluster.url(), f"CREATE DATABASE {name} TEMPLATE template0")
    yield cluster.url(name)
    drop_database(cluster.url(), name)


@pytest.fixture
def tables(one_database: str) -> str:
    """URL of a database that holds TABLES and nothing else."""
    run(one_database, "DROP SCHEMA public CASCADE; CREATE SCHEMA public;" + TABLES)
    return one_database


STEPS = ["find", "begin", "lock", "fix", "find_again", "measure"]
"""In this order; the change comes after the step."""

TABLES = """
    CREATE TABLE channels (id bigint PRIMARY KEY, kind text) PARTITION BY RANGE (id);
    CREATE TABLE channels_0 PARTITION OF channels FOR VALUES FROM (0) TO (10);
    CREATE TABLE channels_1 PARTITION OF channels FOR VALUES FROM (10) TO (20);
    CREATE TABLE conversations (id bigint PRIMARY KEY, channel bigint REFERENCES channels);
    CREATE TABLE messages (
        id bigint, conversation_id bigint NOT NULL REFERENCES conversations, body text
    ) PARTITION BY RANGE (id);
    CREATE TABLE messages_0 PARTITION OF messages FOR VALUES FROM (0) TO (100);
    CREATE TABLE messages_1 (LIKE messages);
    CREATE TABLE reactions (
        id int PRIMARY KEY, conversation_id bigint REFERENCES conversations, emoji text, size int
    );
    INSERT INTO channels VALUES (1, 'email'), (2, 'chat'), (11, 'unused');
    INSERT INTO conversations SELECT g, g % 2 + 1 FROM generate_series(1, 5) g;
    INSERT INTO messages SELECT g, g % 5 + 1, 'message ' || g FROM generate_series(1, 99) g;
    INSERT INTO messages_1 SELECT g, g % 5 + 1, 'message ' || g FROM generate_series(100, 150) g;
    INSERT INTO reactions SELECT g, g % 5 + 1, '+1', g FROM generate_series(1, 50) g;
"""


@dataclass(frozen=True)
class Change:
    """What somebody else does meanwhile."""

    sql: str
    after_lock: str
    """blocked: the lock keeps it out; commits: it does not need to be kept out"""


CHANGES = {
    "TRUNCATE": Change("TRUNCATE reactions", "blocked"),
    "rewriting ALTER TABLE": Change(
        "ALTER TABLE reactions ALTER COLUMN size TYPE text USING 'n' || size",
        "blocked",
    ),
    "DROP COLUMN": Change("ALTER TABLE reactions DROP COLUMN emoji", "blocked"),
    "DROP and CREATE": Change(
        "DROP TABLE reactions; CREATE TABLE reactions (id int, c bigint REFERENCES conversations);"
        "INSERT INTO reactions VALUES (7, 1)",
        "blocked",
    ),
    "DROP TABLE": Change("DROP TABLE reactions", "blocked"),
    "ATTACH PARTITION": Change(
        "ALTER TABLE messages ATTACH PARTITION messages_1 FOR VALUES FROM (100) TO (200)",
        "commits",
    ),
    "DETACH PARTITION": Change("ALTER TABLE channels DETACH PARTITION channels_1", "blocked"),
    "CREATE TABLE with a foreign key": Change(
        "CREATE TABLE notes (id int, c bigint REFERENCES conversations);"
        "INSERT INTO notes VALUES (1, 1)",
        "commits",
    ),
    "INSERT": Change("INSERT INTO reactions VALUES (99, 1, 'new', 0)", "commits"),
}


def logical(url: str) -> dict[str, set[str]]:
    """The rows, as text, of every table that holds rows of the dataset now."""
    names = ["conversations", "messages_0", "reactions", "channels_0"]
    state: dict[str, set[str]] = {}
    with closing(psycopg.connect(url, autocommit=True)) as connection:
        names += [
            name
            for (name,) in connection.execute(
                "SELECT inhrelid::regclass::text FROM pg_inherits JOIN pg_class ON oid = inhrelid"
                " WHERE relkind = 'r' UNION SELECT conrelid::regclass::text FROM pg_constraint"
                " WHERE confrelid = 'conversations'::regclass"
            )
        ]
        for name in names:
            if connection.execute("SELECT to_regclass(%s)", (name,)).fetchone() != (None,):
                rows = connection.execute(f"SELECT * FROM ONLY {name}".encode())
                state[name] = {str(row) for row in rows}
    return state


class Interruption:
    """Run a change once, after the given step, and see whether it could be committed."""

    def __init__(self, url: str, change: Change) -> None:
        self.url, self.change = url, change
        self.done = False
        self.committed = False

    def __call__(self) -> None:
        if self.done:
            return
        self.done = True
        try:
            run(self.url, f"SET lock_timeout = '100ms'; {self.change.sql}")
        except psycopg.errors.LockNotAvailable:
            return
        self.committed = True


@pytest.fixture
def interrupt(
    monkeypatch: pytest.MonkeyPatch,
) -> Iterator[Callable[[str, Callable[[], None]], list[str]]]:
    def after(step: str, action: Callable[[], None]) -> list[str]:
        called: list[str] = []
        for name in STEPS:
            original = getattr(postgres, name)

            def wrapped(*args: object, _name: str = name, _original=original) -> object:  # type: ignore[no-untyped-def]
                answer = _original(*args)
                called.append(_name)
                if _name == step:
                    action()
                return answer

            monkeypatch.setattr(postgres, name, wrapped)
        return called

    return after


@pytest.mark.parametrize("step", STEPS)
@pytest.mark.parametrize("change", CHANGES.values(), ids=CHANGES.keys())
def test_what_is_read_is_of_one_moment(
    change: Change,
    step: str,
    tables: str,
    interrupt: Callable[[str, Callable[[], None]], list[str]],
) -> None:
    before = logical(tables)
    interruption = Interruption(tables, change)
    called = interrupt(step, interruption)

    with source(tables).snapshot() as snapshot:
        assert interruption.done
        rows = read_all(snapshot)
        after = logical(tables)

    early = STEPS.index(step) < STEPS.index("lock")
    assert interruption.committed == (early or change.after_lock == "commits")
    in_time = interruption.committed and STEPS.index(step) < STEPS.index("fix")
    assert (before != after) == interruption.committed
    expected = after if in_time else before
    found = {
        name: {str(row) for row in table}
        for name, table in rows.items()
        if table or name in expected
    }
    assert found == expected
    restarted = called.count("find") > 1
    assert restarted == (in_time and change.sql.split()[0] not in ("TRUNCATE", "INSERT"))


def test_the_steps_are_taken_in_this_order(
    tables: str, interrupt: Callable[[str, Callable[[], None]], list[str]]
) -> None:
    called = interrupt("none", lambda: None)
    with source(tables).snapshot():
        assert called == STEPS


def test_without_the_order_a_truncate_slips_between(any_cluster: EmbeddedPostgres,
    new_database: Callable[[EmbeddedPostgres], str]) -> None:  # fmt: skip
    """Why the order matters: were the snapshot fixed first, an emptied table would read as empty,
    and count(*) would agree. If Postgres ever changes this, the lock can go."""
    url = new_database(any_cluster)
    run(url, TABLES)
    with closing(psycopg.connect(url, autocommit=True)) as connection:
        connection.execute("BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY")
        connection.execute("SELECT pg_export_snapshot()")
        run(url, "TRUNCATE reactions")
        connection.execute("LOCK TABLE ONLY reactions IN ACCESS SHARE MODE")
        assert connection.execute("SELECT count(*) FROM reactions").fetchone() == (0,)


def test_a_schema_that_never_rests_is_given_up_on(
    tables: str, interrupt: Callable[[str, Callable[[], None]], list[str]]
) -> None:
    numbers = iter(range(100))
    called = interrupt(
        "find",
        lambda: run(tables, f"ALTER TABLE reactions ADD COLUMN c{next(numbers)} int") and None,
    )
    with (
        pytest.raises(LockNotAvailable, match="somebody is changing the schema"),
        source(tables).snapshot(),
    ):
        pytest.fail("there is no snapshot to be had")
    assert called.count("find") == postgres.ATTEMPTS
    assert run(tables, "SELECT count(*) FROM pg_locks WHERE relation = 'reactions'::regclass") == [
        (0,)
    ]
