"""Entries of a manifest's long arrays, checked one by one as they are read (`manifest_reading`)."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from weakref import WeakValueDictionary

from pydantic import BaseModel, ValidationError

from convault.manifest_reading import Path

TOLD = 5
"""malformed places that are named"""
SHARED = frozenset({"parts", "ranges"})
"""arrays whose entries many backups have; those of files may hold what cannot be hashed"""


class Shared:
    """Entries of which equal ones are one, as long as somebody keeps it: backups that take over
    parts tell nearly the same of them. Threads may share it."""

    def __init__(self, known: Iterable[BaseModel] = ()) -> None:
        self._alive: WeakValueDictionary[int, BaseModel] = WeakValueDictionary()
        for entry in known:
            self.one(entry)

    def one(self, entry: BaseModel) -> BaseModel:
        """An entry that is equal: another one, if there is one."""
        key = hash(entry)
        there = self._alive.get(key)
        if there is not None and there == entry:
            return there
        self._alive[key] = entry
        return entry


class Entries:
    """What was read so far."""

    def __init__(
        self, kinds: Mapping[str | int, type[BaseModel]], shared: Shared | None = None
    ) -> None:
        """`kinds`: what the items of an array of that name are; with `shared`, equal ones are one
        object."""
        self._kinds = kinds
        self._shared = shared
        self._found: dict[Path, list[BaseModel]] = {}
        self._numbers: dict[Path, int] = {}
        """of the last entry"""
        self._faults: dict[Path, list[str]] = {}

    def take(self, path: Path, text: str) -> None:
        """Keep an entry, or where it is malformed."""
        number = self._numbers[path] = self._numbers.get(path, -1) + 1
        try:
            entry = self._kinds[path[-1]].model_validate_json(text, strict=True)
        except ValidationError as error:
            faults = self._faults.setdefault(path, [])
            if len(faults) < TOLD:
                faults += places(error, (*path, number))
            return
        if self._shared is not None and path[-1] in SHARED:
            entry = self._shared.one(entry)
        self._found.setdefault(path, []).append(entry)

    def drop(self, path: Path) -> None:
        """Forget what was kept of an array, or of those below: another one of its name follows."""
        for kept in (self._found, self._numbers, self._faults):
            for there in [key for key in kept if key[: len(path)] == path]:
                del kept[there]

    def of(self, path: Path) -> Sequence[BaseModel]:
        """Those of an array, none where there is no such array."""
        return self._found.get(path, ())

    @property
    def malformed(self) -> list[str]:
        """Where entries are, for a terminal."""
        return [place for faults in self._faults.values() for place in faults]


def places(error: ValidationError, within: Path = ()) -> list[str]:
    """Where a value is malformed. Names may be in it that a forger chose: for a terminal,
    escaped."""
    found = [".".join(map(str, (*within, *told["loc"]))) for told in error.errors()[:TOLD]]
    return [ascii(place)[1:-1][:80] for place in found]
