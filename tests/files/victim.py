"""A process that backs up, or puts back, an application's files, so that a test can kill it."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, cast
from uuid import UUID

from convault.files.restoring import put_back
from convault.restore import RestoreOptions
from tests.files.world import World
from tests.flows.application import Application

if TYPE_CHECKING:
    from tests.supabase_stack import SupabaseStack


def main() -> None:
    what, url, store, environment = json.loads(sys.argv[1])
    application = Application(url, Path(store), environment)
    installation = application.installation()
    print("begins", flush=True)
    if what == "back up":
        World(application, cast("SupabaseStack", None), "").back_up()
        return
    manifest = installation.repository.manifest(UUID(what))
    put_back(
        installation.settings, installation.repository.store, manifest, (),
        RestoreOptions(files=True),
    )  # fmt: skip


if __name__ == "__main__":
    main()
