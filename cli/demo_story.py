"""What `convault demo` does, step by step, and what it says about it."""

from __future__ import annotations

import logging
import shutil
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Any

from cli import demo_hints, demo_private, progress
from cli.archives import reported, write_file
from cli.backups import load_flow, run_flow
from cli.demo_encryption import encrypted
from cli.demo_home import DemoHome
from cli.demo_proofs import check_sums, prove_equal
from cli.demo_school import SCHOOL, exists, recreate
from cli.drilled import print_checks
from cli.listing import as_object, contents, print_contents, print_records, steps, summary
from cli.output import duration, number, print_table, size
from convault.archive.composed import SUMS_NAME, Archive
from convault.archive.extraction import extract
from convault.catalog.base import BackupRecord
from convault.comparison import TableComparison, compare
from convault.drill.drilling import drill, require_passed
from convault.drill.report import DrillReport
from convault.embedded import demo_data
from convault.errors import IntegrityError
from convault.installation import Installation, initialise, open_installation
from convault.manifest import Manifest
from convault.models import BackupOptions
from convault.restore import restore
from convault.settings import load_settings

_RESTORED, _PRIVATE = "school_restored", "school_open"


class Story:
    """One demo. Every step raises a ConvaultError when what it shows does not hold."""

    def __init__(self, home: DemoHome, messages: int, *, quiet: bool) -> None:
        """`quiet`: print no results (a program reads what `tell` returns)."""
        self._home = home
        self._messages = messages
        self._print: Callable[..., None] = _nothing if quiet else print
        self._quiet = quiet
        self._server = home.postgres

    def tell(self) -> dict[str, Any]:
        """All of it; returns the results for programs."""
        self._fill()
        installation = self._init()
        record = self._backup()
        manifest = installation.repository.manifest(record.id)
        self._stored(record, manifest)
        self._list(installation)
        tar, files = self._download(installation, record)
        seconds = self._restore(installation, manifest)
        compared = self._compare(manifest)
        private = self._private(installation)
        report = self._drill(installation, record)
        return {
            "backup": as_object(record),
            "contents": contents(manifest),
            "download": {"file": str(tar), "bytes": tar.stat().st_size, "files_checked": files},
            "restored_rows": manifest.rows,
            "restore_seconds": round(seconds, 3),
            "compared_rows": sum(table.rows_in_both for table in compared),
            "private": private,
            "drill": report.to_json(),
            "home": str(self._home.folder),
        }

    def _fill(self) -> None:
        self._heading("A school's conversations, in an embedded Postgres")
        url = self._server.url(SCHOOL)
        if exists(self._server.url(), SCHOOL) and demo_data.filled(url) == self._messages:
            new = demo_data.pass_a_day(url)
            self._print(f"They are there from the last demo. A day passed: {new} new messages.")
            return
        recreate(self._server.url(), SCHOOL)
        seconds = _timed(lambda: demo_data.fill(url, messages=self._messages))
        self._print(f"{number(self._messages)} messages made up in {duration(seconds)}.")

    def _init(self) -> Installation:
        self._heading("convault init")
        self._home.store.mkdir(mode=0o700, exist_ok=True)
        settings = load_settings()
        self._print("\n".join(initialise(settings).done))
        return open_installation(settings)

    def _backup(self) -> BackupRecord:
        self._heading("convault backup, through Prefect")
        self._home.prefect.mkdir(mode=0o700, exist_ok=True)
        return self._run(BackupOptions())

    def _run(self, options: BackupOptions) -> BackupRecord:
        with progress.shown():
            flow = load_flow()
            # After Prefect's import, which sets its loggers up and drops what they had.
            with _logged(self._home.prefect / "demo.log"):
                return run_flow(flow, options)

    def _stored(self, record: BackupRecord, manifest: Manifest) -> None:
        if self._quiet or record.metrics is None:
            return
        print(f"Backup {record.id}: {summary(record)}")
        print(f"Time by step, two workers summed: {steps(record.metrics['seconds'])}.\n")
        print_contents(manifest)

    def _list(self, installation: Installation) -> None:
        self._heading("convault list")
        if not self._quiet:
            print_records(installation.catalog.list(), installation.settings.convault_timezone)

    def _download(self, installation: Installation, record: BackupRecord) -> tuple[Path, int]:
        self._heading("convault download, and a look inside")
        if self._home.download.exists():
            shutil.rmtree(self._home.download)
        self._home.download.mkdir(mode=0o700)
        archive = Archive(installation.repository, record.id)
        tar = self._home.download / archive.file_name
        with progress.shown():
            write_file(reported(archive.stream(), archive.file_name, archive.size), tar)
            folder = extract(tar, self._home.download / tar.stem).folder
        if tar.stat().st_size != record.file_size:
            raise IntegrityError(f"{tar} is not as large as `file_size` says.")
        files = check_sums(folder)
        self._print(f"{tar}, {size(archive.size)}")
        self._print(f"{files} files in it, each with its digest of {SUMS_NAME}.")
        return tar, files

    def _restore(self, installation: Installation, manifest: Manifest) -> float:
        self._heading(f"convault restore, into the empty database {_RESTORED}")
        recreate(self._server.url(), _RESTORED)
        with progress.shown():
            result = restore(installation.repository, manifest, self._server.url(_RESTORED))
        rows = sum(result.rows.values())
        self._print(f"{number(rows)} rows restored in {duration(result.seconds)}.")
        return result.seconds

    def _compare(self, manifest: Manifest) -> list[TableComparison]:
        self._heading("Every row of every table, before and after")
        tables = [table.name for table in manifest.restored]
        with progress.shown():
            compared = compare(self._server.url(SCHOOL), self._server.url(_RESTORED), tables)
        if not self._quiet:
            print_table(
                ("table", "rows in both", "only before", "only after"),
                [
                    (str(t.table), number(t.rows_in_both), number(t.only_in_source),
                     number(t.only_in_target))
                    for t in compared
                ],
                right=("rows in both", "only before", "only after"),
            )  # fmt: skip
        prove_equal(compared, manifest)
        self._print("\nWhat came back is what was there.")
        return compared

    def _private(self, installation: Installation) -> dict[str, Any]:
        """A filtered backup that only the holder of an identity can read."""
        self._heading(f"convault backup --status {demo_private.STATUS}, encrypted")
        repository = installation.repository
        with encrypted(self._home, installation.catalog) as identities:
            record = self._run(BackupOptions(status=(demo_private.STATUS,)))
        manifest = repository.manifest(record.id)
        self._print(f"Backup {record.id}: {summary(record)}")
        recreate(self._server.url(), _PRIVATE)
        source, target = self._server.url(SCHOOL), self._server.url(_PRIVATE)
        refusal = demo_private.prove_closed(repository, manifest, target)
        self._print(f"Restored without the identity: refused. {refusal}")
        proof = demo_private.prove_chosen(repository, manifest, identities, source, target)
        self._print(
            f"With it, into {_PRIVATE}: all {number(proof.conversations)} open conversations and "
            f"their {number(proof.messages)} messages are there."
        )
        return {"backup": as_object(record), **asdict(proof)}

    def _drill(self, installation: Installation, record: BackupRecord) -> DrillReport:
        self._heading("convault drill, into a Postgres of its own that is thrown away")
        with progress.shown():
            report = drill(installation, record.id, folder=self._home.folder / "drill")
        told = report.to_json()
        if not self._quiet:
            print_checks(told["checks"])
            self._print(f"\n{report.place}, {duration(told['seconds'])}: {report.summary}.")
        require_passed(report)
        return report

    def tell_what_is_left(self, *, keep: bool) -> None:
        """Where everything lies, and what to try next."""
        self._heading("Where everything lies")
        self._print("\n".join(demo_hints.where_it_lies(self._home, running=keep)))
        self._heading("What to try next")
        self._print("\n".join(demo_hints.what_next(self._home, running=keep)))

    def _heading(self, text: str) -> None:
        # What was said before comes first also where stdout is a file and stderr is not.
        self._print(f"\n== {text}", flush=True)


@contextmanager
def _logged(path: Path) -> Iterator[None]:
    """Prefect's log goes to `path`."""
    handler = logging.FileHandler(path, encoding="utf-8")
    handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(name)s %(message)s"))
    logging.getLogger("prefect").addHandler(handler)
    try:
        yield
    finally:
        logging.getLogger("prefect").removeHandler(handler)
        handler.close()


def _nothing(*_: object, **__: object) -> None:
    """Prints nothing."""


def _timed(action: Callable[[], object]) -> float:
    started = time.monotonic()
    with progress.shown():
        action()
    return time.monotonic() - started
