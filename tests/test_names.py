"""Names as keys and members: injective, ASCII, the same on a file system that folds case."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from convault.models import TableName
from convault.names import decode, encode, table_path
from convault.stores.keys import is_key

# Postgres takes any character in a name but NUL, up to 63 bytes.
NAMES = st.text(
    st.characters(codec="utf-8", exclude_characters="\0"), min_size=1, max_size=63
)  # fmt: skip
NASTY = ["..", ".", "/", "../../etc/passwd", "a/b", "a\\b", "a\nb", "Messages", "MESSAGES", "a=b",
         "=4d", "-rf", "ação", "👋", " ", "con", "a.b", "README.txt", "*"]  # fmt: skip


@given(NAMES)
def test_decode_gives_the_name_back(name: str) -> None:
    assert decode(encode(name)) == name


@given(NAMES)
def test_an_encoded_name_is_one_safe_segment(name: str) -> None:
    assert re.fullmatch(r"[a-z0-9_=-]+", encode(name))


@given(NAMES, NAMES)
def test_two_names_differ_even_when_case_is_folded(one: str, other: str) -> None:
    assert (one == other) == (encode(one).casefold() == encode(other).casefold())


@pytest.mark.parametrize("name", NASTY)
def test_nasty_names(name: str) -> None:
    assert decode(encode(name)) == name
    assert is_key(table_path(TableName(name, name)))


def test_all_nasty_names_stay_apart() -> None:
    assert len({encode(name).casefold() for name in NASTY}) == len(NASTY)


def test_the_words_of_the_documentation() -> None:
    assert encode("Messages") == "=4dessages"
    assert encode("ação") == "a=c3=a7=c3=a3o"
    assert table_path(TableName("public", "messages")) == "messages"
    assert table_path(TableName("Support", "messages")) == "=53upport/messages"


@given(NAMES, NAMES, NAMES, NAMES)
def test_two_tables_never_share_a_file(a: str, b: str, c: str, d: str) -> None:
    one, other = TableName(a, b), TableName(c, d)
    files = {f"{table_path(table)}/00000.ndjson.zst" for table in (one, other)}
    assert len(files) == len({one, other})


@given(NAMES)
def test_a_table_of_public_never_meets_one_of_another_schema(name: str) -> None:
    # `public.a` and `a.<anything>` share a folder, but a file has a dot and a folder none.
    inside = table_path(TableName(name, "x"))
    assert "." not in inside
    if name != "public":
        assert inside.startswith(table_path(TableName("public", name)) + "/")


@pytest.mark.parametrize(
    "segment", ["", "A", "a.b", "=4D", "=", "=4", "a/b", "=61", "=ff", "=c3", "á", "a b", "a\n"]
)
def test_decode_refuses_what_encode_never_wrote(segment: str) -> None:
    with pytest.raises(ValueError):  # noqa: PT011  (also UnicodeDecodeError, which is one)
        decode(segment)


@given(st.text("abc=0123456789df/.", max_size=12))
def test_decode_is_the_inverse_or_refuses(segment: str) -> None:
    try:
        name = decode(segment)
    except ValueError:
        return
    assert encode(name) == segment


def test_the_empty_name_is_refused() -> None:
    with pytest.raises(ValueError, match="empty"):
        encode("")
