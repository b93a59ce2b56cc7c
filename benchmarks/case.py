"""One case in a process of its own, so that imports do not count and memory begins at nothing.

The installation comes in the environment, the case as JSON in the argument; what it took is the
last line of stdout, as JSON.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any
from uuid import UUID

from benchmarks import meter
from benchmarks.meter import Taken


def main() -> None:
    """See the module."""
    asked: dict[str, Any] = json.loads(sys.argv[1])
    kind, postgres = asked["kind"], asked["postgres"]
    if kind == "command":
        print(json.dumps(meter.command(asked["words"], postgres).as_json()))
        return
    made: Callable[[], Any] = _KINDS[kind](asked)
    with meter.measured(postgres, asked.get("prefect")) as taken:
        result = made()
    told = taken.as_json()
    if kind in ("core", "flow"):
        told |= {"backup": str(result.id), "metrics": result.metrics}
    print(json.dumps(told))


def take(asked: dict[str, Any]) -> tuple[Taken, dict[str, Any]]:
    """Run a case in a process of its own: what it took, and all that it told. SystemExit where it
    fails."""
    import subprocess

    done = subprocess.run(
        [sys.executable, "-m", "benchmarks.case", json.dumps(asked)],
        stdout=subprocess.PIPE, text=True, check=False,
        env={**os.environ, "PREFECT_LOGGING_HANDLERS_CONSOLE_LEVEL": "CRITICAL"},
    )  # fmt: skip
    if done.returncode:
        raise SystemExit(f"the case {asked} failed")
    told = json.loads(done.stdout.splitlines()[-1])
    return Taken(**{name: told[name] for name in Taken.__dataclass_fields__}), told


def _core(asked: dict[str, Any]) -> Callable[[], Any]:
    from benchmarks.core import back_up
    from convault.settings import load_settings

    return partial(back_up, load_settings(), _options(asked))


def _flow(asked: dict[str, Any]) -> Callable[[], Any]:
    # Prefect imports them when the run has begun already.
    import fastapi.encoders  # noqa: F401
    import prefect.flow_engine
    import prefect.utilities.visualization  # noqa: F401

    from cli.prefect_server import heartless
    from flows.backup import backup

    def run() -> Any:
        with heartless():  # as `convault backup` does it
            return backup(_options(asked))

    return run


def _options(asked: dict[str, Any]) -> Any:
    from convault.models import BackupOptions

    return BackupOptions(format=asked["format"], compression_level=asked["level"])


def _restore(asked: dict[str, Any]) -> Callable[[], Any]:
    from convault.installation import open_installation
    from convault.restore import RestoreOptions, restore
    from convault.settings import load_settings

    repository = open_installation(load_settings()).repository
    options = RestoreOptions(conversations=tuple(asked.get("conversations", ())))

    def restored() -> None:
        restore(repository, repository.manifest(UUID(asked["backup"])), asked["target"], options)

    return restored


def _verify(asked: dict[str, Any]) -> Callable[[], Any]:
    from convault.installation import open_installation
    from convault.settings import load_settings
    from convault.verification.reading import Subset
    from convault.verification.verifying import verify

    installation = open_installation(load_settings())
    return partial(verify, installation, UUID(asked["backup"]), subset=Subset.parse("all"))


def _download(asked: dict[str, Any]) -> Callable[[], Any]:
    from convault.archive.composed import Archive
    from convault.installation import open_installation
    from convault.settings import load_settings

    repository = open_installation(load_settings()).repository

    def downloaded() -> None:
        with Path(asked["file"]).open("wb") as file:
            for piece in Archive(repository, UUID(asked["backup"])).stream():
                file.write(piece)

    return downloaded


_KINDS = {
    "core": _core, "flow": _flow, "restore": _restore, "verify": _verify, "download": _download,
}  # fmt: skip


if __name__ == "__main__":
    main()
