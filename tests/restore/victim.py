"""A process that restores again and again, so that a test can kill a child of it at any moment.

Reads orders from stdin, a JSON object a line: what to restore, and after how many seconds to be
killed. Answers with the child's wait status and how long it took. It forks, so that a child starts
in milliseconds; what would not outlive a fork (threads, connections) is opened in the child alone.
"""

from __future__ import annotations

import json
import os
import signal
import sys
import time
from pathlib import Path


def main() -> None:
    from convault.manifest import Manifest
    from convault.repository import Repository
    from convault.restore import RestoreOptions, restore
    from convault.stores import open_store

    for line in sys.stdin:
        order = json.loads(line)
        began = time.monotonic()
        child = os.fork()
        if child == 0:
            manifest = Manifest.from_bytes(Path(order["manifest"]).read_bytes(), where="here")
            repository = Repository.open(open_store(order["store"]))
            options = RestoreOptions.parse(order["options"])
            restore(repository, manifest, order["target"], options, confirm=lambda _: True)
            os._exit(0)
        while time.monotonic() - began < order["seconds"]:
            done, status = os.waitpid(child, os.WNOHANG)
            if done:
                break
            time.sleep(0.001)
        else:
            os.kill(child, signal.SIGKILL)
            _, status = os.waitpid(child, 0)
        answer = {"status": status, "seconds": time.monotonic() - began}
        print(json.dumps(answer), flush=True)


if __name__ == "__main__":
    main()
