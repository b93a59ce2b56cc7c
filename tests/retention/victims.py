"""Work on a vault until killed: backups, deletions, undeletions, purges and sweeps, at random.

Reads a line {"url", "folder", "seed"}, forks a victim for it, prints its process id, and when it is
dead its wait status. Forking spares each victim the second that importing takes.
"""

from __future__ import annotations

import json
import os
import random
import sys
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any

from convault.errors import ConvaultError
from convault.reconcile import reconcile
from convault.retention.operating import delete, undelete
from convault.retention.sweeping import purge
from convault.trash import trashed
from tests.retention.conftest import NONE, WEEK, WHO, Vault, opened


def act(vault: Vault, rng: random.Random) -> None:
    """One thing that an installation does."""
    there = vault.repository.backup_ids()
    waiting = sorted(set(trashed(vault.repository)) - set(there))
    repository, catalog = vault.repository, vault.catalog
    choices: list[Callable[[], object]] = [
        lambda: vault.back_up(rng.randrange(4)),
        lambda: vault.sweep(trash=rng.choice([NONE, WEEK])),
        lambda: reconcile(repository, catalog),
    ]
    if there:
        gone = rng.choice(there)
        choices += 2 * [lambda: delete(repository, catalog, gone, WHO, force=True)]
    if waiting:
        one = rng.choice(waiting)
        choices += [
            lambda: undelete(repository, catalog, one, WHO),
            lambda: purge(repository, catalog, one, WHO),
        ]
    try:
        rng.choice(choices)()
    except ConvaultError as error:
        # Such as a sweep while the lease of the victim before is not over, or a deletion while the
        # row of a backup that was killed behind its manifest says `processing`.
        if error.code not in {"busy", "sweep-refused", "not-found", "removal-refused"}:
            raise


def victim(order: dict[str, Any]) -> None:
    rng = random.Random(order["seed"])
    vault = opened(order["url"], Path(order["folder"]), lease_seconds=2.0, patience=0.2)
    while True:
        act(vault, rng)


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
