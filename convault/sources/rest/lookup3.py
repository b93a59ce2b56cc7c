"""Postgres' `hashtextextended` and `hashint8extended` for many values at once. Pure.

Both are Bob Jenkins' lookup3 with a seed, as src/common/hashfn.c has it, and give the same on every
little-endian server. Words are taken from all values side by side, so that a page of rows costs a
few operations on columns for every 12 bytes of its longest value, not for every 12 bytes of each.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import polars as pl
import pyarrow as pa

_INITIAL = (0x9E3779B9 + 3923095) & 0xFFFFFFFF
_HALF = 2**32
_WIDTHS = (96, 1020, 1 << 30)
"""bytes: values are taken together with others of their size, because each takes as much room"""


class _State(NamedTuple):
    a: pl.Series
    b: pl.Series
    c: pl.Series


def hash_texts(values: Sequence[bytes], seeds: pl.Series) -> pl.Series:
    """`hashtextextended` of the bytes of texts, each with its seed; UInt64, as bits."""
    found = pl.zeros(len(values), dtype=pl.UInt64, eager=True)
    least = -1
    for width in _WIDTHS:
        chosen = [n for n, value in enumerate(values) if least < len(value) <= width]
        least = width
        if chosen:
            index = pl.Series(chosen, dtype=pl.UInt32)
            hashed = _hash_alike([values[n] for n in chosen], seeds.gather(index))
            found = found.scatter(index, hashed)
    return found


def hash_integers(values: pl.Series, seeds: pl.Series) -> pl.Series:
    """`hashint8extended` of 64-bit integers, each with its seed; both UInt64, as bits."""
    low, high = _low(values), _high(values)
    word = low ^ high.zip_with(values < 2**63, high ^ pl.Series([0xFFFFFFFF], dtype=pl.UInt32))
    state = _seeded(pl.repeat(4, len(values), dtype=pl.UInt32, eager=True), seeds)
    return _joined(_final(_State(state.a + word, state.b, state.c)))


def _hash_alike(values: Sequence[bytes], seeds: pl.Series) -> pl.Series:
    lengths = pl.Series([len(value) for value in values], dtype=pl.UInt32)
    whole = lengths // 12
    most = max(map(len, values)) // 12
    stride = 3 * (most + 1)
    padded = b"".join(value.ljust(4 * stride, b"\0") for value in values)
    words = pl.Series(
        pa.Array.from_buffers(pa.uint32(), len(padded) // 4, [None, pa.py_buffer(padded)])
    )
    state = _seeded(lengths, seeds)
    for block in range(most):
        mixed = _mix(_added(state, *(words.gather_every(stride, 3 * block + n) for n in range(3))))
        still = whole > block
        state = _State(*(new.zip_with(still, old) for new, old in zip(mixed, state, strict=True)))
    first = pl.int_range(len(values), dtype=pl.UInt32, eager=True) * stride + whole * 3
    # The lowest byte of the last word is kept for the length.
    tail = words.gather(first + 2) * 256
    return _joined(_final(_added(state, words.gather(first), words.gather(first + 1), tail)))


def _seeded(lengths: pl.Series, seeds: pl.Series) -> _State:
    begin = lengths + pl.Series([_INITIAL], dtype=pl.UInt32)
    mixed = _mix(_State(begin + _high(seeds), begin + _low(seeds), begin))
    plain = seeds == 0
    return _State(*(begin.zip_with(plain, new) for new in mixed))


def _added(state: _State, *words: pl.Series) -> _State:
    return _State(*(one + word for one, word in zip(state, words, strict=True)))


def _rotated(x: pl.Series, bits: int) -> pl.Series:
    up, down = 1 << bits, 1 << (32 - bits)
    return (x * up) | (x // down)


def _mix(state: _State) -> _State:
    a, b, c = state
    a = (a - c) ^ _rotated(c, 4)
    c = c + b
    b = (b - a) ^ _rotated(a, 6)
    a = a + c
    c = (c - b) ^ _rotated(b, 8)
    b = b + a
    a = (a - c) ^ _rotated(c, 16)
    c = c + b
    b = (b - a) ^ _rotated(a, 19)
    a = a + c
    c = (c - b) ^ _rotated(b, 4)
    b = b + a
    return _State(a, b, c)


def _final(state: _State) -> _State:
    a, b, c = state
    c = (c ^ b) - _rotated(b, 14)
    a = (a ^ c) - _rotated(c, 11)
    b = (b ^ a) - _rotated(a, 25)
    c = (c ^ b) - _rotated(b, 16)
    a = (a ^ c) - _rotated(c, 4)
    b = (b ^ a) - _rotated(a, 14)
    c = (c ^ b) - _rotated(b, 24)
    return _State(a, b, c)


def _low(values: pl.Series) -> pl.Series:
    return (values % _HALF).cast(pl.UInt32)


def _high(values: pl.Series) -> pl.Series:
    return (values // _HALF).cast(pl.UInt32)


def _joined(state: _State) -> pl.Series:
    return state.b.cast(pl.UInt64) * _HALF + state.c.cast(pl.UInt64)
