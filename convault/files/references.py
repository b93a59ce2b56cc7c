"""The files that rows point at, gathered from the rows that a backup holds."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field

from convault.files.addresses import Address, Borders, Elsewhere, Reason
from convault.files.columns import FileColumn
from convault.files.several import Unreadable, in_array, in_json

MAX_HOSTS = 1000
"""other hosts that are told apart: whoever writes messages can name any number"""

Value = tuple[object, object]
"""what points, and the bucket beside it"""


@dataclass(slots=True)
class References:
    """What rows point at, and how many of each column's rows do. Held in memory: some 500 bytes for
    each file."""

    borders: Borders
    columns: tuple[FileColumn, ...]
    files: dict[Address, Counter[int]] = field(default_factory=dict)
    """rows by the number of the column; none for what only a listing names"""
    elsewhere: dict[Elsewhere, Counter[int]] = field(default_factory=dict)
    listed: tuple[str, ...] = ()
    """buckets of which every file is wanted"""

    def anew(self) -> References:
        """The same, with nothing gathered."""
        return References(self.borders, self.columns, listed=self.listed)

    def add(self, column: int, values: Iterable[Value]) -> None:
        """What stands in rows of the column of that number; NULL and nothing point at nothing."""
        this = self.columns[column]
        for value, beside in values:
            if value in (None, ""):
                continue
            for place in self._places(this, str(value), beside):
                self._count(column, place)

    def _places(
        self, column: FileColumn, text: str, beside: object
    ) -> Iterator[Address | Elsewhere]:
        """Where a value leads, whatever the type of a column that a setting named."""
        bucket = column.bucket or (None if beside is None else str(beside))
        try:
            if column.form == "json":
                for pointer in in_json(text, paths=column.is_path):
                    if pointer.is_path:
                        yield self.borders.of_path(pointer.bucket or bucket, pointer.text)
                    else:
                        yield self.borders.of_url(pointer.text)
                return
            for one in in_array(text) if column.form == "array" else (text,):
                if one and column.is_path:
                    yield self.borders.of_path(bucket, one)
                elif one:
                    yield self.borders.of_url(one)
        except Unreadable:
            yield Elsewhere(Reason.MALFORMED)

    def _count(self, column: int, place: Address | Elsewhere) -> None:
        if isinstance(place, Address):
            self.files.setdefault(place, Counter())[column] += 1
        else:
            self.elsewhere.setdefault(self._bounded(place), Counter())[column] += 1

    def add_listed(self, bucket: str, paths: Iterable[str]) -> int:
        """Files of a bucket, whether rows point at them or not; how many names cannot be kept."""
        refused = 0
        for path in paths:
            place = self.borders.of_path(bucket, path)
            if isinstance(place, Address) and place == (bucket, path):
                self.files.setdefault(place, Counter())
            elif not isinstance(place, Elsewhere) or place.reason is not Reason.OWN_STORE:
                refused += 1
        return refused

    def rows(self, column: int) -> int:
        """How many rows of the column point at something; where one may point at several files,
        how often they do."""
        places = (*self.files.values(), *self.elsewhere.values())
        return sum(counts[column] for counts in places)

    def buckets(self) -> Iterator[str]:
        """Those that files are copied from, each once."""
        yield from dict.fromkeys([*(address.bucket for address in self.files), *self.listed])

    def _bounded(self, place: Elsewhere) -> Elsewhere:
        if place in self.elsewhere or len(self.elsewhere) < MAX_HOSTS:
            return place
        # Files of this project that are left alone are told by their address, whatever their
        # number; of other hosts the rest is one.
        return place._replace(host="") if place.address is None else place
