"""The demo's proofs fail when what they prove is not so."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest

from cli.demo_proofs import check_sums, prove_equal
from convault.comparison import TableComparison
from convault.errors import IntegrityError
from convault.manifest import Manifest
from convault.models import TableName

MESSAGES, EVENTS = TableName("public", "messages"), TableName("public", "events")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "messages").mkdir()
    (tmp_path / "schema.sql").write_text("--")
    (tmp_path / "messages" / "00000.ndjson").write_text("{}")
    (tmp_path / "SHA256SUMS").write_text(
        "".join(
            f"{hashlib.sha256((tmp_path / name).read_bytes()).hexdigest()}  {name}\n"
            for name in ("schema.sql", "messages/00000.ndjson")
        )
    )
    return tmp_path


def test_every_file_has_its_digest(folder: Path) -> None:
    assert check_sums(folder) == 2


@pytest.mark.parametrize(
    "harm",
    [
        lambda folder: (folder / "schema.sql").write_text("-+"),
        lambda folder: (folder / "messages" / "00001.ndjson").write_text("{}"),
        lambda folder: (folder / "SHA256SUMS").write_text(""),
    ],
)
def test_a_changed_an_added_or_an_unnamed_file(folder: Path, harm: Callable[[Path], Any]) -> None:
    harm(folder)
    with pytest.raises(IntegrityError):
        check_sums(folder)


def holding(**rows: int) -> Manifest:
    """All that the proof reads of a manifest."""
    tables = [SimpleNamespace(name=TableName("public", n), rows=r) for n, r in rows.items()]
    return cast(Any, SimpleNamespace(restored=tables))


def test_equal_tables() -> None:
    prove_equal(
        [TableComparison(MESSAGES, 5, 0, 0), TableComparison(EVENTS, 0, 0, 0)],
        holding(messages=5, events=0),
    )


@pytest.mark.parametrize(
    "compared",
    [
        [TableComparison(MESSAGES, 5, 1, 0)],
        [TableComparison(MESSAGES, 5, 0, 1)],
        [TableComparison(MESSAGES, 4, 0, 0)],
        [TableComparison(MESSAGES, 5, 0, 0), TableComparison(EVENTS, 0, 0, 0)],
        [TableComparison(EVENTS, 5, 0, 0)],
        [],
    ],
)
def test_anything_else_is_a_failure(compared: list[TableComparison]) -> None:
    with pytest.raises(IntegrityError):
        prove_equal(compared, holding(messages=5))


def test_comparing_nothing_proves_nothing() -> None:
    with pytest.raises(IntegrityError):
        prove_equal([TableComparison(MESSAGES, 0, 0, 0)], holding(messages=0))
