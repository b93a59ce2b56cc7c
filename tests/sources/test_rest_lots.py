"""Lots of rows by key, from a server that misbehaves: in memory, where it can be told to."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, cast

import pytest

from convault.errors import IncompleteBackup
from convault.models import Column, ForeignKey, Table, TableName
from convault.sources.rest import lots
from convault.sources.rest.api import NoSuchValue, Page, RestApi
from tests.sources.postgrest_grammar import read

T = TableName("public", "t")
TABLE = Table(T, 1, "r", (Column("id", 1, "smallint", "integer", True, "", ""),), ("id",), ())
KEY = ForeignKey("f", T, ("id",), T, ("id",))


@dataclass
class Server:
    """Has rows of one column, and gives `max_rows` at most."""

    ids: list[int]
    max_rows: int = 3
    hidden: int = 0
    """rows that are counted and not shown"""
    asked: list[Mapping[str, str]] = field(default_factory=list)

    def _matching(self, params: Mapping[str, str]) -> list[int]:
        ((_, operator, wanted),) = read(params["and"], "trees")
        values = [int(v) for v in (wanted if operator == "in" else [wanted])]
        if any(abs(value) > 32767 for value in values):
            raise NoSuchValue("22003")
        return sorted(id_ for id_ in self.ids if id_ in values)

    def page(self, table: TableName, params: Mapping[str, str], *, most: int) -> Page:
        self.asked.append(params)
        found = self._matching(params)
        if "or" in params:
            ((_, _, last),) = read(params["or"], "trees")
            found = [id_ for id_ in found if id_ > int(last)]
        shown = found[: min(self.max_rows, int(params["limit"]))]
        rows: list[dict[str, Any]] = [{"_c0": str(id_), "_k0": str(id_)} for id_ in shown]
        return Page(rows, 10 * len(rows), "")

    def count(self, table: TableName, column: str, where: Mapping[str, str]) -> int:
        return len(self._matching(where)) + self.hidden


def found(server: Server, lot: lots.Lot) -> list[str]:
    api = cast("RestApi", server)
    return [key for some in lots.read(api, TABLE, "_k0:id", lot) for (key,) in some.keys]


def lot(ids: range | list[int], *, unique: bool) -> lots.Lot:
    (made,) = lots.lots_of(("id",), [(str(id_),) for id_ in ids], KEY, unique=unique)
    return made


@pytest.mark.parametrize("unique", [True, False])
def test_a_server_that_gives_few_rows_gives_all(unique: bool) -> None:
    server = Server(list(range(50)), max_rows=3)
    assert found(server, lot(range(10, 20), unique=unique)) == [str(n) for n in range(10, 20)]
    # Of keys that have one row each, no further page is asked for when all are there.
    assert len(server.asked) == (4 if unique else 5)


def test_rows_that_are_counted_and_not_shown_are_told() -> None:
    with pytest.raises(IncompleteBackup, match=r"counts 4 rows in public\.t and shows 3"):
        found(Server([1, 2, 3], hidden=1), lot([1, 2, 3], unique=False))


@pytest.mark.parametrize("unique", [True, False])
def test_what_a_narrower_column_cannot_hold_is_in_none_of_its_rows(unique: bool) -> None:
    server = Server([1, 2, 3, 4])
    assert sorted(found(server, lot([1, 99999, 3, 4, 88888], unique=unique))) == ["1", "3", "4"]
    with pytest.raises(NoSuchValue):
        found(server, lots.Lot(("id",), (("99999",),)))
