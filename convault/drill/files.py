"""Storage files of a drilled backup: every reference of the restored rows has an outcome in the
manifest, and every stored file its digest."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from typing import Any

import psycopg

from convault.drill.report import Check, Outcome, not_verified, passed_or_failed
from convault.files.entries import ColumnEntry
from convault.files.references import References
from convault.formats.postgres_types import quoted
from convault.manifest import Manifest
from convault.models import TableName
from convault.sources.failures import reason
from convault.stores.base import Store
from convault.verification.holdings import Needed
from convault.verification.reading import read_back

_ROWS = 10_000
"""that are fetched at a time"""


def file_checks(
    connection: psycopg.Connection[Any], manifest: Manifest, store: Store,
    left_out: Collection[TableName],
) -> Iterator[Check]:  # fmt: skip
    """One for each column that points at files, one for the files. StoreUnavailable."""
    if manifest.storage is None:
        yield not_verified("files", "", "this backup holds no files")
        return
    for column in manifest.storage.columns:
        subject = str(column.file_column)
        if column.table in left_out:
            yield not_verified("files", subject, "the table could not be made here")
            continue
        try:
            yield _references(connection, manifest, column, subject)
        except psycopg.Error as error:
            yield not_verified("files", subject, f"cannot be asked: {reason(error)}")
    yield _objects(manifest, store)
    lost = [entry for entry in manifest.files if entry.outcome in ("missing", "changed")]
    if lost:
        why = f"{len(lost)} were missing when the backup was made"
        yield not_verified("files", "not in the backup", why)


def _references(
    connection: psycopg.Connection[Any], manifest: Manifest, column: ColumnEntry, subject: str
) -> Check:
    assert manifest.storage is not None
    found = References(manifest.storage.borders, (column.file_column,))
    expressions = ", ".join(f"{quoted(name)}::pg_catalog.text" for name in found.columns[0].columns)
    with connection.transaction(), connection.cursor(name="files") as cursor:
        cursor.itersize = _ROWS
        cursor.execute(f"SELECT {expressions} FROM ONLY {column.table.quoted}".encode())
        found.add(0, ((row[0], row[1] if len(row) > 1 else None) for row in cursor))
    named = {entry.address for entry in manifest.files if entry.outcome != "external"}
    told = sum(
        referrer.rows
        for entry in manifest.files
        for referrer in entry.referrers
        if (referrer.table, referrer.column) == (column.table, column.column)
    )
    faults = []
    without = sum(counts[0] for address, counts in found.files.items() if address not in named)
    if without:
        faults.append(f"{without} rows point at files of which the manifest says nothing")
    rows = found.rows(0)
    if not rows == told == column.rows:
        faults.append(f"{rows} rows point at something, and the manifest tells of {told}")
    detail = f"{len(found.files)} files of {rows} rows"
    return passed_or_failed("files", subject, faults, detail)


def _objects(manifest: Manifest, store: Store) -> Check:
    needed = {
        entry.key: Needed(entry.key, entry.stored_bytes, entry.sha256)
        for entry in manifest.stored_files
        if entry.key is not None and entry.sha256 is not None
    }
    hurt = [finding for _, finding in read_back(store, needed.values()) if finding is not None]
    if hurt:
        keys = ", ".join(finding.key for finding in hurt[:3])
        return Check("files", "", Outcome.FAILED, f"{len(hurt)} damaged or missing: {keys}")
    return Check("files", "", Outcome.PASSED, f"{len(needed)} objects have their digest")
