"""What chat users can put into a row, and what becomes of it: never a request to where they say."""

from __future__ import annotations

import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from psycopg.types.array import ListDumper

from convault.files.addresses import Address, Borders, Elsewhere, Reason, hosts_of, is_path
from convault.files.columns import FileColumn
from convault.files.references import References
from convault.files.several import Unreadable, in_array, in_json
from convault.models import TableName

PROJECT = "https://abcdefghijkl.supabase.co"
BORDERS = Borders(hosts_of(PROJECT), (), Address("media", "backups/convault"))
OBJECT = f"{PROJECT}/storage/v1/object"


@pytest.mark.parametrize(
    ("url", "path"),
    [
        (f"{OBJECT}/public/media/a.jpg", "a.jpg"),
        (f"{OBJECT}/public/media/a.jpg?download=x.jpg#top", "a.jpg"),
        (f"{OBJECT}/sign/media/2026/a.jpg?token=eyJhbGciOi.x.y", "2026/a.jpg"),
        (f"{OBJECT}/authenticated/media/a.jpg", "a.jpg"),
        (f"{OBJECT}/media/2026/a.jpg", "2026/a.jpg"),
        (f"{OBJECT}/media/public/a.jpg", "public/a.jpg"),
        (f"{PROJECT}/storage/v1/render/image/public/media/a.jpg?width=90", "a.jpg"),
        (f"{PROJECT}/storage/v1/render/image/sign/media/a.jpg?token=x", "a.jpg"),
        (f"{OBJECT}/public/media/a%20b/%C3%A7.jpg", "a b/ç.jpg"),
        (f"{OBJECT}/public/media/a%2Fb.jpg", "a/b.jpg"),
        (f"{OBJECT}/public/media/10.00%E2%80%AFAM.png", "10.00\u202fAM.png"),
        (
            f"{OBJECT}/public/media/\U0001f469\u200d\U0001f3eb\U0001faea.txt",
            "\U0001f469\u200d\U0001f3eb\U0001faea.txt",
        ),
        (f"{OBJECT}/public/media/100%2525.jpg", "100%25.jpg"),
        (f"{OBJECT}/public/m%65dia/a.jpg", "a.jpg"),
        (f"{OBJECT.replace('https', 'http')}/public/media/a.jpg", "a.jpg"),
        (f"{OBJECT.replace('.co/', '.co:443/')}/public/media/a.jpg", "a.jpg"),
        (f"{OBJECT.replace('abc', 'ABC')}/public/media/a.jpg", "a.jpg"),
        (f"{OBJECT.replace('.supabase', '.storage.supabase')}/public/media/a.jpg", "a.jpg"),
        ("/storage/v1/object/public/media/a.jpg?x=1", "a.jpg"),
    ],
)
def test_every_form_of_a_url_is_bucket_and_path(url: str, path: str) -> None:
    assert BORDERS.of_url(url) == Address("media", path)
    assert BORDERS.of_path("other", url) == Address("media", path)


@pytest.mark.parametrize(
    ("url", "reason"),
    [
        ("https://evil.example/storage/v1/object/public/media/a.jpg", Reason.OTHER_HOST),
        (f"https://evil.example/{OBJECT}/public/media/a.jpg", Reason.OTHER_HOST),
        (f"{PROJECT}.evil.example/storage/v1/object/public/media/a", Reason.OTHER_HOST),
        (f"{PROJECT}@evil.example/storage/v1/object/public/media/a", Reason.OTHER_HOST),
        (f"{PROJECT}:443@evil.example/storage/v1/object/public/media/a", Reason.OTHER_HOST),
        ("https://evil@abcdefghijkl.supabase.co/storage/v1/object/public/media/a",
         Reason.OTHER_HOST),
        (f"{PROJECT}:8443/storage/v1/object/public/media/a", Reason.OTHER_HOST),
        ("https://169.254.169.254/latest/meta-data", Reason.OTHER_HOST),
        ("https://evil.example\\@abcdefghijkl.supabase.co/storage/v1/object/public/media/a",
         Reason.MALFORMED),
        ("//abcdefghijkl.supabase.co/storage/v1/object/public/media/a", Reason.MALFORMED),
        ("file:///etc/passwd", Reason.MALFORMED),
        ("javascript:alert(1)", Reason.MALFORMED),
        ("https://[::1/storage", Reason.MALFORMED),
        (f"{PROJECT}:99999/storage", Reason.MALFORMED),
        (f" {OBJECT}/public/media/a", Reason.MALFORMED),
        (f"{OBJECT}/public/media/a\n", Reason.MALFORMED),
        (f"{OBJECT}/pub\tlic/media/a", Reason.MALFORMED),
        ("olá", Reason.MALFORMED),
        (f"{PROJECT}/rest/v1/messages", Reason.NO_FILE),
        (f"{OBJECT}/public/media", Reason.NO_FILE),
        (f"{OBJECT}/public/media/", Reason.NO_FILE),
        (f"{OBJECT}/list/media/a", Reason.NO_FILE),
        (f"{OBJECT}/info/public/media/a", Reason.NO_FILE),
        (f"{OBJECT}/media/backups/convault/convault.json", Reason.OWN_STORE),
        (f"{OBJECT}/upload/sign/media/a", Reason.NO_FILE),
        (f"{PROJECT}/storage/v1/../v1/object/public/media/a", Reason.NO_FILE),
        (f"{OBJECT}/public/media/../secret/a", Reason.MALFORMED),
        (f"{OBJECT}/public/media/%2e%2e/secret/a", Reason.MALFORMED),
        (f"{OBJECT}/public/media/..%2Fsecret%2Fa", Reason.MALFORMED),
        (f"{OBJECT}/public/media/a/./b", Reason.MALFORMED),
        (f"{OBJECT}/public/media//a", Reason.MALFORMED),
        (f"{OBJECT}/public/../media/a", Reason.MALFORMED),
        (f"{OBJECT}/public/media%2Fx/a", Reason.MALFORMED),
        (f"{OBJECT}/public/media/a%00b", Reason.MALFORMED),
        (f"{OBJECT}/public/media/a%0d%0aX-Key: b", Reason.MALFORMED),
        (f"{OBJECT}/public/media/a%5Cb", Reason.MALFORMED),
        (f"{OBJECT}/public/media/%ff", Reason.MALFORMED),
        (f"{OBJECT}/public/media/100%", Reason.MALFORMED),
        (f"{OBJECT}/public/media/{'a' * 1025}", Reason.MALFORMED),
        (f"{OBJECT}/public/media/backups/convault/convault.json", Reason.OWN_STORE),
        (f"{OBJECT}/public/media/backups%2Fconvault/files/x", Reason.OWN_STORE),
    ],
)  # fmt: skip
def test_what_is_no_file_of_the_project_is_left_alone(url: str, reason: Reason) -> None:
    place = BORDERS.of_url(url)
    assert isinstance(place, Elsewhere)
    assert place.reason is reason
    assert not {"/", "@"} & set(place.host)


def test_the_stores_neighbours_are_copied() -> None:
    for path in ("backups/convault2/a", "backups/a", "backups"):
        assert BORDERS.of_path("media", path) == Address("media", path)


def test_buckets_that_are_not_allowed() -> None:
    borders = Borders(hosts_of(PROJECT), ("media",))
    assert borders.of_path("media", "/a") == Address("media", "a")
    assert borders.of_path("payroll", "a") == Elsewhere(
        Reason.NOT_ALLOWED, "", Address("payroll", "a")
    )
    assert borders.of_path(None, "a") == Elsewhere(Reason.MALFORMED)


@settings(max_examples=300)
@given(
    st.one_of(
        st.text(max_size=60),
        st.text("./%2eEfF\\abc:@?#[]é\0\n ", max_size=40).map(f"{OBJECT}/public/".__add__),
        st.text("./%2fF@:#?\\ab", max_size=30).map(
            lambda text: f"https://{text}/storage/v1/object"
        ),
    )
)
def test_whatever_is_written_becomes_a_path_that_does_not_climb(text: str) -> None:
    place = BORDERS.of_url(text)
    if isinstance(place, Address):
        assert is_path(place.path)
        assert not {"", ".", ".."} & set(place.path.split("/"))
        assert "/" not in place.bucket
    elif place.host:
        assert set(place.host) <= set("abcdefghijklmnopqrstuvwxyz0123456789.:[]_-")


def test_arrays_and_json_point_at_several_files() -> None:
    assert list(in_array('{a,NULL,"NULL","b c","d\\"e\\\\f,{}"}')) == [
        "a", "NULL", "b c", 'd"e\\f,{}',
    ]  # fmt: skip
    assert list(in_array("[0:1][1:1]={{x},{y}}")) == ["x", "y"]
    assert list(in_array("{}")) == []
    for wrong in ("", "a", '{"a', '{"a"b}', "x={a}"):
        with pytest.raises(Unreadable):
            list(in_array(wrong))
    url = f"{OBJECT}/public/media/a"
    told = json.dumps(
        {"title": "see media/x", "n": 1, "images": [{"src": url, "alt": "http"}, [url], None],
         "file": {"bucket": "media", "path": "b/c", "name": "c"}, "path": "no bucket"}
    )  # fmt: skip
    assert list(in_json(told, paths=False)) == [
        (url, False, None), (url, False, None), ("b/c", True, "media"),
    ]  # fmt: skip
    assert list(in_json('["a/b", "", 1, {"path": "c"}, ["d"]]', paths=True)) == [
        ("a/b", True, None), ("c", True, None),
    ]  # fmt: skip
    for broken in ("{", "[" * 100_000):
        with pytest.raises(Unreadable):
            list(in_json(broken, paths=True))
    column = FileColumn(TableName("public", "t"), "links", form="json")
    references = References(BORDERS, (column,))
    references.add(0, [(told, None), ('"https://elsewhere.example/x"', None), ("{", None)])
    assert references.files == {
        Address("media", "a"): {0: 2}, Address("media", "b/c"): {0: 1}
    }  # fmt: skip
    assert sorted(place.reason for place in references.elsewhere) == ["malformed", "other host"]
    assert references.rows(0) == 5


@given(st.lists(st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]))))
def test_an_array_is_read_as_it_is_written(values: list[str]) -> None:
    """By psycopg."""
    assert list(in_array(bytes(ListDumper(list).dump(values)).decode())) == values
