"""Filters on roots that are not as they usually are."""

from __future__ import annotations

from contextlib import closing

import psycopg

from tests.filters.world import selected


def fill(url: str, script: str) -> None:
    with closing(psycopg.connect(url, autocommit=True)) as connection:
        connection.execute(script.encode())


def test_a_time_without_a_zone_is_read_as_utc(database: str) -> None:
    """In a column, and in a domain over one."""
    fill(
        database,
        """
        CREATE DOMAIN moment AS timestamp;
        CREATE TABLE conversations (id integer PRIMARY KEY, created_at timestamp, opened moment);
        CREATE TABLE messages (conversation_id integer REFERENCES conversations);
        INSERT INTO conversations
            SELECT n, t, t FROM (VALUES
                (1, '2026-01-31 02:59:59.999999'::timestamp), (2, '2026-01-31 03:00:00'),
                (3, '2026-02-01 02:59:59.999999'), (4, '2026-02-01 03:00:00'),
                (5, 'infinity'), (6, '-infinity'), (7, NULL)) v (n, t);
        """,
    )
    day = {"startDate": "2026-01-31", "endDate": "2026-01-31"}
    zone = {"convault_timezone": "America/Sao_Paulo"}
    for column in ("created_at", "opened"):
        found = selected(database, day, convault_created_column=column, **zone)
        assert found["conversations"] == {"2", "3"}
    found = selected(database, {"startDate": "2026-02-01T03:00:00Z"})
    assert found["conversations"] == {"4", "5"}
