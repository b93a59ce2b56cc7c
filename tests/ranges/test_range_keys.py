"""The pure part of range keys: everything that is told of a range changes its key."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from convault.models import BackupFormat, BackupOptions, Range, SourceFacts, TableName
from convault.ranges import range_keys
from convault.ranges.range_keys import Fingerprint, Provenance, obstacle, range_key, writing

FACTS = SourceFacts(
    host="localhost:5432",
    database="app",
    system_identifier="7290000000000000000",
    server_version="18.1",
    snapshot="00000003-1",
    taken_at="2026-03-14T15:09:26+00:00",
    timeline=1,
    database_oid=16384,
    wal_position="0/16B3748",
    next_xid=790,
    started_at="2026-03-01T00:00:00+00:00",
)
PROVENANCE = Provenance({"relation": ["16390", "16390", "heap"], "columns": [["1", "id"]]})
WRITTEN = writing(BackupOptions())
RANGE = Range(TableName("public", "messages"), 0, 2048)
FOUND = Fingerprint(3, ("-12",))
KEY = range_key(FACTS, PROVENANCE, WRITTEN, RANGE, FOUND)

OTHER: dict[str, Callable[[], str]] = {
    **{
        name: (lambda name=name, value=value: range_key(
            replace(FACTS, **{name: value}), PROVENANCE, WRITTEN, RANGE, FOUND))
        for name, value in {"system_identifier": "7290000000000000001", "timeline": 2,
                            "database_oid": 16385, "server_version": "19.0",
                            "started_at": "2026-03-01T00:00:01+00:00"}.items()
    },
    "the table": lambda: range_key(FACTS, Provenance({"relation": []}), WRITTEN, RANGE, FOUND),
    "the level": lambda: range_key(
        FACTS, PROVENANCE, writing(BackupOptions(compression_level=4)), RANGE, FOUND),
    "the format": lambda: range_key(
        FACTS, PROVENANCE, writing(BackupOptions(format=BackupFormat.CSV)), RANGE, FOUND),
    "who can read it": lambda: range_key(
        FACTS, PROVENANCE, writing(BackupOptions(), ["age1a", "age1b"]), RANGE, FOUND),
    "fewer who can": lambda: range_key(
        FACTS, PROVENANCE, writing(BackupOptions(), ["age1a"]), RANGE, FOUND),
    "first page": lambda: range_key(FACTS, PROVENANCE, WRITTEN, replace(RANGE, first_page=1),
                                    FOUND),
    "end page": lambda: range_key(FACTS, PROVENANCE, WRITTEN, replace(RANGE, end_page=None), FOUND),
    "rows": lambda: range_key(FACTS, PROVENANCE, WRITTEN, RANGE, Fingerprint(4, ("-12",))),
    "sum": lambda: range_key(FACTS, PROVENANCE, WRITTEN, RANGE, Fingerprint(3, ("12",))),
    "a second sum": lambda: range_key(FACTS, PROVENANCE, WRITTEN, RANGE,
                                      Fingerprint(3, ("-12", "0"))),
}  # fmt: skip


def test_each_thing_that_is_told_changes_the_key() -> None:
    keys = [make() for make in OTHER.values()]
    assert len({KEY, *keys}) == len(keys) + 1


@pytest.mark.parametrize(
    "facts",
    [
        replace(FACTS, host="elsewhere:5432", database="renamed"),
        replace(FACTS, snapshot="00000009-1", taken_at="2026-03-15T15:09:26+00:00"),
        replace(FACTS, wal_position="0/99B3748", next_xid=99_790),
        replace(FACTS, server_version="18.4 (Debian 18.4-1)"),
    ],
    ids=["where", "when", "how far", "minor version"],
)
def test_what_may_change_without_the_rows_does_not(facts: SourceFacts) -> None:
    assert range_key(facts, PROVENANCE, WRITTEN, RANGE, FOUND) == KEY


def test_the_order_of_the_recipients_means_nothing() -> None:
    assert writing(BackupOptions(), ["b", "a"]) == writing(BackupOptions(), ("a", "b"))


@pytest.mark.parametrize("library", ["polars", "pyarrow", "zstandard", "adbc-driver-postgresql"])
def test_another_version_of_a_library_makes_another_key(
    monkeypatch: pytest.MonkeyPatch, library: str
) -> None:
    version = range_keys.version
    monkeypatch.setattr(
        range_keys, "version", lambda name: "0" if name == library else version(name)
    )
    assert range_key(FACTS, PROVENANCE, writing(BackupOptions()), RANGE, FOUND) != KEY


UNKNOWN = {"system_identifier": "", "timeline": None, "database_oid": None, "started_at": ""}


@pytest.mark.parametrize("name", UNKNOWN)
def test_what_nobody_knows_leaves_no_key(name: str) -> None:
    facts = replace(FACTS, **{name: UNKNOWN[name]})
    assert obstacle(facts, PROVENANCE).startswith("the role may not ask for ")
    with pytest.raises(ValueError, match="can have no key"):
        range_key(facts, PROVENANCE, WRITTEN, RANGE, FOUND)


def test_an_obstacle_of_the_table_leaves_no_key() -> None:
    assert obstacle(FACTS, PROVENANCE) == ""
    assert obstacle(FACTS, Provenance({}, "because")) == "because"


values = st.recursive(
    st.none() | st.text(max_size=3) | st.sampled_from(["1", "null", '"', ",", "[]", "\u2028"]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=2), inner),
    max_leaves=5,
)


@given(st.dictionaries(st.text(max_size=2), values), st.dictionaries(st.text(max_size=2), values))
def test_two_tables_have_two_keys(one: dict[str, Any], other: dict[str, Any]) -> None:
    def key(depends: dict[str, Any]) -> str:
        return range_key(FACTS, Provenance(depends), WRITTEN, RANGE, FOUND)

    assert (key(one) == key(other)) == (one == other)
    assert key(one) == key(dict(reversed(one.items())))
