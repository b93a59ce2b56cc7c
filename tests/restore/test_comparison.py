"""The comparison sees every difference, or a restore would be proven by nothing."""

from __future__ import annotations

from collections.abc import Callable

import psycopg
import pytest

from convault.comparison import TableComparison, compare
from convault.embedded.server import EmbeddedPostgres
from convault.errors import MissingTable, SourceError
from convault.models import TableName

TABLE = TableName("public", "t")
MADE = """
DROP TABLE IF EXISTS public.t CASCADE;
CREATE TABLE public.t (id integer, body text, tags text[], amount numeric, at timestamptz, c char(3));
INSERT INTO public.t SELECT n, 'body ' || n, ARRAY['a', NULL], 1.10, '2024-01-01 00:00+00', 'x'
    FROM generate_series(1, 500) n;
INSERT INTO public.t VALUES (0, 'same', NULL, NULL, NULL, NULL), (0, 'same', NULL, NULL, NULL, NULL);
CREATE TABLE public.child () INHERITS (public.t);
INSERT INTO public.child VALUES (1, 'child');
"""  # noqa: E501
ROWS = 502

CHANGES = {
    "UPDATE public.t SET body = 'body 77!' WHERE id = 77": (1, 1),
    "UPDATE public.t SET body = 'Body 77' WHERE id = 77": (1, 1),
    "UPDATE public.t SET body = body || ' ' WHERE id = 500": (1, 1),
    "UPDATE public.t SET body = '', tags = '{}' WHERE id = 1": (1, 1),
    "UPDATE public.t SET tags = ARRAY['a', ''] WHERE id = 5": (1, 1),
    "UPDATE public.t SET tags = ARRAY['a', 'NULL'] WHERE id = 5": (1, 1),
    "UPDATE public.t SET amount = 1.1 WHERE id = 5": (1, 1),
    "UPDATE public.t SET at = at + interval '1 microsecond' WHERE id = 5": (1, 1),
    "UPDATE public.t SET body = id::text, id = 6 WHERE id = 5": (1, 1),
    "DELETE FROM public.t WHERE id = 500": (1, 0),
    "DELETE FROM public.t WHERE ctid = (SELECT max(ctid) FROM public.t WHERE id = 0)": (1, 0),
    "INSERT INTO public.t VALUES (0, 'same')": (0, 1),
    "INSERT INTO public.t SELECT * FROM ONLY public.t WHERE id = 9": (0, 1),
    "INSERT INTO public.t VALUES (NULL)": (0, 1),
    "TRUNCATE ONLY public.t": (ROWS, 0),
    "ALTER TABLE public.t RENAME body TO text": (ROWS, ROWS),
    "ALTER TABLE public.t ALTER body TYPE varchar": (ROWS, ROWS),
    "ALTER TABLE public.t ALTER c TYPE char(4)": (ROWS, ROWS),
}  # fmt: skip


@pytest.fixture
def pair(
    cluster: EmbeddedPostgres, new_database: Callable[[EmbeddedPostgres], str]
) -> tuple[str, str]:
    urls = new_database(cluster), new_database(cluster)
    for url in urls:
        _run(url, MADE)
    return urls


def _run(url: str, sql: str) -> None:
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute(sql.encode())


def test_equal_tables_are_equal_wherever_their_rows_and_columns_lie(pair: tuple[str, str]) -> None:
    _run(pair[1], """
        CREATE TABLE public.other (c char(3), at timestamptz, gone int, tags text[],
            amount numeric, body text, id integer);
        ALTER TABLE public.other DROP COLUMN gone;
        INSERT INTO public.other (c, at, tags, amount, body, id)
            SELECT c, at, tags, amount, body, id FROM ONLY public.t ORDER BY md5(body);
        DROP TABLE public.child;
        DROP TABLE public.t;
        ALTER TABLE public.other RENAME TO t;
    """)  # fmt: skip
    assert compare(*pair, [TABLE]) == [TableComparison(TABLE, ROWS, 0, 0)]


def test_every_change_is_seen_from_both_sides(
    pair: tuple[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("convault.comparison._FETCH_ROWS", 100)
    for change, (lost, added) in CHANGES.items():
        _run(pair[1], MADE + change)
        (forth,) = compare(*pair, [TABLE])
        assert forth == TableComparison(TABLE, ROWS - lost, lost, added), change
        assert not forth.equal
        (back,) = compare(pair[1], pair[0], [TABLE])
        assert back == TableComparison(TABLE, ROWS - lost, added, lost), change


def test_null_and_an_empty_string_are_not_the_same(pair: tuple[str, str]) -> None:
    _run(pair[0], "UPDATE public.t SET body = NULL WHERE id = 3")
    _run(pair[1], "UPDATE public.t SET body = '' WHERE id = 3")
    assert compare(*pair, [TABLE]) == [TableComparison(TABLE, ROWS - 1, 1, 1)]


def test_a_composite_of_nulls_is_not_null(
    cluster: EmbeddedPostgres, new_database: Callable[[EmbeddedPostgres], str]
) -> None:
    urls = new_database(cluster), new_database(cluster)
    for url, value in zip(urls, ("NULL", "ROW(NULL, NULL)"), strict=True):
        _run(
            url, "CREATE TYPE public.pair AS (a int, b int); CREATE TABLE public.t (p public.pair)"
        )
        _run(url, f"INSERT INTO public.t VALUES ({value})")
    assert compare(*urls, [TABLE]) == [TableComparison(TABLE, 0, 1, 1)]


def test_every_table_is_compared_by_itself(pair: tuple[str, str]) -> None:
    child = TableName("public", "child")
    _run(pair[1], "UPDATE public.child SET body = 'other'")
    assert compare(*pair, [TABLE, child]) == [
        TableComparison(TABLE, ROWS, 0, 0),
        TableComparison(child, 0, 1, 1),
    ]


def test_tables_without_columns_or_rows(
    cluster: EmbeddedPostgres, new_database: Callable[[EmbeddedPostgres], str]
) -> None:
    urls = new_database(cluster), new_database(cluster)
    for url, rows in zip(urls, (3, 5), strict=True):
        _run(url, 'CREATE TABLE public.t (); CREATE TABLE public."No ""rows" (a int)')
        _run(url, f"INSERT INTO public.t SELECT FROM generate_series(1, {rows})")
    empty = TableName("public", 'No "rows')
    assert compare(*urls, [TABLE, empty]) == [
        TableComparison(TABLE, 3, 0, 2),
        TableComparison(empty, 0, 0, 0),
    ]


def test_a_table_that_is_not_there_is_said(pair: tuple[str, str]) -> None:
    with pytest.raises(MissingTable, match=r"public\.nowhere"):
        compare(*pair, [TableName("public", "nowhere")])


def test_a_database_that_cannot_be_reached_is_said(pair: tuple[str, str]) -> None:
    with pytest.raises(SourceError):
        compare(pair[0], pair[1].replace("/test_", "/no_test_"), [TABLE])
