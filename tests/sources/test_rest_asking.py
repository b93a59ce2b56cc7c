"""How PostgREST is asked, and what it tells: pure."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from convault.errors import SourceError
from convault.models import TableName
from convault.sources.rest import asking, described


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
        size = sum(len(value.encode()) * 3 for key in lot for value in key)
        assert size <= asking.URL_BYTES or len(lot) == 1
        assert len(lot) <= 100


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
