"""Types that are changed while rows are read: ALTER TYPE waits for no reader."""

from __future__ import annotations

import psycopg
import pytest

from convault.errors import SnapshotLost
from tests.sources.reading import TABLES, Row, read_all, run, source

TYPED = (
    TABLES
    + """
    CREATE SCHEMA crm;
    CREATE TYPE mood AS ENUM ('happy', 'sad');
    CREATE DOMAIN crm.moods AS mood[];
    CREATE TYPE point3 AS (x int, y int, mood mood);
    CREATE TYPE moodrange AS RANGE (subtype = mood);
    CREATE TYPE unrelated AS ENUM ('a');
    ALTER TABLE messages ADD moods crm.moods DEFAULT '{sad}', ADD at point3 DEFAULT '(1,2,happy)',
        ADD span moodmultirange;
"""
)
CHANGES = {
    "a label": ("ALTER TYPE mood RENAME VALUE 'sad' TO 'blue'", "public.mood"),
    "a label and back": (
        "ALTER TYPE mood RENAME VALUE 'sad' TO 'x'; ALTER TYPE mood RENAME VALUE 'x' TO 'sad'",
        "public.mood",
    ),
    "an attribute less": ("ALTER TYPE point3 DROP ATTRIBUTE y", "public.point3"),
    "an attribute more": ("ALTER TYPE point3 ADD ATTRIBUTE z int", "public.point3"),
    "an attribute's name": ("ALTER TYPE point3 RENAME ATTRIBUTE y TO z", "public.point3"),
    "a type's name": ("ALTER TYPE mood RENAME TO humour", "public.mood"),
    "a type's schema": ("ALTER DOMAIN crm.moods SET SCHEMA public", "crm.moods"),
    "a schema's name": ("ALTER SCHEMA crm RENAME TO sales", "crm.moods"),
}


def read_while(database: str, change: str) -> dict[str, list[Row]]:
    """Every row, read before and after a change that somebody makes."""
    with source(database).snapshot() as snapshot:
        read_all(snapshot)
        run(database, change)
        return read_all(snapshot)


@pytest.mark.parametrize(("change", "name"), CHANGES.values(), ids=CHANGES.keys())
def test_a_change_that_values_show_costs_the_snapshot(
    change: str, name: str, database: str
) -> None:
    run(database, TYPED)
    with pytest.raises(SnapshotLost, match=f"{name} was changed while rows were read") as caught:
        read_while(database, change)
    assert not caught.value.transient


def test_the_schema_that_the_tables_lie_in_may_not_move(database: str) -> None:
    run(database, TABLES)

    def rename() -> None:
        with source(database).snapshot() as snapshot:
            read_all(snapshot)
            run(database, "ALTER SCHEMA public RENAME TO old")

    with pytest.raises(SnapshotLost, match="public was changed"):
        rename()


def test_what_no_value_shows_costs_nothing(database: str) -> None:
    run(database, TYPED)
    rows = read_while(database, """
        ALTER TYPE mood ADD VALUE 'calm' BEFORE 'sad';
        ALTER TYPE unrelated RENAME VALUE 'a' TO 'b';
        CREATE INDEX ON messages (body);
        CREATE TABLE notes (id int, conversation_id bigint REFERENCES conversations);
        COMMENT ON TYPE mood IS 'how it feels';
        INSERT INTO messages (id, conversation_id) VALUES (1000, 1);
    """)  # fmt: skip
    assert len(rows["messages"]) == 500


def test_an_error_inside_the_block_is_not_hidden(database: str) -> None:
    run(database, TYPED)
    with pytest.raises(psycopg.errors.DivisionByZero):
        read_while(database, "ALTER TYPE mood RENAME VALUE 'sad' TO 'x'; SELECT 1 / 0")


def test_a_source_that_does_not_answer_at_the_end_costs_the_snapshot(
    database: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whether anything was changed is not known, and a run may plan again."""
    run(database, TYPED)
    opened = source(database)

    def lose() -> None:
        with opened.snapshot() as snapshot:
            read_all(snapshot)
            monkeypatch.setattr(opened, "_url", "postgresql://127.0.0.1:1/none")

    with pytest.raises(SnapshotLost, match="could not be asked"):
        lose()
