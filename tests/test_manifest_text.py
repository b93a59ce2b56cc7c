"""JSON of manifests by pieces: the same as by the whole, whatever it is."""

from __future__ import annotations

import json
import tracemalloc
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from benchmarks.manifest_size import manifest_of
from convault.manifest import Manifest
from convault.manifest_text import Listed, member_of, pieces, text_of

NAMES = st.sampled_from(["convault", "tables", "parts", "resources", "files", "format", "x", "é\n"])
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text() | st.floats(allow_nan=False),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(NAMES, inner, max_size=5),
    max_leaves=30,
)


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


@given(VALUES, st.sampled_from([None, 1, "\t"]), st.booleans())
def test_what_is_read_in_pieces(value: Any, indent: Any, sort: bool) -> None:
    text = json.dumps(value, indent=indent, sort_keys=sort, ensure_ascii=sort)
    data = f" \n{text}\r\n".encode()
    content = value.get("convault") if isinstance(value, dict) else None
    if isinstance(content, dict):
        found, wanted = member_of(data, "convault", ("format", "x"))
        assert json.loads(found) == content
        assert wanted == {k: v for k, v in content.items() if k in ("format", "x")}
    else:
        with pytest.raises((ValueError, KeyError, TypeError)):
            member_of(data, "convault", ())


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
        member_of(text.encode(), "convault", ())


def test_of_two_members_the_last_counts() -> None:
    data = b'{"convault": {"format": 1, "y": 1}, "convault": {"format": 2, "format": 3}}'
    assert member_of(data, "convault", ("format", "y")) == (
        '{"format": 2, "format": 3}', {"format": 3},
    )  # fmt: skip


def test_a_manifest_is_written_as_the_whole_would_be_and_takes_little_memory() -> None:
    manifest = manifest_of(2000)
    tracemalloc.start()
    try:
        data = manifest.to_bytes()
        written = tracemalloc.get_traced_memory()[1]
        tracemalloc.reset_peak()
        read = Manifest.from_bytes(data, where="here")
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert read == manifest
    assert json.dumps(json.loads(data), ensure_ascii=False, indent=1).encode() + b"\n" == data
    # With a dict for each entry it was 8.8 times its bytes to write, and 4.2 to read.
    assert written < 2.5 * len(data)
    assert peak < 3.5 * len(data)
