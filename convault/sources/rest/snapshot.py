"""The rows of a project as its pages show them, and the proof that none is missing.

First every table is read in the order of its primary key. Then (`late`) each is counted again;
where the count is not what was read, the keys alone are read once more, and rows that came in
behind the page that was being read are fetched by key. What rows refer to and was not read is
fetched by key, too, until nothing is left. So whatever was there all the time is in the backup, and
so is what its rows refer to; what was deleted meanwhile is told.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

import pyarrow as pa

from convault.belonging import belonging
from convault.dataset import own_tables
from convault.errors import IncompleteBackup, UnsupportedSource
from convault.models import (
    Dataset,
    ForeignKey,
    Range,
    Selection,
    SourceFacts,
    Statement,
    Table,
    TableName,
)
from convault.omissions import Outsider, unreachable
from convault.omissions import warnings as warnings_of
from convault.per_page import LACKS, Missing, Reading
from convault.per_page import warnings as read_warnings
from convault.range_keys import Fingerprint, Provenance
from convault.row_digest import Counted
from convault.scope import Scope
from convault.sources.rest import asking, tables
from convault.sources.rest.api import RestApi
from convault.sources.rest.asking import Key
from convault.sources.rest.described import Description
from convault.sources.rest.holding import followed, holdings
from convault.sources.rest.paging import by_key, pages
from convault.sources.rest.rows import (
    Conversations,
    as_batch,
    hashed,
    keys_of,
    lacking,
    together,
    values_of,
)

_ROW_BYTES = 500
"""of a row, guessed, for the packing of work alone"""
_LOOKS = 3
"""how often a table that keeps changing is compared with its keys"""
_NO_KEY = "read by REST, which shows no versions of rows"


@dataclass(frozen=True, slots=True)
class Wanted:
    """Rows to be fetched by key."""

    names: tuple[str, ...]
    keys: tuple[Key, ...]
    because: ForeignKey | None
    """that leads to them; None for rows that came in late"""


class RestSnapshot:
    """Implements `sources.base.Snapshot`, without a snapshot."""

    consistency: Literal["snapshot", "per-page"] = "per-page"
    lacks = LACKS
    selection: Selection | None = None
    page_bytes = 1

    def __init__(
        self, api: RestApi, facts: SourceFacts, description: Description, dataset: Dataset,
        scope: Scope,
    ) -> None:  # fmt: skip
        self.facts = facts
        self.dataset = dataset
        self._api = api
        self._description = description
        names = {table.name for table in dataset.tables}
        names |= {absence.table for absence in dataset.absent}
        # Convault's own are nobody's to miss.
        names |= own_tables(relation.name for relation in description.relations)
        outsiders = [
            Outsider(r.name, tuple(column.name for column in r.columns))
            for r in description.relations
            if r.name not in names and not r.is_view
        ]
        self.not_included = tuple(outsider.name for outsider in outsiders)
        self._told = (
            "Rows are read by REST, page by page: there is no snapshot, and of the schema only "
            "tables, types, primary and simple foreign keys are known. DATABASE_URL gives both.",
            *warnings_of(dataset, outsiders),
            *(unreachable(dataset) if scope.exclude_tables else ()),
            *(
                f"{table}.{column} references {other}, which REST does not expose: that table is "
                "not in the backup."
                for table, column, other in description.outside
                if table in names
            ),
        )
        self._holdings = holdings(dataset)
        self._conversations = {
            table.name: Conversations(dataset, table, belonging(dataset, table.name))
            for table in dataset.tables
        }
        self._wanted: dict[Range, list[Wanted]] = {}
        self._round = 0
        self._asked: dict[ForeignKey, list[Key]] = defaultdict(list)
        self._gone: dict[ForeignKey, set[Key]] = defaultdict(set)
        self._unknown: dict[ForeignKey, int] = {}
        for table in dataset.tables:
            self._holdings[table.name].counted_before = self._count(table)

    @property
    def statements(self) -> tuple[Statement, ...]:
        """See `sources.base.Snapshot`. Keys that lead nowhere are asked of new rows only."""
        return tables.statements(self._description, self.dataset, set(self._lost()))

    @property
    def warnings(self) -> tuple[str, ...]:
        """See `sources.base.Snapshot`; they grow while rows are read."""
        return (*self._told, *read_warnings(self.readings()))

    def readings(self) -> dict[TableName, Reading]:
        """How each table was read, once it was."""
        found = {}
        for name, held in self._holdings.items():
            first, last = held.times()
            found[name] = Reading(
                first or self.facts.taken_at,
                last or self.facts.taken_at,
                held.counted_before,
                held.counted_after,
                held.late,
                held.gone,
                tuple(
                    Missing(key.columns, key.references, values)
                    for key, values in self._lost().items()
                    if key.table == name
                ),
            )
        return found

    def _lost(self) -> dict[ForeignKey, int]:
        """By key, how many values lead nowhere."""
        return {
            key: values
            for key in followed(self.dataset)
            if (values := len(self._gone[key]) + self._unknown.get(key, 0))
        }

    def ranges(self, table: Table) -> Sequence[Range]:
        """All pages of the table are one range: its rows in the order of their keys."""
        return [Range(table.name, 0, 1)]

    def heap_bytes(self, table: Table) -> int:
        """One: there are no heap pages."""
        return 1

    def total_bytes(self, table: Table) -> int:
        """A guess."""
        return 1 + _ROW_BYTES * self._holdings[table.name].counted_before

    def pages(self, range_: Range) -> int | None:
        """None: all rows are read."""
        return None

    def provenance(self, table: Table) -> Provenance:
        """None that could be told."""
        return Provenance({}, _NO_KEY)

    def fingerprint(self, range_: Range, *, digested: bool = False) -> Fingerprint:
        """ValueError: `provenance` says why."""
        raise ValueError(_NO_KEY)

    def range_digest(self, range_: Range) -> Counted:
        """ValueError: a range without a key has none."""
        raise ValueError(_NO_KEY)

    def unsettled(self) -> str:
        """'': there are no keys to be compared later."""
        return ""

    def check_alive(self) -> None:
        """Nothing is held that could be lost."""

    def read(self, range_: Range, *, skip_rows: int = 0) -> Iterator[pa.RecordBatch]:
        """See `sources.base.Snapshot`. After an error it goes on behind the last row that was
        handed over, by its key."""
        table = self.dataset.table(range_.table)
        place = self._holdings[table.name].rewind(range_, skip_rows)
        if range_ in self._wanted:
            yield from self._read_wanted(table, range_, place if isinstance(place, int) else 0)
        else:
            yield from self._read_pages(table, range_, place if isinstance(place, tuple) else None)

    def _read_pages(
        self, table: Table, range_: Range, after: Key | None
    ) -> Iterator[pa.RecordBatch]:
        held, conversations = self._holdings[table.name], self._conversations[table.name]
        for keys, page in pages(self._api, table, self._select(table), after):
            batch = as_batch(page.rows, table, conversations.of(page.rows))
            held.add(range_, keys, keys[-1], page)
            yield batch
        held.finished = True

    def _read_wanted(self, table: Table, range_: Range, first: int) -> Iterator[pa.RecordBatch]:
        held, conversations = self._holdings[table.name], self._conversations[table.name]
        lots = [
            (wanted, lot)
            for wanted in self._wanted[range_]
            for lot in asking.batches(wanted.names, wanted.keys)
        ]
        for number, (wanted, lot) in enumerate(lots[first:], first + 1):
            answered: set[Key] = set()
            rows_found = 0
            for page in by_key(self._api, table, self._select(table), wanted.names, lot):
                answered.update(
                    keys_of(page.rows, table)
                    if wanted.because is None
                    else values_of(page.rows, table, wanted.names)
                )
                rows_found += len(page.rows)
                keys = keys_of(page.rows, table)
                # By another key a row may be found that is held already.
                known = set(lacking(hashed(keys), held.own()))
                fresh = [n for n, own in enumerate(hashed(keys)) if own in known]
                if fresh:
                    rows = [page.rows[n] for n in fresh]
                    batch = as_batch(rows, table, conversations.of(rows))
                    some = page._replace(rows=rows)
                    # After an error the lot is asked for again: what is held of it is known.
                    held.add(range_, [keys[n] for n in fresh], number - 1, some)
                    yield batch
            # Of equal numbers the texts may differ (1.0 and 1.00): as many rows, and none is gone.
            if wanted.because is not None and rows_found < len(lot):
                self._gone[wanted.because].update(key for key in lot if key not in answered)

    def column_values(self, table: Table, columns: Sequence[str]) -> Iterator[pa.RecordBatch]:
        """UnsupportedSource: a second reading would find other values than the first
        (`require_possible` refuses what would need it)."""
        raise UnsupportedSource(
            f"The columns {', '.join(columns)} of {table.name} cannot be read once more by REST, "
            "because there is no snapshot. Set DATABASE_URL.",
            table=table.name,
        )

    def count(self, table: Table) -> int:
        """Rows that are held, each key once."""
        return len(self._holdings[table.name].own())

    def counted(self, table: Table) -> Counted:
        """The same. The REST API computes no digest."""
        return Counted(self.count(table), None)

    def share(self, ranges: Sequence[Range]) -> None:
        """None: there is nothing to share."""

    def late(self) -> Sequence[Range]:
        """Ranges that are still to be read, when all before were; none when nothing is missing.
        IncompleteBackup when the server shows fewer rows than it counts."""
        wanted: dict[TableName, list[Wanted]] = defaultdict(list)
        if self._round == 0:
            for table in self.dataset.tables:
                missed = self._compared(table)
                if missed:
                    wanted[table.name].append(Wanted(table.primary_key, tuple(missed), None))
        for key in followed(self.dataset):
            values = self._unread(key)
            if values:
                wanted[key.references].append(Wanted(key.referenced_columns, values, key))
        self._round += 1
        made = []
        for name, items in wanted.items():
            range_ = Range(name, self._round, self._round + 1)
            self._wanted[range_] = items
            made.append(range_)
        return made

    def _compared(self, table: Table) -> list[Key]:
        """Keys of rows that are there and were not read, found when the count says that there may
        be some."""
        held = self._holdings[table.name]
        if not held.finished:
            raise IncompleteBackup(f"{table.name} was not read to its end.", table=table.name)
        own = held.own()
        held.counted_after = self._count(table)
        if held.counted_after == len(own):
            return []
        for _ in range(_LOOKS):
            before = self._count(table)
            missed: list[Key] = []
            seen = []
            for keys, _page in pages(self._api, table, asking.as_key(table.primary_key)):
                found = hashed(keys)
                new = set(lacking(found, own))
                missed += [key for key, this in zip(keys, found, strict=True) if this in new]
                seen.append(found)
            there = together(seen)
            held.counted_after = self._count(table)
            if len(there) >= min(before, held.counted_after):
                held.gone = len(lacking(own, there))
                return missed
        raise IncompleteBackup(
            f"The REST API counts {held.counted_after} rows in {table.name} and shows "
            f"{len(there)}: rows are missing, and nothing says why. Nothing was committed. Set "
            "DATABASE_URL, or see what stands between the API and Convault.",
            table=table.name,
            expected=held.counted_after,
            got=len(there),
        )

    def _unread(self, key: ForeignKey) -> tuple[Key, ...]:
        """Values by which rows refer to rows that were not read, and that were not asked for
        yet."""
        refer, held = self._holdings[key.table], self._holdings[key.references]
        missing = lacking(refer.of(key.columns), held.of(key.referenced_columns))
        missing = lacking(missing, hashed(self._asked[key]))
        if not len(missing):
            return ()
        unread, found = set(missing), dict[Key, None]()
        table = self.dataset.table(key.table)
        for _, page in pages(self._api, table, self._select(table, key.columns)):
            values = values_of(page.rows, table, key.columns)
            found |= {
                value: None
                for value, this in zip(values, hashed(values), strict=True)
                if this in unread
            }
        # Values that no row has any more: what was read refers to something that nobody knows.
        self._unknown[key] = len(lacking(missing, hashed(list(found))))
        self._asked[key] += found
        return tuple(found)

    def _select(self, table: Table, only: Sequence[str] | None = None) -> str:
        columns = [
            asking.selected(column, f"_c{n}")
            for n, column in enumerate(table.columns)
            if not column.mask and (only is None or column.name in only)
        ]
        belongs = self._conversations[table.name].select if only is None else ""
        return ",".join([*columns, asking.as_key(table.primary_key)]) + belongs

    def _count(self, table: Table) -> int:
        return self._api.count(table.name, asking.named(table.primary_key[0]))
