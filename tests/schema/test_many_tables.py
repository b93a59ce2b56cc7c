"""The catalogs are asked about all tables at once: their number costs little."""

from __future__ import annotations

import time
from collections.abc import Mapping
from operator import attrgetter
from typing import Any, NamedTuple

import psycopg
import pytest

from convault.schema import read_statements
from convault.schema.catalogs import Catalogs
from tests.schema.judge import dataset_of, run
from tests.soak import count

pytestmark = pytest.mark.soak
TABLES = count(240, 1000)


class Counting(Catalogs):
    """Counts the queries, and the rows that they give."""

    queries = 0
    found = 0

    def rows(self, query: str, parameters: Mapping[str, object] | None = None) -> list[Any]:
        found = super().rows(query, parameters)
        Counting.queries += 1
        Counting.found += len(found)
        return found


class Cost(NamedTuple):
    """What it takes to read the schema."""

    queries: int
    found: int
    """rows that the server gave"""
    cpu: float
    """seconds of this thread"""


def cost(database: str, tables: int) -> Cost:
    Counting.queries = Counting.found = 0
    with psycopg.connect(database) as connection:
        dataset = dataset_of(connection)
        started = time.thread_time()
        statements = read_statements(connection, dataset)
        seconds = time.thread_time() - started
    assert sum(s.kind == "table" for s in statements) == tables
    assert sum(s.kind == "sequence value" for s in statements) == tables
    return Cost(Counting.queries, Counting.found, seconds)


def create(database: str, first: int, end: int) -> None:
    for begin in range(first, end, 50):
        run(
            database,
            ";".join(
                f"CREATE TABLE t{n} (id bigserial PRIMARY KEY, a text NOT NULL DEFAULT 'x',"
                f" b jsonb, c timestamptz DEFAULT now(), before bigint REFERENCES t{max(n - 1, 0)},"
                f" CHECK (length(a) < {n + 9})); CREATE INDEX ON t{n} (c)"
                for n in range(begin, min(begin + 50, end))
            ),
        )


def test_many_tables(database: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("convault.schema.catalogs.Catalogs", Counting)
    few = TABLES // 4
    create(database, 0, few)
    cost(database, few)  # what only the first one takes
    before = min((cost(database, few) for _ in range(4)), key=attrgetter("cpu"))
    create(database, few, 4 * few)
    after = min((cost(database, 4 * few) for _ in range(4)), key=attrgetter("cpu"))
    assert 0 < before.queries <= after.queries < 60
    assert after.found <= 4 * before.found
    # By the square of their number it would be 16 times; other loads of the machine do not count.
    assert after.cpu < 10 * before.cpu
