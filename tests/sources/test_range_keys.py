"""A range's key stays while its rows would be stored the same way again, and changes otherwise."""

from __future__ import annotations

import random
from collections.abc import Callable

import pytest

from convault.embedded.server import EmbeddedPostgres
from convault.models import BackupFormat, BackupOptions
from convault.sources.base import Snapshot
from tests.soak import count
from tests.sources.keys import keys, keys_in
from tests.sources.reading import read, run, source

TABLES = """
    CREATE TYPE mood AS ENUM ('sad', 'ok');
    CREATE TYPE point3 AS (x int, y int);
    CREATE DOMAIN pair AS point3;
    CREATE TABLE conversations (id bigint PRIMARY KEY, title text);
    CREATE TABLE messages (
        id bigint PRIMARY KEY,
        conversation_id bigint REFERENCES conversations,
        mood mood[] DEFAULT '{sad}',
        place pair DEFAULT '(1,2)',
        length int GENERATED ALWAYS AS (id % 7) STORED,
        short varchar(40),
        body text
    ) WITH (autovacuum_enabled = off);
    CREATE TABLE attachments (id bigint PRIMARY KEY, message_id bigint REFERENCES messages);
    CREATE TABLE labels (id bigint PRIMARY KEY,
        conversation_id bigint REFERENCES conversations, tags text[]);
    INSERT INTO conversations SELECT g, 'conversation ' || g FROM generate_series(1, 20) g;
    INSERT INTO messages (id, conversation_id, body)
        SELECT g, g % 20 + 1, repeat(md5(g::text), 8) FROM generate_series(1, 400) g;
    INSERT INTO attachments SELECT g, g * 2 FROM generate_series(1, 100) g;
    INSERT INTO labels VALUES (1, 1, '{a}');
"""

A, C, L, M = "attachments", "conversations", "labels", "messages"

CASE = """
    CREATE TYPE mood_{n} AS ENUM ('sad', 'ok');
    CREATE TYPE point_{n} AS (x int, y int);
    CREATE DOMAIN pair_{n} AS point_{n};
    CREATE TABLE case_{n} (
        id bigint PRIMARY KEY,
        conversation_id bigint REFERENCES conversations,
        mood mood_{n}[] DEFAULT '{{sad}}',
        place pair_{n} DEFAULT '(1,2)',
        length int GENERATED ALWAYS AS (id % 7) STORED,
        short varchar(40),
        body text
    ) WITH (autovacuum_enabled = off);
    INSERT INTO case_{n} (id, body) VALUES (1, 'a'), (2, 'b'), (3, 'c');
    DELETE FROM case_{n} WHERE id = 2;
    ALTER TABLE case_{n} ADD note text, ADD fast int DEFAULT 1;
"""
"""A table for each change below, with types of its own."""

SAME = {
    "nothing": "SELECT 1",
    "an insert that is rolled back": "BEGIN; INSERT INTO {t} VALUES (4); ROLLBACK",
    "half a transaction that is rolled back":
        "BEGIN; SAVEPOINT s; INSERT INTO {t} VALUES (4); ROLLBACK TO s; COMMIT",
    "an update that is rolled back": "BEGIN; UPDATE {t} SET body = 'x'; ROLLBACK",
    "a delete that is rolled back": "BEGIN; DELETE FROM {t}; ROLLBACK",
    "a truncate that is rolled back": "BEGIN; TRUNCATE {t}; ROLLBACK",
    "a rewrite that is rolled back":
        "BEGIN; ALTER TABLE {t} ALTER fast TYPE bigint; ROLLBACK",
    "rows that are locked": "BEGIN; SELECT FROM {t} FOR UPDATE; COMMIT",
    "vacuum": "VACUUM {t}",
    "freezing": "VACUUM (FREEZE) {t}",
    "analyze": "ANALYZE {t}",
    "an index": "CREATE INDEX ON {t} (body)",
    "a new default": "ALTER TABLE {t} ALTER short SET DEFAULT 'x'",
    "a comment": "COMMENT ON TABLE {t} IS 'x'",
    "a check": "ALTER TABLE {t} ADD CHECK (id > 0)",
    "an owner": "ALTER TABLE {t} OWNER TO CURRENT_USER",
}  # fmt: skip
OTHER = {
    "an insert": "INSERT INTO {t} VALUES (4)",
    "an update to the same value": "UPDATE {t} SET body = body WHERE id = 1",
    "a delete": "DELETE FROM {t} WHERE id = 1",
    "a row in the place of another":
        "DELETE FROM {t} WHERE id = 3;; VACUUM {t};; INSERT INTO {t} (id, body) VALUES (3, 'c')",
    "the rest of a transaction that is half rolled back":
        "BEGIN; SAVEPOINT s; DELETE FROM {t}; ROLLBACK TO s; DELETE FROM {t} WHERE id = 1; COMMIT",
    "vacuum full": "VACUUM FULL {t}",
    "a cluster": "CLUSTER {t} USING {t}_pkey",
    "a type that rewrites": "ALTER TABLE {t} ALTER fast TYPE bigint",
    "a truncate": "TRUNCATE {t}; INSERT INTO {t} (id, body) VALUES (1, 'a')",
    "a table in the place of another":
        "ALTER TABLE {t} RENAME TO old; CREATE TABLE {t} (LIKE old INCLUDING ALL, FOREIGN KEY"
        " (conversation_id) REFERENCES conversations); INSERT INTO {t} (id, body) VALUES (1, 'a');"
        " DROP TABLE old",
    "a new column": "ALTER TABLE {t} ADD more text",
    "a column dropped": "ALTER TABLE {t} DROP note",
    "a column dropped and added again": "ALTER TABLE {t} DROP note; ALTER TABLE {t} ADD note text",
    "a fast default": "ALTER TABLE {t} ADD more int DEFAULT 1",
    "another fast default":
        "ALTER TABLE {t} DROP fast; ALTER TABLE {t} ADD fast int DEFAULT 2",
    "a column renamed": "ALTER TABLE {t} RENAME note TO remark",
    "a table renamed": "ALTER TABLE {t} RENAME TO {t}_",
    "a wider column": "ALTER TABLE {t} ALTER short TYPE varchar(50)",
    "an expression dropped": "ALTER TABLE {t} ALTER length DROP EXPRESSION",
    "a label renamed": "ALTER TYPE mood_{n} RENAME VALUE 'sad' TO 'glad'",
    "a label renamed and a new one in its place":
        "ALTER TYPE mood_{n} RENAME VALUE 'sad' TO 'x'; ALTER TYPE mood_{n} ADD VALUE 'sad'",
    "a label renamed there and back":
        "ALTER TYPE mood_{n} RENAME VALUE 'sad' TO 'x'; ALTER TYPE mood_{n} RENAME VALUE 'x' TO"
        " 'sad'",
    "a type renamed": "ALTER TYPE mood_{n} RENAME TO humour_{n}",
    "an attribute added": "ALTER TYPE point_{n} ADD ATTRIBUTE z int",
    "an attribute dropped": "ALTER TYPE point_{n} DROP ATTRIBUTE y",
    "another way to the conversation":
        "ALTER TABLE {t} DROP CONSTRAINT {t}_conversation_id_fkey;"
        " ALTER TABLE {t} ADD FOREIGN KEY (fast) REFERENCES conversations",
}  # fmt: skip


def test_what_changes_a_key_and_what_does_not(
    any_cluster: EmbeddedPostgres, new_database: Callable[[EmbeddedPostgres], str]
) -> None:
    url = new_database(any_cluster)
    changes = [*SAME.values(), *OTHER.values()]
    run(url, TABLES + "".join(CASE.format(n=n) for n in range(len(changes))))
    before = keys(url)
    every = [key for found in before.values() for key in found]
    assert len(before) == 4 + len(changes)
    assert all(len(key) == 64 for key in every)
    assert len(set(every)) == len(every)
    assert keys(url) == before
    for n, change in enumerate(changes):
        for statement in change.format(t=f"case_{n}", n=n).split(";;"):
            run(url, statement)
    now = keys(url)
    changed = {n for n in range(len(changes)) if now.get(f"case_{n}") != before[f"case_{n}"]}
    names = [*SAME, *OTHER]
    assert {names[n] for n in changed} == set(OTHER)
    kept = {key for n in set(range(len(changes))) - changed for key in before[f"case_{n}"]}
    assert set(every) & {key for found in now.values() for key in found} == kept | {
        key for table in (A, C, L, M) for key in before[table]
    }


def test_rows_keep_their_key_no_longer_than_their_conversation(database: str) -> None:
    """Of attachments only their messages tell it, and parts are sorted by it."""
    run(database, TABLES)
    before = keys(database)
    run(database, "UPDATE messages SET body = body WHERE id = 100")
    now = keys(database)
    assert {table for table in now if now[table] != before[table]} == {M}
    run(database, "UPDATE messages SET conversation_id = 3 WHERE id = 100")
    assert keys(database)[A] != before[A]


def test_one_page_changes_one_range(database: str) -> None:
    run(database, TABLES)
    before = keys(database)[M]
    run(database, "UPDATE messages SET short = 'x' WHERE ctid = '(5,1)'")
    changed = [a != b for a, b in zip(before, keys(database)[M], strict=False)]
    assert changed[1]
    assert changed.count(True) <= 2  # and the page that holds the new version
    assert len(changed) > 2


def test_the_format_and_the_level_are_part_of_it(database: str) -> None:
    run(database, TABLES)
    options = [BackupOptions(), BackupOptions(compression_level=4)]
    options += [BackupOptions(format=format) for format in (BackupFormat.CSV, BackupFormat.PARQUET)]
    with source(database).snapshot() as snapshot:
        found = [[key.key for key in keys_in(snapshot, option)] for option in options]
        assert found[0] == [key.key for key in keys_in(snapshot, BackupOptions())]
        borders = [
            {key.key for key in keys_in(snapshot, range_pages=n) if key.range.end_page == n}
            for n in (2, 4)
        ]
    flat = [key for one in found for key in one]
    assert None not in flat
    assert len(set(flat)) == len(flat)
    assert all(borders)
    assert not borders[0] & borders[1]


UNSTABLE = [
    ("regclass", "regclass", "elsewhere: odd (regclass)"),
    ("regrole[]", "regrole[]", "elsewhere: odd (regrole)"),
    ("a composite with one", "holder", "elsewhere: odd (regtype)"),
    ("a domain over one", "named", "elsewhere: odd (regproc)"),
    ("aclitem", "aclitem", "elsewhere: odd (aclitem)"),
]


@pytest.mark.parametrize(("type_", "says"), [u[1:] for u in UNSTABLE], ids=[u[0] for u in UNSTABLE])
def test_types_that_tell_names_have_no_key(database: str, type_: str, says: str) -> None:
    run(database, TABLES + "CREATE TYPE holder AS (t regtype); CREATE DOMAIN named AS regproc;")
    run(database, f"ALTER TABLE labels ADD odd {type_}")
    found = keys(database)
    assert len(found[L]) == 1
    assert says in found[L][0]
    assert all(len(key) == 64 for table in (A, C, M) for key in found[table])


def test_virtual_columns_have_no_key(database: str) -> None:
    run(database, TABLES + "ALTER TABLE labels ADD twice int GENERATED ALWAYS AS (id * 2) VIRTUAL")
    assert keys(database)[L] == ["virtual generated columns are computed when they are read: twice"]


FUNCTIONS = ["pg_control_system()", "pg_current_wal_insert_lsn()", "pg_walfile_name(pg_lsn)"]


@pytest.mark.parametrize("function", FUNCTIONS)
def test_without_the_right_to_ask_there_is_no_key(
    database: str, role: Callable[..., str], function: str
) -> None:
    run(database, TABLES)
    url = role()
    assert all(len(key) == 64 for found in keys(url).values() for key in found)
    run(database, f"REVOKE EXECUTE ON FUNCTION {function} FROM PUBLIC")
    found = {key for some in keys(url).values() for key in some}
    assert len(found) == 1
    assert next(iter(found)).startswith("the role may not ask for")


# Random histories.

CHANGES = [
    "INSERT INTO messages (id, body) SELECT coalesce(max(id), 0) + 1, 'n{n}' FROM messages",
    "INSERT INTO messages (id, body) SELECT m + g, repeat('{n}', 150)"
    " FROM generate_series(1, 30) g, (SELECT coalesce(max(id), 0) AS m FROM messages) x",
    "UPDATE messages SET body = 'u{n}' WHERE id % 13 = {n} % 13",
    "UPDATE messages SET short = body WHERE id = {n}",
    "DELETE FROM messages WHERE id % 17 = {n} % 17",
    "BEGIN; DELETE FROM messages; INSERT INTO messages (id, body) VALUES ({n}, 'r'); ROLLBACK",
    "BEGIN; INSERT INTO messages (id, body) VALUES (-{n}, 'a'); SAVEPOINT s;"
    " INSERT INTO messages (id, body) VALUES (-{n} - 1000, 'b'); ROLLBACK TO s;"
    " INSERT INTO messages (id, body) VALUES (-{n} - 2000, 'c'); COMMIT",
    "BEGIN; INSERT INTO messages (id, body) VALUES (-{n} - 3000, 'a');"
    " UPDATE messages SET body = 'b' WHERE id = -{n} - 3000; COMMIT",
    "VACUUM messages", "VACUUM (FREEZE) messages", "VACUUM FULL messages",
    "TRUNCATE messages CASCADE",
    "BEGIN; TRUNCATE messages CASCADE; INSERT INTO messages (id, body)"
    " SELECT g, 'x{n}' FROM generate_series(1, 99) g; COMMIT",
    "ALTER TABLE messages DROP COLUMN IF EXISTS f; ALTER TABLE messages ADD f int DEFAULT {n}",
    "ALTER TABLE messages DROP COLUMN IF EXISTS f; ALTER TABLE messages ADD f text DEFAULT '{n}'",
    "ALTER TYPE mood RENAME VALUE '{label}' TO 'm{n}'",
    "DROP TABLE messages CASCADE; CREATE TABLE messages (id bigint PRIMARY KEY,"
    " conversation_id bigint REFERENCES conversations, mood mood[] DEFAULT '{{{label}}}',"
    " short text, body text);"
    " INSERT INTO messages (id, body) SELECT g, 'x' FROM generate_series(1, 99) g",
]  # fmt: skip
OFTEN = 9
"""of the changes, so many come three times as often as those that change every key"""


def one_change(url: str, chosen: random.Random) -> str:
    labels = [str(row[0]) for row in run(url, "SELECT enumlabel FROM pg_enum ORDER BY 1")]
    weights = [3] * OFTEN + [1] * (len(CHANGES) - OFTEN)
    (change,) = chosen.choices(CHANGES, weights)
    return change.format(n=chosen.randrange(1, 500), label=chosen.choice(labels))


def rows_by_key(snapshot: Snapshot) -> dict[str, str]:
    found = {}
    for key in keys_in(snapshot, range_pages=1):
        assert key.key is not None
        columns = [c.name for c in snapshot.dataset.table(key.range.table).columns]
        rows = read(snapshot, key.range)
        assert key.rows == len(rows)
        found[key.key] = repr((key.range, columns, rows))
    return found


@pytest.mark.soak
@pytest.mark.timeout(1500)
def test_equal_keys_mean_equal_rows(database: str) -> None:
    run(database, TABLES)
    chosen = random.Random(database)
    seen: dict[str, str] = {}
    again = 0
    history: list[str] = []
    for _ in range(count(25, 1000)):
        change = one_change(database, chosen)
        history.append(change)
        try:
            run(database, change)
        except Exception as error:  # noqa: BLE001  a key that is there twice: nothing was changed
            history[-1] += f" -- {type(error).__name__}"
        with source(database).snapshot() as snapshot:
            for key, rows in rows_by_key(snapshot).items():
                again += key in seen
                assert seen.setdefault(key, rows) == rows, history
    assert again > len(history), "hardly a key came twice, so nothing was shown"
