"""`rekey` that is cut off at every step, or killed: the old revision or the new one, and the next
rekey goes on where it was."""

from __future__ import annotations

import random
import shutil
import signal
import subprocess
import sys
import tracemalloc
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from convault.encryption.age import Identity
from convault.encryption.rekey import left_behind
from convault.repository import Repository
from convault.signing.signature import SigningKeys
from convault.stores import open_store
from convault.stores.base import Store
from tests.encryption.keys import new_key
from tests.encryption.rekeyed import NEW, OLD, check_whole, old_backup, rekeyed
from tests.handmade import BACKUP, CONVERSATIONS, MESSAGES, rows
from tests.patience import PATIENCE
from tests.prefect_server import CHECKOUT
from tests.soak import count

KILLS = count(4, 40)

PARTS = 4
"""of the backup, all of them objects of their own"""


class PowerCut(BaseException):
    """Nobody catches it."""


class Cut:
    """A store that is cut off before or after its n-th write."""

    def __init__(self, store: Store, at: int, *, after: bool) -> None:
        self.inner = store
        self.at = at
        self.after = after
        self.writes: list[str] = []

    def __getattr__(self, name: str) -> Any:
        return getattr(self.inner, name)

    def put(self, key: str, data: bytes) -> bool:
        return bool(self._cut(key, lambda: self.inner.put(key, data)))

    def replace(self, key: str, data: bytes) -> None:
        self._cut(key, lambda: self.inner.replace(key, data))

    def _cut(self, key: str, write: Callable[[], Any]) -> Any:
        self.writes.append(key)
        now = len(self.writes) == self.at
        if now and not self.after:
            raise PowerCut
        done = write()
        if now:
            raise PowerCut
        return done


@pytest.mark.parametrize("before", [(OLD,), ()], ids=["encrypted", "plain"])
@pytest.mark.parametrize("after", [False, True])
def test_cut_off_at_every_write(tmp_path: Path, before: tuple[Identity, ...], after: bool) -> None:
    at = 0
    while True:
        at += 1
        repository = old_backup(before)
        cut = Cut(repository.store, at, after=after)
        journals = tmp_path / str(at)
        try:
            rekeyed(Repository.open(cut), journals, with_=before)  # type: ignore[arg-type]
            break
        except PowerCut:
            pass
        wrote_it = after and cut.writes[-1].endswith("0002.json")
        assert repository.revisions() == {BACKUP: 2 if wrote_it else 1}
        check_whole(repository, NEW if wrote_it else (before or (None,))[0])
        again = Cut(repository.store, 0, after=False)
        done = rekeyed(Repository.open(again), journals, with_=before)  # type: ignore[arg-type]
        assert done.changed is not wrote_it
        check_whole(repository, NEW)
        # What was stored and noted is not stored again: the one that was cut off is, at most.
        parts = [key for key in again.writes if key.startswith("data/")]
        stored_before = [key for key in cut.writes if key.startswith("data/")]
        wanted = 0 if wrote_it else len({*_old_keys(repository)}) - (len(stored_before) - 1)
        assert len(parts) <= max(0, wanted)
        assert list(journals.iterdir()) == []
    assert at > PARTS


def _old_keys(repository: Repository) -> list[str]:
    data = repository.manifest_bytes(BACKUP, 1)
    manifest = repository.read_manifest(BACKUP, data, 1)
    return [part.key for table in manifest.tables for part in table.parts]


REKEY = """
import os, sys
from pathlib import Path
from convault.encryption import age
from convault.repository import Repository
from convault.encryption.rekey import rekey
from convault.signing.signature import SigningKeys
from convault.stores import open_store
from tests.handmade import BACKUP
store = open_store(sys.argv[1])
secret, key, new = sys.stdin.read().split()
os.write(1, b"started\\n")
rekey(Repository.open(store), BACKUP, [new], identities=[age.identity(secret)],
      keys=SigningKeys((bytes.fromhex(key),)), journals=Path(sys.argv[2]))
os.write(1, b"done\\n")
"""


@pytest.mark.soak
def test_killed_at_random(tmp_path: Path) -> None:
    """SIGKILL, on a folder, again and again; the last is let finish."""
    secret, old = new_key()
    key = random.randbytes(32).hex()
    keys = SigningKeys((bytes.fromhex(key),))
    (tmp_path / "store").mkdir()
    store = open_store((tmp_path / "store").as_uri())
    contents: dict[Any, list[bytes]] = {
        CONVERSATIONS: [rows(0, 20)],
        MESSAGES: [rows(n, 40) for n in range(30)],
    }
    repository = old_backup((old,), store, keys, contents)
    before = tmp_path / "before"
    shutil.copytree(tmp_path / "store", before)
    killed, longest = 0, 0.25
    while killed < KILLS:
        child = subprocess.Popen(
            [sys.executable, "-c", REKEY, store.url, str(tmp_path / "journals")],
            cwd=CHECKOUT, stdin=subprocess.PIPE, stdout=subprocess.PIPE,
        )  # fmt: skip
        assert child.stdin is not None
        assert child.stdout is not None
        child.stdin.write(f"{secret} {key} {NEW.recipient}".encode())
        child.stdin.close()
        assert child.stdout.readline() == b"started\n"
        try:
            child.wait(random.uniform(0, longest))
        except subprocess.TimeoutExpired:
            child.kill()
        finally:
            child.wait(PATIENCE)
            child.stdout.close()
        assert child.returncode in (0, -signal.SIGKILL)
        manifest = repository.manifest(BACKUP)
        assert (manifest.revision == 2) or child.returncode != 0
        for name, size in manifest.objects().items():
            assert store.head(name).size == size
        killed += child.returncode == -signal.SIGKILL
        if manifest.revision == 2:  # it was faster than we: again, and sooner
            longest *= 0.7
            shutil.rmtree(tmp_path / "store")
            shutil.copytree(before, tmp_path / "store")
            store = open_store(store.url)
            repository = Repository.open(store)
    rekeyed(repository, tmp_path / "journals", with_=(old,), keys=keys)
    assert repository.manifest(BACKUP).revision == 2
    assert left_behind(repository) > 0


def test_memory_is_bounded_by_a_part(tmp_path: Path) -> None:
    """Of a backup of 40 parts no more than some are in memory at any time."""
    contents: dict[Any, list[bytes]] = {
        CONVERSATIONS: [rows(0, 20)],
        MESSAGES: [random.Random(n).randbytes(200_000).hex().encode() + b"\n" for n in range(40)],
    }
    (tmp_path / "store").mkdir()
    repository = old_backup(store=open_store((tmp_path / "store").as_uri()), contents=contents)
    tracemalloc.start()
    try:
        rekeyed(repository, tmp_path / "journals", workers=2)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < 5_000_000  # all of them together have 8 MB encrypted, and 16 plain
