"""Reading what rows point at, and what buckets hold."""

from __future__ import annotations

from contextlib import closing

from convault.errors import FilesError
from convault.files.references import References
from convault.files.storage import FileStorage
from convault.progress import report
from convault.sources.base import Snapshot


def note(snapshot: Snapshot, references: References) -> None:
    """Tell the snapshot, before its rows are read, what `gather` will ask for."""
    for column in references.columns:
        snapshot.note(snapshot.dataset.table(column.table), column.columns)


def gather(snapshot: Snapshot, references: References) -> None:
    """Add what the rows of the snapshot point at: the very rows that the backup holds. SourceError
    as `Snapshot.read`."""
    for number, column in enumerate(references.columns):
        table = snapshot.dataset.table(column.table)
        rows = 0
        with closing(snapshot.column_values(table, column.columns)) as batches:  # type: ignore[type-var]
            for batch in batches:
                values = [found.to_pylist() for found in batch.columns]
                buckets = values[1] if len(values) > 1 else [None] * batch.num_rows
                references.add(number, zip(values[0], buckets, strict=True))
                rows += batch.num_rows
                report("references", str(column), done=rows, unit="rows")


def gather_listed(storage: FileStorage, references: References) -> tuple[str, ...]:
    """Add every file of the buckets that are wanted whole; those that are public, of all buckets
    that files come from. FilesError for a bucket that is not there, and for names that cannot be
    kept; FilesUnavailable."""
    wanted = list(references.buckets())
    if not wanted:
        return ()
    there = storage.buckets()
    unknown = [bucket for bucket in wanted if bucket not in there]
    if unknown:
        named = ", ".join(unknown[:3]) + (f" and {len(unknown) - 3} more" if unknown[3:] else "")
        raise FilesError(
            f"Files of the backup are in {named}, and {storage.url} has no such bucket. Nothing "
            "was committed. Check that SUPABASE_URL is the project of these rows; if rows name "
            "buckets that never were, name those that count in CONVAULT_FILE_BUCKETS."
        )
    for bucket in references.listed:
        refused = references.add_listed(bucket, storage.names(bucket))
        if refused:
            raise FilesError(
                f"The bucket {bucket} holds {refused} files whose names cannot be kept: they have "
                "empty segments, `.` or `..`, control characters, or more than 1,024 bytes. Rename "
                "them."
            )
        report("references", f"bucket {bucket}", done=len(references.files), unit="files")
    return tuple(bucket for bucket in wanted if there[bucket])
