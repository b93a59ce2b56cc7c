"""SIGKILL while objects are written: whatever is listed is complete, and can be written again."""

from __future__ import annotations

import hashlib
import random
import subprocess
import sys
import time
from pathlib import Path

import pytest

from convault.stores.folder import FolderStore
from tests.patience import PATIENCE
from tests.soak import count

KILLS = count(5, 50)  # here, because the environment of a test is cleared

WRITER = """
import hashlib, os, random, sys
from itertools import count
from pathlib import Path
from threading import Thread
from convault.stores.folder import FolderStore

store = FolderStore(Path(sys.argv[1]), "file:///store")
numbers = count(int(sys.argv[2]))

def write():
    for number in numbers:
        data = random.Random(number).randbytes([10, 200_000, 2_000_000][number % 3])
        store.put(f"data/{number % 7}/{hashlib.sha256(data).hexdigest()}", data)
        os.write(1, b"written\\n")

for thread in (Thread(target=write), Thread(target=write)):
    thread.start()
"""


def kill_while_writing(root: Path, first: int) -> None:
    """Kill a writer somewhere between its third object and its tenth."""
    child = subprocess.Popen(
        [sys.executable, "-c", WRITER, str(root), str(first)], stdout=subprocess.PIPE
    )
    assert child.stdout is not None
    with child.stdout:
        try:
            for _ in range(random.randint(3, 10)):
                assert child.stdout.readline() == b"written\n"
            time.sleep(random.uniform(0, 0.02))
        finally:
            child.kill()
            child.wait(PATIENCE)


@pytest.mark.soak
def test_every_listed_object_is_complete(tmp_path: Path) -> None:
    listed = 0
    for kill in range(KILLS):
        root = tmp_path / str(kill)
        root.mkdir()
        kill_while_writing(root, kill * 1000)
        store = FolderStore(root, f"file://{root}")
        infos = list(store.list())
        listed += len(infos)
        for info in infos:
            data = store.get(info.key)
            assert len(data) == info.size
            assert hashlib.sha256(data).hexdigest() == info.key.rpartition("/")[2]
            assert store.put(info.key, data) is False
        # The next run writes the same objects again, those that were being written among them.
        for number in range(kill * 1000, kill * 1000 + len(infos) + 2):
            data = random.Random(number).randbytes([10, 200_000, 2_000_000][number % 3])
            store.put(f"data/{number % 7}/{hashlib.sha256(data).hexdigest()}", data)
        assert len(list(store.list())) == len(infos) + 2
    print(f"{KILLS} kills, {listed} objects listed")
    assert listed >= 3 * KILLS
