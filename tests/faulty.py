"""A store that fails on purpose, and one that tries again: what a run must get over."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from enum import StrEnum
from threading import Lock
from typing import BinaryIO, TypeVar

from convault.errors import StoreUnavailable
from convault.stores.base import ObjectInfo, Store

T = TypeVar("T")


class Fault(StrEnum):
    FAIL = "fails before anything is done"
    ANSWER_LOST = "is done, but answered with an error"
    CUT = "a read that ends early, without an error"


class Plan:
    """Which call of which operation on which key goes wrong, counted from 0."""

    def __init__(self, fault: Fault, *, operations: set[str], calls: Callable[[int], bool]) -> None:
        self._fault = fault
        self._operations = operations
        self._calls = calls
        self._made: Counter[tuple[str, str]] = Counter()
        self._lock = Lock()

    def next(self, operation: str, key: str) -> Fault | None:
        with self._lock:
            call = self._made[operation, key]
            self._made[operation, key] += 1
        hit = operation in self._operations and self._calls(call)
        return self._fault if hit else None


EVERYTHING = {"put", "replace", "get", "stream", "head", "list", "delete", "flush"}


def fails_once() -> Plan:
    """Every operation on every key fails the first time."""
    return Plan(Fault.FAIL, operations=EVERYTHING, calls=lambda call: call == 0)


def fails_always() -> Plan:
    return Plan(Fault.FAIL, operations=EVERYTHING, calls=lambda call: True)


def loses_answers() -> Plan:
    """What changes something is done, but the first answer of each is an error."""
    return Plan(
        Fault.ANSWER_LOST,
        operations={"put", "replace", "delete", "flush"},
        calls=lambda call: call == 0,
    )


def cuts_reads() -> Plan:
    """Breaks the protocol: for tests of those who must not trust a store."""
    return Plan(Fault.CUT, operations={"get", "stream"}, calls=lambda call: True)


class FaultyStore:
    """`inner`, with the faults of `plan`."""

    def __init__(self, inner: Store, plan: Plan) -> None:
        self._inner = inner
        self._plan = plan

    @property
    def url(self) -> str:
        return self._inner.url

    def put(self, key: str, data: bytes) -> bool:
        return self._change("put", key, lambda: self._inner.put(key, data))

    def put_file(self, key: str, file: BinaryIO) -> bool:
        return self._change("put", key, lambda: self._inner.put_file(key, file))

    def replace(self, key: str, data: bytes) -> None:
        self._change("replace", key, lambda: self._inner.replace(key, data))

    def delete(self, key: str) -> None:
        self._change("delete", key, lambda: self._inner.delete(key))

    def flush(self) -> None:
        self._change("flush", "", self._inner.flush)

    def get(self, key: str) -> bytes:
        fault = self._before("get", key)
        data = self._inner.get(key)
        return data[: len(data) // 2] if fault is Fault.CUT else data

    def stream(self, key: str, start: int = 0, end: int | None = None) -> Iterator[bytes]:
        fault = self._before("stream", key)
        pieces = self._inner.stream(key, start, end)
        if fault is not Fault.CUT:
            return pieces
        data = b"".join(pieces)
        return iter([data[: len(data) // 2]])

    def head(self, key: str) -> ObjectInfo:
        self._before("head", key)
        return self._inner.head(key)

    def list(self, prefix: str = "") -> Iterator[ObjectInfo]:
        self._before("list", prefix)
        return self._inner.list(prefix)

    def _before(self, operation: str, key: str) -> Fault | None:
        fault = self._plan.next(operation, key)
        if fault is Fault.FAIL:
            raise StoreUnavailable(f"{operation} {key}: {fault}", key=key)
        return fault

    def _change(self, operation: str, key: str, change: Callable[[], T]) -> T:
        fault = self._before(operation, key)
        result = change()
        if fault is Fault.ANSWER_LOST:
            raise StoreUnavailable(f"{operation} {key}: {fault}", key=key)
        return result


class RetryingStore:
    """`inner`, each call of which is made again when it fails with a transient error."""

    def __init__(self, inner: Store, attempts: int = 3) -> None:
        self._inner = inner
        self._attempts = attempts

    @property
    def url(self) -> str:
        return self._inner.url

    def put(self, key: str, data: bytes) -> bool:
        return self._try(lambda: self._inner.put(key, data))

    def put_file(self, key: str, file: BinaryIO) -> bool:
        return self._try(lambda: self._inner.put_file(key, file))

    def replace(self, key: str, data: bytes) -> None:
        self._try(lambda: self._inner.replace(key, data))

    def get(self, key: str) -> bytes:
        return self._try(lambda: self._inner.get(key))

    def stream(self, key: str, start: int = 0, end: int | None = None) -> Iterator[bytes]:
        return self._try(lambda: self._inner.stream(key, start, end))

    def head(self, key: str) -> ObjectInfo:
        return self._try(lambda: self._inner.head(key))

    def list(self, prefix: str = "") -> Iterator[ObjectInfo]:
        return self._try(lambda: self._inner.list(prefix))

    def delete(self, key: str) -> None:
        self._try(lambda: self._inner.delete(key))

    def flush(self) -> None:
        self._try(self._inner.flush)

    def _try(self, call: Callable[[], T]) -> T:
        for _ in range(self._attempts - 1):
            try:
                return call()
            except StoreUnavailable:
                continue
        return call()
