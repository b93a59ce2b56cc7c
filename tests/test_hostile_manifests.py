"""Whatever a manifest is changed into: it is refused, or what it says can harm nobody."""

from __future__ import annotations

import json
import re
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from convault import layout
from convault.archive.composed import members_of
from convault.errors import RepositoryError
from convault.manifest import Manifest
from convault.models import MAX_PART_BYTES
from convault.names import table_path
from convault.stores.base import Store
from convault.verification.holdings import read_holdings
from convault.verification.reading import read_back
from tests.handmade import BACKUP, new_backup, new_repository

REPOSITORY = new_repository()
MANIFEST = new_backup(
    REPOSITORY, files={("media", "a.jpg"): b"one", ("media", "B/ç"): b"two", ("a", "b"): b"one"}
)
DATA = json.loads(MANIFEST.to_bytes())
OBJECTS = {info.key: REPOSITORY.store.get(info.key) for info in REPOSITORY.store.list()}

HOSTILE = st.sampled_from(
    ["../../etc/passwd", "/etc/passwd", "data/../convault.json", "convault.json", "a\0b", "a\nb",
     "", ".", "C:\\x", "con", "\u202e", "é" * 300, "x" * 100_000, "9" * 400, 0, -1, 2**31, 2**32,
     2**53, 2**63 - 1, 2**63, 2**64, 10**100, 0.5, 1e300, True, None, [], {}, [[]], [None] * 50]
)  # fmt: skip
SAFE_KEY = re.compile(
    r"(?:data|backups)/[a-z0-9=_-]+(?:/[a-zA-Z0-9=_-]+)?/[a-zA-Z0-9_.-]+|files/[0-9a-f]{64}"
)


@st.composite
def mutated(draw: st.DrawFn) -> dict[str, Any]:
    """One to three changes: a value replaced, doubled, removed, or exchanged for another one."""
    content: Any = json.loads(json.dumps(DATA))
    for _ in range(draw(st.integers(1, 3))):
        node = content["convault"]
        while True:
            places = list(node) if isinstance(node, dict) else list(range(len(node)))
            place = draw(st.sampled_from(places))
            inner = node[place]
            if isinstance(inner, dict | list) and inner and draw(st.integers(0, 9)):
                node = inner
                continue
            break
        what = draw(st.sampled_from(["replace", "double", "remove", "exchange", "add"]))
        other = draw(st.sampled_from(places))
        if what == "replace":
            node[place] = draw(HOSTILE)
        elif what == "double" and isinstance(node, list):
            node.append(node[place])
        elif what == "remove" and len(places) > 1:
            del node[place]
        elif what == "exchange":
            node[place], node[other] = node[other], node[place]
        elif isinstance(node, dict):
            node[draw(st.sampled_from(["files", "erasures", "key", "x", "../y"]))] = draw(HOSTILE)
    return dict(content)


def harmless(manifest: Manifest) -> None:
    """What every reader relies on, said by hand."""
    keys = set()
    for key, size in manifest.objects().items():
        assert SAFE_KEY.fullmatch(key), key
        assert ".." not in key.split("/")
        assert 0 <= size < 2**63
        keys.add(key)
    assert set(manifest.digests()) == keys
    paths = [member.path for member in members_of(manifest)]
    assert len(set(paths)) == len(paths)
    assert not any(path.startswith("/") or ".." in path.split("/") for path in paths)
    for table in manifest.tables:
        assert sum(part.rows for part in table.parts) == table.rows
        spans = {(p.first_page, p.end_page, p.ordinal) for p in table.parts}
        assert len(spans) == len(table.parts), "a part stands twice"
        for part in table.parts:
            assert part.key.startswith(f"data/{table_path(table.name)}/")
            assert part.plain_bytes <= MAX_PART_BYTES or part.rows == 1
            assert part.plain_bytes < 7 * 2**30
        names = [column.name for column in table.columns]
        assert len(set(names)) == len(names)


@settings(max_examples=400)
@given(mutated())
def test_a_mutated_manifest_is_refused_or_harmless(content: dict[str, Any]) -> None:
    refused_or_harmless(json.dumps(content))


def refused_or_harmless(text: str) -> None:
    refusal = "backups/x: refused"
    try:
        manifest = Manifest.from_bytes(text.encode(), where="backups/x")
    except RepositoryError as error:
        refusal = error.message
    else:
        harmless(manifest)
    assert "backups/x" in refusal
    assert refusal.isprintable()
    assert len(refusal) < 1500


class _Watched:
    """A store that counts what is asked of it, and never writes."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self.asked: list[str] = []
        self.url = store.url

    def __getattr__(self, name: str) -> Any:
        if name in {"put", "replace", "delete"}:
            raise AssertionError(f"{name} was called")
        if name in {"get", "stream", "head"}:
            return lambda key, *range_: (
                self.asked.append(key) or getattr(self._store, name)(key, *range_)
            )
        return getattr(self._store, name)


@settings(max_examples=100)
@given(mutated())
def test_a_mutated_manifest_is_verified_without_a_crash_or_a_write(content: dict[str, Any]) -> None:
    repository = new_repository()
    for key, data in OBJECTS.items():
        repository.store.put(key, data)
    repository.store.put(layout.manifest_key(BACKUP), json.dumps(content).encode())
    watched = _Watched(repository.store)
    repository.store = watched  # type: ignore[assignment]
    found = read_holdings(repository, [BACKUP], {})
    list(read_back(repository.store, found.needed.values()))
    if found.unreadable:
        assert watched.asked == [layout.manifest_key(BACKUP)], "nothing else is touched"
        assert [finding.backups for finding in found.findings] == [(BACKUP,)]


class _Endless:
    """A store in which the manifest never ends."""

    url = "memory://endless"
    given = 0

    def stream(self, key: str) -> Any:
        while True:
            self.given += 2**20
            yield b" " * 2**20


def test_a_manifest_without_an_end_is_not_read_to_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(layout, "MAX_MANIFEST_BYTES", 5 * 2**20)
    repository = new_repository()
    endless = _Endless()
    repository.store = endless  # type: ignore[assignment]
    with pytest.raises(RepositoryError, match="larger than any manifest"):
        repository.manifest_bytes(BACKUP, 1)
    assert endless.given == 6 * 2**20


@pytest.mark.parametrize("depth", [1_000, 100_000])
def test_nesting_without_an_end_is_refused(depth: int) -> None:
    text = json.dumps(DATA).replace('"options": {', '"options": {"x": ' + "[" * depth, 1)
    with pytest.raises(RepositoryError):
        Manifest.from_bytes(text.encode(), where="test")
    closed = text.replace("[" * depth, "[" * depth + "]" * depth + ", ", 1)
    refused_or_harmless(closed)
