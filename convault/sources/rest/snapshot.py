"""The rows of a project as its pages show them, and the proof that none is missing.

First every table is read in the order of its primary key. Then (`late`) each is counted again;
where the count is not what was read, the keys alone are read once more, and rows that came in
behind the page that was being read are fetched by key. What rows refer to and was not read is
fetched by key, too, until nothing is left. So whatever was there all the time is in the backup, and
so is what its rows refer to; what was deleted meanwhile is told.

Of a filtered backup the rows of the root that the filters give are read first, and then, round by
round, what belongs to them and what they refer to (`selecting`).
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Sequence
from typing import Literal

import pyarrow as pa

from convault.dataset.belonging import belonging
from convault.dataset.filters import absent_ids, facts_of
from convault.dataset.omissions import Outsider, unreachable
from convault.dataset.omissions import warnings as warnings_of
from convault.dataset.scope import Scope
from convault.dataset.tables import own_tables
from convault.errors import IncompleteBackup
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
from convault.per_page import LACKS, Missing, Reading
from convault.per_page import warnings as read_warnings
from convault.ranges.range_keys import Fingerprint, Provenance
from convault.ranges.row_digest import Counted
from convault.sources.rest import asking, lots, tables
from convault.sources.rest.api import RestApi
from convault.sources.rest.asking import Key
from convault.sources.rest.described import Description
from convault.sources.rest.digesting import can_digest
from convault.sources.rest.filtering import RootFilter, require_comparable
from convault.sources.rest.holding import followed, holdings
from convault.sources.rest.lots import Lot
from convault.sources.rest.paging import pages
from convault.sources.rest.rows import (
    Conversations,
    as_batch,
    hashed,
    lacking,
    together,
    values_of,
)
from convault.sources.rest.selecting import Selecting

_ROW_BYTES = 500
"""of a row, guessed, for the packing of work alone"""
_NO_KEY = "read by REST, which shows no versions of rows"


class RestSnapshot:
    """Implements `sources.base.Snapshot`, without a snapshot."""

    consistency: Literal["snapshot", "per-page"] = "per-page"
    lacks = LACKS
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
        filters = scope.filters
        self._holdings = holdings(dataset, selecting=bool(filters.kinds))
        for relation in description.relations:
            if relation.name in self._holdings:
                held = self._holdings[relation.name]
                enums = {c.name for c in relation.columns if relation.labels.get(c.name)}
                enums -= {c.name for c in relation.columns if c.type.endswith("[]")}
                held.digests = can_digest(held.table.columns, enums)
        self._selecting: Selecting | None = None
        self._filters = filters
        self._conversations = {
            table.name: Conversations(dataset, table, belonging(dataset, table.name))
            for table in dataset.tables
        }
        self._wanted: dict[Range, list[Lot]] = {}
        self._round = 0
        self._asked: dict[ForeignKey, list[Key]] = defaultdict(list)
        self._gone: dict[ForeignKey, set[Key]] = defaultdict(set)
        self._unknown: dict[ForeignKey, int] = {}
        if filters.kinds:
            self._select_by(RootFilter(api, dataset, filters))
            return
        for table in dataset.tables:
            self._holdings[table.name].counted_before = self._count(table)

    def _select_by(self, root_filter: RootFilter) -> None:
        """Read only what the filter gives, and what belongs to it."""
        assert self.dataset.root is not None
        require_comparable(self.dataset)
        self._selecting = Selecting(self.dataset, self._holdings)
        self._wanted[Range(self.dataset.root, 0, 1)] = root_filter.lots()
        missing = root_filter.missing()
        if missing:
            self._told += (absent_ids(missing, self._filters, self.dataset.root),)

    @property
    def selection(self) -> Selection | None:
        """See `sources.base.Snapshot`; how many conversations there are is known when the first
        range of the root was read."""
        if self._selecting is None:
            return None
        assert self.dataset.root is not None
        read = self._holdings[self.dataset.root].ranges.get(Range(self.dataset.root, 0, 1), [])
        return facts_of(self._filters, sum(batch.rows for batch in read))

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
            if self._selecting is not None:
                # Each condition was counted when it was read (`lots`).
                held.counted_before = held.counted_after = held.rows
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
        """All pages of the table are one range: its rows in the order of their keys. Where rows are
        selected, only the root is read at first."""
        first = Range(table.name, 0, 1)
        return [first] if self._selecting is None or first in self._wanted else []

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

    def let_go(self) -> None:
        """Nothing is held."""

    def read(self, range_: Range, *, skip_rows: int = 0) -> Iterator[pa.RecordBatch]:
        """See `sources.base.Snapshot`. After an error it goes on behind the last row that was
        handed over, by its key."""
        table = self.dataset.table(range_.table)
        place = self._holdings[table.name].rewind(range_, skip_rows)
        if range_ in self._wanted:
            yield from self._read_lots(table, range_, place if isinstance(place, int) else 0)
        elif range_.first_page == 0:
            yield from self._read_pages(table, range_, place if isinstance(place, tuple) else None)
        # What an earlier backup fetched by key, nobody can find again as it was found then.

    def _read_pages(
        self, table: Table, range_: Range, after: Key | None
    ) -> Iterator[pa.RecordBatch]:
        held, conversations = self._holdings[table.name], self._conversations[table.name]
        for keys, page in pages(self._api, table, self._select(table), after):
            batch = as_batch(page.rows, table, conversations.of(page.rows))
            held.add(range_, keys, keys[-1], page, batch)
            yield batch
        held.finished = True

    def _read_lots(self, table: Table, range_: Range, first: int) -> Iterator[pa.RecordBatch]:
        for number, lot in enumerate(self._wanted[range_][first:], first):
            answered: set[Key] = set()
            rows = 0
            for found in lots.read(self._api, table, self._select(table), lot):
                if lot.because is not None:
                    answered.update(values_of(found.page.rows, table, lot.names))
                rows += len(found.keys)
                # After an error the lot is asked for again: what is held of it is known.
                yield from self._fresh(table, range_, number, found)
            # Of equal numbers the texts may differ (1.0 and 1.00): as many rows, and none is gone.
            if lot.unique and lot.because is not None and rows < len(lot.keys):
                self._gone[lot.because].update(key for key in lot.keys if key not in answered)

    def _fresh(
        self, table: Table, range_: Range, number: int, found: lots.Found
    ) -> Iterator[pa.RecordBatch]:
        """Those of the rows that are not held: one may be found by several keys."""
        held, conversations = self._holdings[table.name], self._conversations[table.name]
        fresh = held.fresh(found.keys)
        if not fresh:
            return
        rows = [found.page.rows[n] for n in fresh]
        batch = as_batch(rows, table, conversations.of(rows))
        late = found.again or self._selecting is None
        keys = [found.keys[n] for n in fresh]
        held.add(range_, keys, number, found.page._replace(rows=rows), batch, late=late)
        yield batch

    def note(self, table: Table, columns: Sequence[str]) -> None:
        """See `sources.base.Snapshot`."""
        self._holdings[table.name].noted.add(tuple(columns))

    def column_values(self, table: Table, columns: Sequence[str]) -> Iterator[pa.RecordBatch]:
        """See `sources.base.Snapshot`: as they were handed over. ValueError unless they were
        noted before."""
        held, names = self._holdings[table.name], tuple(columns)
        if names not in held.noted:
            raise ValueError(f"{table.name}: {names} were not noted before rows were read")
        for batch in held.batches():
            yield batch.noted[names]

    def count(self, table: Table) -> int:
        """Rows that are held, each key once."""
        return len(self._holdings[table.name].own())

    def counted(self, table: Table) -> Counted:
        """The same, with the digest of what was handed over."""
        held = self._holdings[table.name]
        # A key that was changed while pages were read may bring a row twice.
        once = self.count(table) == held.rows
        return Counted(self.count(table), held.digest() if once else None)

    def share(self, ranges: Sequence[Range]) -> None:
        """None: there is nothing to share."""

    def late(self) -> Sequence[Range]:
        """Ranges that are still to be read, when all before were; none when nothing is missing.
        IncompleteBackup when the server shows fewer rows than it counts."""
        wanted = self._missed() if self._selecting is None else self._selecting.next()
        self._round += 1
        made = {Range(name, self._round, self._round + 1): found for name, found in wanted.items()}
        self._wanted |= made
        return list(made)

    def _missed(self) -> dict[TableName, list[Lot]]:
        wanted: dict[TableName, list[Lot]] = defaultdict(list)
        if self._round == 0:
            for table in self.dataset.tables:
                missed = self._compared(table)
                wanted[table.name] += lots.lots_of(table.primary_key, missed, unique=True)
        for key in followed(self.dataset):
            values, names = self._unread(key), key.referenced_columns
            wanted[key.references] += lots.lots_of(names, values, key, unique=not key.declared)
        return {name: found for name, found in wanted.items() if found}

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
        for _ in range(lots.LOOKS):
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
        raise lots.hidden(table, held.counted_after, len(there))

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
