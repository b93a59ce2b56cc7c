"""Digests of rows that came by REST are those that Postgres computes."""

from __future__ import annotations

import random

import polars as pl
import psycopg
import pytest

from convault.sources.rest.lookup3 import hash_integers, hash_texts
from convault.sources.rest.rows import in_utc


def test_hashes_are_those_of_postgres(database: str) -> None:
    chance = random.Random(3)
    lengths = [*range(60), *(chance.randrange(60, 3000) for _ in range(60)), 30_000]
    texts = ["".join(chance.choices("abc ção😀\n", k=length)) for length in lengths]
    seeds = [0, 1, -1, *(chance.getrandbits(64) - 2**63 for _ in lengths)][: len(lengths)]
    numbers = [0, -1, 2**63 - 1, -(2**63), *seeds][: len(lengths)]
    with psycopg.connect(database) as connection:
        rows = connection.execute(
            "SELECT hashtextextended(t COLLATE \"C\", s), hashint8extended(n, s)"
            " FROM unnest(%s::text[], %s::int8[], %s::int8[]) WITH ORDINALITY u (t, s, n, o)"
            " ORDER BY o", (texts, seeds, numbers),
        ).fetchall()  # fmt: skip
    bits = pl.Series([seed % 2**64 for seed in seeds], dtype=pl.UInt64)
    hashed = hash_texts([text.encode() for text in texts], bits).to_list()
    assert hashed == [text % 2**64 for text, _ in rows]
    integers = pl.Series([number % 2**64 for number in numbers], dtype=pl.UInt64)
    assert hash_integers(integers, bits).to_list() == [number % 2**64 for _, number in rows]
    assert hash_texts([], bits.head(0)).to_list() == []


@pytest.mark.parametrize(
    ("written", "utc"),
    [
        ("2026-01-01 05:30:00+05:30", "2026-01-01 00:00:00+00"),
        ("2026-01-01 00:00:00.5-03", "2026-01-01 03:00:00.5+00"),
        ("1890-01-01 00:00:00.000001+00:53:28", "1889-12-31 23:06:32.000001+00"),
        ("2026-01-01 00:00:00+00", "2026-01-01 00:00:00+00"),
        ("0044-03-15 05:53:28+05:53:28 BC", "0044-03-15 05:53:28+05:53:28 BC"),
        ("0001-01-01 00:00:00+05:30", "0001-01-01 00:00:00+05:30"),
        ("294276-12-31 23:59:59+00", "294276-12-31 23:59:59+00"),
        ("infinity", "infinity"),
        (None, None),
    ],
)
def test_times_are_written_in_utc(written: str | None, utc: str | None) -> None:
    assert in_utc(written) == utc
