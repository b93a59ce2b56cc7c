"""The catalogs are asked about all tables at once: their number costs little."""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Any

import psycopg
import pytest

from convault.schema import read_statements
from convault.schema.catalogs import Catalogs
from tests.schema.judge import dataset_of, run
from tests.soak import count

pytestmark = pytest.mark.soak
TABLES = count(250, 1000)
SECONDS_PER_TABLE = 0.02
"""Measured: 0.002 on an idle machine with two cores."""


class Counting(Catalogs):
    """Counts the queries."""

    queries = 0

    def rows(self, query: str, parameters: Mapping[str, object] | None = None) -> list[Any]:
        Counting.queries += 1
        return super().rows(query, parameters)


def test_many_tables(database: str, monkeypatch: pytest.MonkeyPatch) -> None:
    for first in range(0, TABLES, 50):
        run(
            database,
            ";".join(
                f"CREATE TABLE t{n} (id bigserial PRIMARY KEY, a text NOT NULL DEFAULT 'x',"
                f" b jsonb, c timestamptz DEFAULT now(), before bigint REFERENCES t{max(n - 1, 0)},"
                f" CHECK (length(a) < {n + 9})); CREATE INDEX ON t{n} (c)"
                for n in range(first, first + 50)
            ),
        )
    monkeypatch.setattr("convault.schema.catalogs.Catalogs", Counting)
    Counting.queries = 0
    with psycopg.connect(database) as connection:
        dataset = dataset_of(connection)
        started = time.monotonic()
        statements = read_statements(connection, dataset)
        seconds = time.monotonic() - started
    assert sum(s.kind == "table" for s in statements) == TABLES
    assert sum(s.kind == "sequence value" for s in statements) == TABLES
    assert 0 < Counting.queries < 60
    assert seconds < TABLES * SECONDS_PER_TABLE, f"{seconds:.1f} s"
