"""SIGKILL while objects are written: whatever is listed is complete, and can be written again."""

from __future__ import annotations

import hashlib
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

from soak import count

from convault.stores.folder import FolderStore

WRITER = """
import hashlib, random, sys
from pathlib import Path
from concurrent.futures import ThreadPoolExecutor
from convault.stores.folder import FolderStore
store = FolderStore(Path(sys.argv[1]), "file:///store")
print("writing", flush=True)

def write(number):
    data = random.Random(number).randbytes(random.Random(number).choice([10, 200_000, 2_000_000]))
    store.put(f"data/{number % 7}/{hashlib.sha256(data).hexdigest()}", data)

with ThreadPoolExecutor(2) as pool:
    list(pool.map(write, range(int(sys.argv[2]), 10**9)))
"""


def kill_while_writing(root: Path, first: int, after: float) -> None:
    child = subprocess.Popen(
        [sys.executable, "-c", WRITER, str(root), str(first)], stdout=subprocess.PIPE
    )
    assert child.stdout is not None
    with child.stdout:
        assert child.stdout.readline() == b"writing\n"
        time.sleep(after)
        child.send_signal(signal.SIGKILL)
        assert child.wait(60) == -signal.SIGKILL


def test_every_listed_object_is_complete(tmp_path: Path) -> None:
    kills = count(5, 50)
    listed = 0
    for kill in range(kills):
        root = tmp_path / str(kill)
        root.mkdir()
        kill_while_writing(root, kill * 1000, random.uniform(0.02, 0.4))
        store = FolderStore(root, f"file://{root}")
        infos = list(store.list())
        listed += len(infos)
        for info in infos:
            data = store.get(info.key)
            assert len(data) == info.size
            assert hashlib.sha256(data).hexdigest() == info.key.rpartition("/")[2]
            assert store.put(info.key, data) is False
        numbers = [kill * 1000 + n for n in range(len(infos) + 2)]
        for number in numbers:
            generator = random.Random(number)
            data = generator.randbytes(random.Random(number).choice([10, 200_000, 2_000_000]))
            store.put(f"data/{number % 7}/{hashlib.sha256(data).hexdigest()}", data)
    print(f"{kills} kills, {listed} objects listed")
    assert listed > kills, "the kills came before anything was written: nothing was tested"
