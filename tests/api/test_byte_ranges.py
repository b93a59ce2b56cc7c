"""`Range` as RFC 9110 has it."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from api.byte_ranges import Unsatisfiable, unchanged, wanted


@pytest.mark.parametrize(
    ("header", "expected"),
    [
        (None, None),
        ("bytes=0-0", (0, 1)),
        ("bytes=0-9", (0, 10)),
        ("bytes=3-", (3, 10)),
        ("bytes=3-99", (3, 10)),
        ("bytes=-3", (7, 10)),
        ("bytes=-99", (0, 10)),
        ("Bytes= 2-4 ", (2, 5)),
        ("bytes=4-2", None),
        ("bytes=0-1,3-4", None),
        ("bytes=", None),
        ("bytes=-", None),
        ("bytes=a-b", None),
        ("items=0-1", None),
        ("bytes=+1-2", None),
        ("bytes=\u0661-", None),
    ],
)
def test_of_ten_bytes(header: str | None, expected: tuple[int, int] | None) -> None:
    assert wanted(header, 10) == expected


@pytest.mark.parametrize("header", ["bytes=10-", "bytes=10-12", "bytes=-0", f"bytes={10**18}-"])
def test_behind_the_end(header: str) -> None:
    with pytest.raises(Unsatisfiable):
        wanted(header, 10)


@given(st.text(max_size=40) | st.from_regex(r"bytes=[0-9]{0,25}-[0-9]{0,25}"), st.integers(0, 100))
def test_whatever_is_sent_lies_in_the_body(header: str, size: int) -> None:
    try:
        part = wanted(header, size)
    except Unsatisfiable:
        return
    if part is not None:
        assert 0 <= part[0] < part[1] <= size


def test_a_range_of_what_changed_is_not_sent() -> None:
    assert unchanged(None, '"a"')
    assert unchanged('"a"', '"a"')
    assert not unchanged('"b"', '"a"')
    assert not unchanged('W/"a"', '"a"')
    assert not unchanged("Wed, 25 Nov 2026 10:00:00 GMT", '"a"')
