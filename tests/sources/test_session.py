"""Values are written the same way whatever the role, the database or the URL says."""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import closing

import psycopg
from psycopg.conninfo import conninfo_to_dict

from convault.embedded.server import EmbeddedPostgres
from convault.sources.session import CONNECT_TIMEOUT, connect, connection_string, milliseconds
from tests.databases import drop_database
from tests.patience import PATIENCE
from tests.sources.reading import TABLES, read, read_all, run, source, whole


def test_a_database_in_another_encoding_gives_the_same_text(cluster: EmbeddedPostgres) -> None:
    with closing(psycopg.connect(cluster.url(), autocommit=True)) as connection:
        connection.execute("DROP DATABASE IF EXISTS in_latin1")
        connection.execute(
            "CREATE DATABASE in_latin1 ENCODING 'LATIN1' LOCALE 'C' TEMPLATE template0"
        )
        try:
            url = cluster.url("in_latin1")
            run(url, TABLES + "INSERT INTO messages VALUES (900, 1, 'é ação')")
            with source(url).snapshot() as snapshot:
                assert read_all(snapshot)["messages"][-1] == (900, 1, "é ação")
        finally:
            drop_database(cluster.url(), "in_latin1")


def test_the_session_settings_do_not_come_from_the_role(
    role: Callable[..., str], database: str
) -> None:
    run(database, TABLES + """
        ALTER TABLE messages ADD at timestamptz DEFAULT '2024-02-03 04:05:06+00';
        ALTER TABLE messages ADD took interval DEFAULT '1 day 2 hours';
        ALTER TABLE messages ADD raw bytea DEFAULT '\\x00ff';
        ALTER TABLE messages ADD score float8 DEFAULT 0.30000000000000004;
        ALTER TABLE messages ADD fee money DEFAULT 12.5;
        ALTER TABLE messages ADD note xml;
    """)  # fmt: skip
    url = role(
        "SET TimeZone = 'Asia/Kolkata'",
        "SET DateStyle = 'German'",
        "SET IntervalStyle = 'iso_8601'",
        "SET bytea_output = 'escape'",
        "SET extra_float_digits = 0",
        "SET client_encoding = 'LATIN1'",
        "SET enable_tidscan = off",
        "SET default_transaction_isolation = 'serializable'",
        "SET search_path = 'nowhere'",
    )
    with source(url).snapshot() as snapshot:
        assert read_all(snapshot)["messages"][0][3:] == (
            "2024-02-03 04:05:06+00", "1 day 02:00:00", "\\x00ff", "0.30000000000000004",
            "$12.50", None,
        )  # fmt: skip


def test_literals_of_the_schema_do_not_depend_on_the_role(
    role: Callable[..., str], database: str
) -> None:
    run(database, TABLES + r"""
        ALTER TABLE messages ALTER body SET DEFAULT 'C:\new''s', ADD tags text[] DEFAULT '{NULL}';
    """)  # fmt: skip
    url = role("SET standard_conforming_strings = off", "SET array_nulls = off")
    with source(database).snapshot() as usual, source(url).snapshot() as odd:
        assert odd.statements == usual.statements
        assert any(r"'C:\new''s'" in statement.sql for statement in odd.statements)
    with closing(connect(url)) as connection:
        tags = connection.execute("SELECT '{NULL}'::text[]").fetchone()
        assert tags == ([None],)


def test_a_role_that_quotes_all_names_reads_the_same(
    role: Callable[..., str], database: str
) -> None:
    run(database, TABLES + "CREATE TYPE mood AS ENUM ('ok'); ALTER TABLE messages ADD mood mood")
    url = role("SET quote_all_identifiers = on")
    with source(database).snapshot() as usual, source(url).snapshot() as odd:
        assert odd.dataset == usual.dataset
        assert odd.statements == usual.statements
        assert read_all(odd) == read_all(usual)


def test_options_of_the_url_are_kept() -> None:
    for url, expected in (
        ("postgresql://h/d", "-c a=1"),
        ("postgresql://h/d?options=-c%20b%3D2", "-c b=2 -c a=1"),
    ):
        assert conninfo_to_dict(connection_string(url, options="-c a=1"))["options"] == expected
    assert "options" not in conninfo_to_dict(connection_string("postgresql://h/d"))


def test_the_timeouts_of_the_role_end_no_backup(role: Callable[..., str], database: str) -> None:
    """Supabase sets a statement_timeout on its roles."""
    run(database, TABLES + """
        ALTER TABLE messages ALTER body SET STORAGE EXTERNAL;
        INSERT INTO messages SELECT g, 1, repeat('x', 1000000) FROM generate_series(1001, 1040) g;
    """)  # fmt: skip
    url = role(
        "SET statement_timeout = '700ms'",
        "SET idle_in_transaction_session_timeout = '700ms'",
        "SET lock_timeout = '1ms'",
    )
    with source(url).snapshot() as snapshot:
        range_ = whole(snapshot, "messages")
        batches = snapshot.read(range_)
        rows = next(batches).num_rows
        time.sleep(1)  # the statement goes on: 40 MB fit into no socket's buffer
        rows += sum(batch.num_rows for batch in batches)
        time.sleep(1)  # both connections idle in their transactions
        assert len(read(snapshot, range_)) == rows == 540
        assert snapshot.count(snapshot.dataset.table(range_.table)) == rows


def test_a_peer_that_is_gone_is_noticed() -> None:
    given = conninfo_to_dict(connection_string("postgresql://u:p@h/d?sslmode=require"))
    assert given["sslmode"] == "require"
    assert given["application_name"] == "convault"
    assert (given["keepalives"], given["keepalives_idle"]) == ("1", "30")
    # Tests wait longer than others do.
    assert (CONNECT_TIMEOUT, given["connect_timeout"]) == (15, f"{PATIENCE:.0f}")
    longer = conninfo_to_dict(connection_string("postgresql://h/d?connect_timeout=60"))
    assert longer["connect_timeout"] == "60"


def test_a_timeout_is_never_rounded_to_for_ever() -> None:
    assert [milliseconds(s) for s in (0, 0.0001, 0.2, 30)] == [0, 1, 200, 30_000]
