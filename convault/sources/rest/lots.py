"""Rows that one condition gives, read to the end and proven to be whole."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

from convault.errors import IncompleteBackup
from convault.models import ForeignKey, Table
from convault.sources.rest import asking
from convault.sources.rest.api import NoSuchValue, Page, RestApi
from convault.sources.rest.asking import Key
from convault.sources.rest.paging import pages
from convault.sources.rest.rows import hashed, together

LOOKS = 3
"""how often rows that keep changing are read, or compared with their keys"""


@dataclass(frozen=True, slots=True)
class Lot:
    """What is asked for in one condition."""

    names: tuple[str, ...] = ()
    keys: tuple[Key, ...] = ()
    """values of these columns, one of which a row must have; none where there are no columns"""
    where: tuple[str, ...] = ()
    """what must hold besides"""
    because: ForeignKey | None = None
    """that leads to these values; None for rows that came late, and for those of a filter"""
    unique: bool = False
    """whether each key is that of one row at most"""

    @property
    def conditions(self) -> tuple[str, ...]:
        """For `asking.where`."""
        return (*self.where, asking.one_of(self.names, self.keys)) if self.names else self.where


def lots_of(
    names: tuple[str, ...], keys: Sequence[Key], because: ForeignKey | None = None, *,
    where: tuple[str, ...] = (), unique: bool = False,
) -> list[Lot]:  # fmt: skip
    """The keys in as many requests as they need."""
    return [Lot(names, tuple(some), where, because, unique) for some in asking.batches(names, keys)]


@dataclass(slots=True)
class Found:
    """A page of a lot."""

    keys: list[Key]
    page: Page
    again: bool
    """whether the lot was read before, and the rows may not have been there yet"""


def read(api: RestApi, table: Table, select: str, lot: Lot) -> Iterator[Found]:
    """Its rows; a row may come twice when it is read again because more were counted than seen.
    IncompleteBackup when the server counts more rows than it shows, whenever it is asked."""
    try:
        if lot.unique:
            for keys, page in pages(
                api, table, select, where=lot.conditions, most=len(lot.keys)
            ):  # fmt: skip
                yield Found(keys, page, again=False)
        else:
            yield from _looked(api, table, select, lot)
    except NoSuchValue:
        # The type on the other side of a key takes more values: none of this one equals it.
        if len(lot.keys) == 1 and lot.because is not None:
            return
        if len(lot.keys) < 2:
            raise
        half = len(lot.keys) // 2
        for some in (lot.keys[:half], lot.keys[half:]):
            yield from read(api, table, select, replace(lot, keys=some))


def _looked(api: RestApi, table: Table, select: str, lot: Lot) -> Iterator[Found]:
    before: int | None = None
    for look in range(LOOKS):
        seen = []
        for keys, page in pages(api, table, select, where=lot.conditions):
            seen.append(hashed(keys))
            yield Found(keys, page, again=look > 0)
        there = len(together(seen))
        counted = api.count(
            table.name, asking.named(table.primary_key[0]), asking.where(lot.conditions)
        )
        if there >= (counted if before is None else min(before, counted)):
            return
        before = counted
    raise hidden(table, before or 0, there)


def hidden(table: Table, counted: int, shown: int) -> IncompleteBackup:
    """For rows that are counted and not shown."""
    return IncompleteBackup(
        f"The REST API counts {counted} rows in {table.name} and shows "
        f"{shown}: rows are missing, and nothing says why. Nothing was committed. Set "
        "DATABASE_URL, or see what stands between the API and Convault.",
        table=table.name,
        expected=counted,
        got=shown,
    )
