"""What the demo proves. Each raises IntegrityError when it does not hold."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from pathlib import Path

from convault.archive.composed import SUMS_NAME
from convault.comparison import TableComparison
from convault.errors import IntegrityError
from convault.manifest import Manifest


def check_sums(folder: Path) -> int:
    """Do what `sha256sum -c SHA256SUMS` does in `folder`, and see that every file is named there.
    Returns the number of files."""
    named = set()
    for line in (folder / SUMS_NAME).read_text(encoding="utf-8").splitlines():
        digest, name = line.split("  ", 1)
        named.add(name)
        with (folder / name).open("rb") as file:
            if hashlib.file_digest(file, "sha256").hexdigest() != digest:
                raise IntegrityError(f"{folder / name} does not have its digest of {SUMS_NAME}.")
    there = {
        path.relative_to(folder).as_posix()
        for path in folder.rglob("*")
        if path.is_file() and path.name != SUMS_NAME
    }
    if there != named:
        raise IntegrityError(f"{folder} does not hold the files that {SUMS_NAME} names.")
    return len(named)


def prove_equal(compared: Sequence[TableComparison], manifest: Manifest) -> None:
    """Every table of the backup was compared, has the rows that the backup counted, and holds the
    same rows in both databases."""
    expected = {table.name: table.rows for table in manifest.restored}
    if {result.table for result in compared} != set(expected) or not sum(expected.values()):
        raise IntegrityError("Not every table was compared.")
    for result in compared:
        if not result.equal or result.rows_in_both != expected[result.table]:
            raise IntegrityError(
                f"{result.table} differs: {result.rows_in_both} rows are in both databases,"
                f" {result.only_in_source} only in the first, {result.only_in_target} only in the"
                f" second, and the backup holds {expected[result.table]}.",
                table=result.table,
            )
