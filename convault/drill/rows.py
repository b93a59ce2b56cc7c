"""Whether restored tables hold the rows that were counted and digested in the snapshot."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import psycopg

from convault.drill.report import Check, not_verified, passed_or_failed
from convault.manifest import Manifest, TableEntry
from convault.progress import report
from convault.ranges import row_digest
from convault.ranges.row_digest import Counted
from convault.restore.trees import trees
from convault.sources.failures import reason


def row_checks(connection: psycopg.Connection[Any], manifest: Manifest) -> Iterator[Check]:
    """Counts and digests. Of a tree that is partitioned by hash as a whole: which partition a row
    belongs to is another one in every database."""
    groups = trees(connection, manifest).items()
    for number, (into, tables) in enumerate(groups):
        report("check", str(into), done=number, total=len(groups), unit="tables")
        promised = sum(table.rows for table in tables)
        try:
            with connection.transaction():
                found = [_counted(connection, table) for table in tables]
        except psycopg.Error as error:
            yield passed_or_failed("rows", str(into), [f"cannot be counted: {reason(error)}"])
            continue
        rows = sum(counted.rows for counted in found)
        faults = [] if rows == promised else [f"{rows} instead of {promised}"]
        yield passed_or_failed("rows", str(into), faults, str(rows))
        yield _digest_check(
            str(into),
            row_digest.added(table.digest for table in tables),
            row_digest.added(counted.digest for counted in found),
        )


def _counted(connection: psycopg.Connection[Any], table: TableEntry) -> Counted:
    row = connection.execute(
        f"SELECT pg_catalog.count(*), {row_digest.aggregate(table.columns)}"
        f" FROM ONLY {table.name.quoted}".encode()
    ).fetchone()
    assert row is not None
    return Counted(row[0], row_digest.from_sum(row[1]))


def _digest_check(subject: str, stored: str | None, found: str | None) -> Check:
    if stored is None:
        return not_verified("digest", subject, "the backup has none: it was made before there were")
    if found is None:
        return not_verified("digest", subject, "this server does not hash as the source did")
    faults = [] if stored == found else [f"{found} instead of {stored}: values have changed"]
    return passed_or_failed("digest", subject, faults, found)
