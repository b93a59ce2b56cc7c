"""How PostgREST is asked, and what it tells: pure."""

from __future__ import annotations

from urllib.parse import quote

import pytest
from hypothesis import given
from hypothesis import strategies as st

from convault.errors import SourceError
from convault.models import TableName
from convault.sources.rest import asking, described
from tests.sources.postgrest_grammar import read


def test_a_page_begins_behind_the_last_key_of_a_row() -> None:
    assert asking.after(["id"], ("7",)) == '(id.gt."7")'
    assert asking.after(["a", "b c", "d"], ("x,y", 'q"\\', ")")) == (
        '(a.gt."x,y",and(a.eq."x,y","b c".gt."q\\"\\\\"),'
        'and(a.eq."x,y","b c".eq."q\\"\\\\",d.gt.")"))'
    )
    assert asking.one_of(["id"], [("1",), (")",)]) == 'id.in.("1",")")'
    assert asking.one_of(["id"], [("",)]) == 'id.eq.""'
    assert asking.one_of(["a", "b"], [("1", ".")]) == 'or(and(a.eq."1",b.eq."."))'


@given(st.lists(st.tuples(st.text(max_size=3000), st.text(max_size=50)), max_size=300))
def test_every_key_is_in_one_lot_that_fits_into_a_url(keys: list[tuple[str, str]]) -> None:
    lots = list(asking.batches(["a", "b"], keys))
    assert [key for lot in lots for key in lot] == keys
    for lot in lots:
        size = len(quote(asking.one_of(["a", "b"], lot), safe=""))
        assert size <= asking.URL_BYTES or len(lot) == 1
    singles = [(value,) for value, _ in keys]
    for lot in asking.batches(["a"], singles):
        size = len(quote(asking.one_of(["a"], lot), safe=""))
        assert size <= asking.URL_BYTES or len(lot) == 1
        assert len(lot) <= 100


NAMES = st.one_of(
    st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]), min_size=1),
    st.sampled_from(["and", "or", "not", "is", "in", "select", "order", "null", "a.b", "a->b", "x)",
                     "left_id", "inner", "a b", " a", "*x", "::", "ção", "1", "²", '"', "\\"]),
).filter(lambda name: name != "*")  # fmt: skip
VALUES = st.one_of(
    st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"])),
    st.sampled_from(["true", "false", "null", "", " ", "{a}", "a,b", ")", '"', "\\", "x.eq.1"]),
)


@given(st.lists(NAMES, min_size=1, max_size=3, unique=True), st.data())
def test_postgrest_reads_what_is_meant(names: list[str], data: st.DataObject) -> None:
    """By its own grammar: whatever stands in names and values. (`@supabase/lite` misreads names in
    quotes; the tests against it have plain ones.)"""
    rows = st.tuples(*(VALUES for _ in names))
    keys = data.draw(st.lists(rows, min_size=1, max_size=3, unique=True))
    (found,) = read(asking.where([asking.one_of(names, keys)])["and"], "trees")
    equal = [[(n, "eq", v) for n, v in zip(names, key, strict=True)] for key in keys]
    if len(names) > 1:
        assert found == ("or", [("and", terms) for terms in equal])
    else:
        values = [value for (value,) in keys]
        assert found in ((names[0], "in", values), (names[0], "eq", values[0]))
        assert found[1] == "in" or len(values) == 1
    terms = read(asking.after(names, keys[0]), "trees")
    for place, term in enumerate(terms):
        greater = (names[place], "gt", keys[0][place])
        assert term == (("and", [*equal[0][:place], greater]) if place else greater)
    (null,) = read(asking.where([asking.lacks_one(names)])["and"], "trees")
    nulls = [(name, "is", "null") for name in names]
    assert null == (nulls[0] if len(names) == 1 else ("or", nulls))
    assert read(asking.order(names), "ordered") == names
    assert read(asking.as_key(names), "selected") == [
        (f"_k{n}", name, "text") for n, name in enumerate(names)
    ]
    embedded = asking.embedded(names[0], names[-1], asking.as_key(names))
    assert read(embedded, "selected") == [
        ("_b", names[0], names[-1], read(asking.as_key(names), "selected"))
    ]


@given(st.text())
def test_a_quoted_value_reads_back(value: str) -> None:
    text = asking.quoted(value)
    assert text[0] == text[-1] == '"'
    read, escaped = "", False
    for character in text[1:-1]:
        if not escaped and character == "\\":
            escaped = True
            continue
        assert escaped or character != '"'
        read, escaped = read + character, False
    assert (read, escaped) == (value, False)


def test_a_description_is_read_as_postgrest_writes_it() -> None:
    document = {
        "definitions": {
            "a": {
                "required": ["id"],
                "properties": {
                    "id": {"format": "bigint", "description": "Note:\nThis is a Primary Key.<pk/>"},
                    "b": {
                        "format": "integer",
                        "description": "Ours\n\nNote:\nThis is a Foreign Key to `b.id`."
                        "<fk table='b' column='id'/>",
                    },
                    "u": {
                        "format": "uuid",
                        "description": "Note:\nThis is a Foreign Key to `users.id`."
                        "<fk table='users' column='id'/>",
                    },
                    "c": {"format": "character varying", "maxLength": 9},
                    "d": {"format": "character"},
                },
            },
            "b": {
                "required": ["id"],
                "properties": {"id": {"format": "integer", "description": "Note:\n<pk/>"}},
            },
            "view": {"properties": {"id": {"format": "integer", "description": "<pk/>"}}},
        }
    }
    found = described.read(document, "public")
    a, b, view = found.relations
    assert [c.type for c in a.columns] == [
        "bigint", "integer", "uuid", "character varying(9)", "bpchar",
    ]  # fmt: skip
    assert (a.primary_key, a.is_view, view.is_view, b.is_view) == (("id",), False, True, False)
    (key,) = found.foreign_keys
    assert (key.table.name, key.columns, key.references.name) == ("a", ("b",), "b")
    assert found.outside == ((TableName("public", "a"), "u", "users"),)


@pytest.mark.parametrize(
    "answer", [{}, [], None, {"definitions": {"a": {"properties": {"x": {}}}}}]
)
def test_an_answer_without_a_description_is_refused(answer: object) -> None:
    with pytest.raises(SourceError, match="OpenAPI"):
        described.read(answer, "public")
