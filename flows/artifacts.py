"""What a run shows in Prefect: how far it is, what it stored of each table, and its result.

Artifacts are for people: when Prefect does not take one, the backup goes on. They hold names, sizes
and counts, never a row's value.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from uuid import UUID

import httpx
from prefect import get_run_logger
from prefect.artifacts import (
    create_markdown_artifact,
    create_progress_artifact,
    create_table_artifact,
    update_progress_artifact,
)
from prefect.exceptions import PrefectException

from convault.catalog import BackupRecord
from convault.dataset.filters import described
from convault.errors import ConvaultError
from convault.manifest import Manifest, TableEntry
from convault.progress import Progress, listening
from convault.repository import Repository
from convault.restore import RestoreResult

SECONDS = 1.0
"""between two updates of the progress artifact, at least: each is a request"""
_CARRY, _COMMIT = (2.0, 90.0), (92.0, 99.0)
"""per cent of the whole at which these steps begin and end"""


class _ProgressArtifact:
    """A listener that turns events into an artifact of this flow run."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._updated = time.monotonic()
        self._percent = 0.0
        self._id: UUID | None = None
        with tolerated():
            made = create_progress_artifact(
                progress=0.0, key="backup-progress", description="How far the backup is"
            )
            assert isinstance(made, UUID)  # a coroutine where a loop runs, and none does here
            self._id = made

    def __call__(self, event: Progress) -> None:
        percent = percent_of(event)
        with self._lock:
            if percent is None or time.monotonic() - self._updated < SECONDS:
                return
            self._updated = time.monotonic()
        self.set(percent)

    def set(self, percent: float) -> None:
        if self._id is not None:
            with tolerated():
                update_progress_artifact(self._id, progress=percent)


def percent_of(event: Progress) -> float | None:
    """How far the whole backup is at this event, from 0 to 100; None when it does not tell."""
    spans = {"carry": _CARRY, "commit": _COMMIT}
    if event.step not in spans or not event.total:
        return None
    begin, end = spans[event.step]
    return begin + (end - begin) * min(1.0, event.done / event.total)


@contextmanager
def progress_shown() -> Iterator[None]:
    """A progress artifact follows the run inside the block; 100 when it ends without an error."""
    artifact = _ProgressArtifact()
    with listening(artifact):
        yield
    artifact.set(100.0)


def publish(record: BackupRecord, repository: Repository) -> None:
    """A table of what is stored of each table, and the result in words."""
    with tolerated():
        manifest = repository.manifest(record.id)
        create_table_artifact(
            table=[_row(table) for table in manifest.tables if table.kind == "r"],
            key="backup-tables",
            description=f"What backup {record.id} holds of each table",
        )
        create_markdown_artifact(
            markdown=_result(record, manifest),
            key="backup-result",
            description=f"Backup {record.id}",
        )


def publish_restore(manifest: Manifest, target: str, result: RestoreResult) -> None:
    """What a restore did with the rows of each table, in numbers."""
    with tolerated():
        create_table_artifact(
            table=[
                {
                    "table": str(table),
                    "inserted": change.inserted,
                    "skipped": change.skipped,
                    "overwritten": change.overwritten,
                    "removed": change.removed,
                }
                for table, change in result.changes.items()
            ],
            key="restore-tables",
            description=f"Backup {manifest.backup_id} into {target}"
            + (" (a dry run: nothing was changed)" if result.dry_run else "")
            + (f"; --undo {result.restore_id}" if result.restore_id else ""),
        )


def _row(table: TableEntry) -> dict[str, str | int | float | None]:
    plain = sum(part.plain_bytes for part in table.parts)
    stored = sum(part.stored_bytes for part in table.parts)
    return {
        "table": str(table.name),
        "rows": table.rows,
        "parts": len(table.parts),
        "plain bytes": plain,
        "stored bytes": stored,
        "ratio": round(plain / stored, 2) if stored else None,
    }


def _result(record: BackupRecord, manifest: Manifest) -> str:
    seconds = (record.metrics or {}).get("seconds", {})
    steps = "\n".join(f"| {step} | {value} |" for step, value in seconds.items())
    return (
        f"# Backup {record.id}\n\n"
        f"{_selection(manifest)}"
        f"{manifest.rows} rows of {len(manifest.tables)} tables, {_moment(manifest)}; "
        f"{manifest.plain_bytes} bytes, stored in "
        f"{manifest.stored_bytes}.\n\n"
        f"`convault download {record.id}` gives it as {record.file_size} bytes of tar.\n\n"
        "| step | seconds, summed over the workers |\n|---|---|\n"
        f"{steps}\n"
        f"{_omissions(record)}"
    )


def _moment(manifest: Manifest) -> str:
    """Of when the rows are."""
    if manifest.consistency == "per-page":
        return (
            f"read by REST, page by page, from {manifest.source.taken_at} on: **there was no "
            "snapshot**, and rows may be of different moments (`convault show` tells which)"
        )
    return f"as they were at {manifest.created_at.isoformat()}"


def _selection(manifest: Manifest) -> str:
    """That it is a part of the data, and which."""
    # A pattern may hold what Markdown takes for a sign of its own.
    asked = described(manifest.options).replace("`", "'")
    if not asked:
        return ""
    selected = manifest.selection
    empty = " **Nothing matched: the backup is complete, and it is empty.**"
    return f"Filtered: `{asked}`.{empty if selected is not None and selected.empty else ''}\n\n"


def _omissions(record: BackupRecord) -> str:
    """Warnings, and the tables that are not in the backup."""
    metrics = record.metrics or {}
    text = "".join(f"\n**Warning:** {warning}\n" for warning in metrics.get("warnings") or ())
    names = "".join(f"- `{name}`\n" for name in metrics.get("not_included") or ())
    return f"{text}\n## Not included\n\n{names}" if names else text


@contextmanager
def tolerated() -> Iterator[None]:
    """When Prefect does not take what the block writes, the run is warned and goes on."""
    try:
        yield
    except (httpx.HTTPError, PrefectException, ConvaultError) as error:
        get_run_logger().warning("An artifact could not be written: %s", type(error).__name__)
