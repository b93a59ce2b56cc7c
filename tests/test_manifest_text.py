"""JSON of manifests by pieces: the same as by the whole, whatever it is."""

from __future__ import annotations

import json
import tracemalloc
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from benchmarks.manifest_size import manifest_of
from convault import manifest_reading
from convault.errors import RepositoryError
from convault.manifest import Manifest
from convault.manifest_entries import Shared
from convault.manifest_reading import Path, members, thinned
from convault.manifest_text import Listed, pieces, text_of
from convault.signing.signature import Signature, SigningKeys

KEYS = SigningKeys((bytes(range(32)),))
NAMES = st.sampled_from(["convault", "tables", "parts", "resources", "files", "format", "x", "é\n"])
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text() | st.floats(allow_nan=False),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(NAMES, inner, max_size=5),
    max_leaves=30,
)


class Pairs(list[tuple[str, Any]]):
    """An object, member by member."""


def said(value: Any) -> str:
    """Its JSON."""
    if isinstance(value, Pairs):
        return "{" + ",".join(f"{json.dumps(n)}: {said(v)}" for n, v in value) + "}"
    return "[" + ",".join(map(said, value)) + "]" if isinstance(value, list) else json.dumps(value)


def lazily(value: Any) -> Any:
    """The same, every array of it a `Listed`."""
    if isinstance(value, dict):
        return {name: lazily(member) for name, member in value.items()}
    return Listed(map(lazily, value)) if isinstance(value, list) else value


def in_dicts(value: Any) -> bool:
    """Whether arrays are members of objects alone: others are never `Listed`."""
    if isinstance(value, dict):
        return all(in_dicts(member) for member in value.values())
    if isinstance(value, list):
        return not any(isinstance(item, list) for item in value) and all(map(in_dicts, value))
    return True


@given(VALUES.filter(in_dicts))
def test_what_is_written_in_pieces(value: Any) -> None:
    assert "".join(pieces(value)) == text_of(value)
    assert "".join(pieces(lazily(value))) == text_of(value)


def whole(data: bytes, wanted: tuple[str, ...] = ()) -> tuple[Any, dict[str, Any]]:
    """The member `convault`, with what was told of its long arrays put back into their places."""
    found: dict[Path, list[Any]] = {}

    def drop(path: Path) -> None:
        for there in [key for key in found if key[: len(path)] == path]:
            del found[there]

    text, values = thinned(
        data, "convault", wanted, lambda path, item: found.setdefault(path, []).append(item), drop
    )
    content = json.loads(text)
    for path, items in found.items():
        place = content
        for step in path[:-1]:
            place = place[step]
        assert place[path[-1]] == []
        place[path[-1]] = [json.loads(item) for item in items]
    return content, values


@given(VALUES, st.sampled_from([None, 1, "\t"]), st.booleans(), st.integers(1, 40))
def test_what_is_read_in_pieces(value: Any, indent: Any, sort: bool, window: int) -> None:
    text = json.dumps(value, indent=indent, sort_keys=sort, ensure_ascii=sort)
    data = f" \n{text}\r\n".encode("utf-8", "surrogatepass")
    content = value.get("convault") if isinstance(value, dict) else None
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(manifest_reading, "WINDOW", window)
        if isinstance(value, dict):
            names = list(json.loads(text))
            assert members(data, ["x"]) == (names, {k: v for k, v in value.items() if k == "x"})
        else:
            with pytest.raises(ValueError, match="where one belongs"):
                members(data)
        if isinstance(content, dict):
            wanted = {k: v for k, v in content.items() if k in ("format", "x")}
            assert whole(data, ("format", "x")) == (content, wanted)
        else:
            with pytest.raises((ValueError, KeyError)):
                whole(data)


PAIRS = st.recursive(
    st.integers(0, 3) | st.just("a"),
    lambda inner: (
        st.lists(inner, max_size=3) | st.lists(st.tuples(NAMES, inner), max_size=5).map(Pairs)
    ),
    max_leaves=25,
)
"""objects of which a name may be there twice"""


@given(PAIRS, st.integers(1, 40))
def test_of_two_members_of_a_name_the_last_counts(value: Any, window: int) -> None:
    data = said(value).encode()
    expected = json.loads(data)
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(manifest_reading, "WINDOW", window)
        if isinstance(expected, dict):
            assert members(data)[0] == list(expected)
        content = expected.get("convault") if isinstance(expected, dict) else None
        if isinstance(content, dict):
            assert whole(data)[0] == content
        else:
            with pytest.raises((ValueError, KeyError)):
                whole(data)


@pytest.mark.parametrize(
    "text",
    [
        "", "{", "[]", "null", '{"convault"}', '{"convault": {}', '{"convault": {}} x', "{,}",
        '{"convault": {},}', '{"convault": {"a" 1}}', '{1: 2, "convault": {}}', "{'convault': {}}",
        '{"convault": {}} {}', '{"convault": []}', '{"resources": [1 2], "convault": {}}',
        '{"resources": [1,], "convault": {}}', '{"convault": {"x": "\n"}}', '{"other": {}}',
        '{"convault": {"tables": [}}', "[" * 100_000, '{"convault":' * 5000,
    ],
)  # fmt: skip
def test_what_is_no_json_or_has_no_such_member(text: str) -> None:
    with pytest.raises((ValueError, KeyError, TypeError, RecursionError)):
        whole(text.encode())


def test_of_a_manifest_the_last_members_count_and_what_is_malformed_is_named() -> None:
    data = manifest_of(3).to_bytes()
    read = Manifest.from_bytes(data, where="here")
    # An array that does not count may hold anything; what lies between two of a name stays.
    for twice in (b'"parts": [5, {}], "ranges": [7], "parts": [', b'"parts": null, "parts": ['):
        changed = data.replace(b'"parts": [', twice, 1)
        assert changed != data
        assert Manifest.from_bytes(changed, where="here") == read
    ends = data.replace(b'"tables": [', b'"tables": [{"parts": [{}]}], "tables": [', 1)
    assert Manifest.from_bytes(ends, where="here") == read
    rows = data.replace(b'"rows": 19000', b'"rows": -1')
    with pytest.raises(RepositoryError) as caught:
        Manifest.from_bytes(rows, where="here")
    assert "(tables.0.parts.0.rows; tables.0.parts.1.rows; tables.0.parts.2.rows; " in str(
        caught.value
    )
    assert "tables.0.ranges.1.rows)" in str(caught.value)
    newer = rows.replace(b'"format": 1', b'"format": 2')
    with pytest.raises(RepositoryError, match="upgrade Convault"):
        Manifest.from_bytes(newer, where="here")


def test_a_manifest_is_written_as_the_whole_would_be_and_takes_little_memory() -> None:
    manifest = manifest_of(2000)
    tracemalloc.start()
    try:
        data = manifest.to_bytes()
        written = tracemalloc.get_traced_memory()[1]
        signed, signing = _peak(lambda: KEYS.sign(data))
        found, checking = _peak(lambda: KEYS.check(signed))
        read, reading = _peak(lambda: Manifest.from_bytes(signed, where="here"))
    finally:
        tracemalloc.stop()
    assert (found, read) == (Signature.SIGNED, manifest)
    assert manifest.signed(KEYS) == signed
    assert manifest.signed(SigningKeys()) == data
    assert json.dumps(json.loads(data), ensure_ascii=False, indent=1).encode() + b"\n" == data
    # With a dict for each entry it was 8.8 times its bytes to write, and 4.2 to read or to check.
    assert written < 2.5 * len(data)
    assert signing < 2.3 * len(data), "it, and room to grow"
    assert checking < 4 * manifest_reading.WINDOW < 0.96 * len(data)
    assert reading < 1.5 * len(data), "the entries, and a window"


def _peak(make: Callable[[], Any]) -> tuple[Any, int]:
    """What it makes, and the most bytes that were held for it at a time."""
    before = tracemalloc.get_traced_memory()[0]
    tracemalloc.reset_peak()
    made = make()
    return made, tracemalloc.get_traced_memory()[1] - before


def test_manifests_that_are_nearly_the_same_are_hardly_more_than_one() -> None:
    first = manifest_of(1000).to_bytes()
    second = first.replace(b'"stored_bytes": 3200000', b'"stored_bytes": 3200001', 1)
    assert second != first
    shared = Shared()
    tracemalloc.start()
    try:
        one, alone = _peak(lambda: Manifest.from_bytes(first, where="here", shared=shared))
        held = tracemalloc.get_traced_memory()[0]
        others = [
            Manifest.from_bytes(data, where="here", shared=shared) for data in (first, second)
        ]
        more = tracemalloc.get_traced_memory()[0] - held
    finally:
        tracemalloc.stop()
    assert more < alone / 10
    assert others[0] == one == Manifest.from_bytes(first, where="here")
    assert others[1] == Manifest.from_bytes(second, where="here") != one
    assert sum(a is not b for a, b in zip(one.entries(), others[1].entries(), strict=True)) == 1
