"""Copy a vault until killed, while it is backed up into, deleted from, purged and swept.

Reads a line {"url", "folder", "far", "seed"}, forks a victim for it, prints its process id, and
when it is dead its wait status.
"""

from __future__ import annotations

import json
import os
import random
import sys
import traceback
from pathlib import Path
from typing import Any

from convault.errors import ConvaultError
from convault.retention.policy import Policy
from tests.copies.conftest import Copies
from tests.retention.conftest import NONE, opened
from tests.retention.victims import act


def victim(order: dict[str, Any]) -> None:
    rng = random.Random(order["seed"])
    vault = opened(order["url"], Path(order["folder"]), lease_seconds=2.0, patience=0.2)
    copies = Copies(vault, order["far"])
    while True:
        try:
            vault.back_up(rng.randrange(6))
            if rng.random() < 0.5:
                act(vault, rng)
            copies.run(rng.choice([None, None, Policy(keep_last=2)]), trash=NONE, grace=NONE)
        except ConvaultError as error:
            # Such as objects of the victim before, whose session is not gone yet.
            if error.code not in {"busy", "sweep-refused", "copy-incomplete"}:
                raise


def main() -> None:
    for line in sys.stdin:
        child = os.fork()
        if child == 0:
            try:
                victim(json.loads(line))
            except BaseException:
                traceback.print_exc()
                raise
            finally:
                os._exit(1)
        print(child, flush=True)
        print(os.waitpid(child, 0)[1], flush=True)


if __name__ == "__main__":
    main()
