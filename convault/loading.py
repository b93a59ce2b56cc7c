"""Rows of a backup into tables: each object is proven to be the backup's before a row is loaded."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import psycopg
from tenacity import Retrying, retry_if_exception, stop_after_attempt, wait_exponential_jitter

from convault.encryption import Opener
from convault.errors import ConvaultError, IntegrityError, ObjectMissing, RestoreError
from convault.formats.base import Rows
from convault.formats.copy_text import loadable, numbered, to_copy_text
from convault.formats.postgres_types import quoted
from convault.formats.registry import format_of_name
from convault.generated import Expected
from convault.manifest import Manifest, PartEntry, TableEntry
from convault.models import Column, TableName
from convault.stores.base import Store

_LOOKUPS = 8
"""objects that are looked up at the same time"""
_ATTEMPTS = 4
"""of reading one object, when the store cannot be reached"""


def check_objects(store: Store, manifest: Manifest) -> None:
    """Look up every object of the backup. IntegrityError names those that are missing or have
    another size than the manifest says."""

    def fault(key: str, size: int) -> str | None:
        try:
            found = store.head(key).size
        except ObjectMissing:
            return f"{key} is missing"
        return None if found == size else f"{key} has {found} bytes instead of {size}"

    sizes = manifest.objects()
    with ThreadPoolExecutor(_LOOKUPS) as pool:
        faults = [found for found in pool.map(fault, sizes, sizes.values()) if found]
    if faults:
        more = f", and {len(faults) - 3} more" if len(faults) > 3 else ""
        raise IntegrityError(
            f"Backup {manifest.backup_id} is damaged: {'; '.join(faults[:3])}{more}. Nothing was "
            "loaded; `convault list` shows the other backups.",
            backup=manifest.backup_id,
        )


def read_part(store: Store, part: PartEntry, opener: Opener) -> bytes:
    """The plain bytes of a part (at most 32 MiB, or one row). IntegrityError names the object when
    its digest or its size is not the manifest's."""
    return b"".join(opener.plain(part, opener.opened(part, read_stored(store, part))))


def load_part(
    connection: psycopg.Connection[Any],
    store: Store,
    table: TableEntry,
    part: PartEntry,
    opener: Opener,
    *,
    into: TableName,
    expected: Expected | None,
) -> None:
    """COPY the rows of a part into its table, or into one above it, and their generated values to
    where they are `expected`. IntegrityError, StoreError, RestoreError, and what the driver
    raises."""
    plain = read_part(store, part, opener)
    loaded = _copy(connection, _copy_statement(table, into), plain, table, part)
    if loaded != part.rows:
        raise RestoreError(
            f"The target took {loaded} of {part.rows} rows into {table.name}: something there "
            "drops rows, such as a trigger. Nothing was changed.",
            table=table.name,
        )
    if expected is not None:
        _copy(connection, expected.copy_statement, plain, table, part, expected.columns)


def _copy(
    connection: psycopg.Connection[Any], statement: str, plain: bytes,
    table: TableEntry, part: PartEntry, chosen: Sequence[Column] | None = None,
) -> int:  # fmt: skip
    """The number of rows that the target took."""
    with connection.cursor() as cursor:
        with cursor.copy(statement.encode()) as copy:
            for rows in _rows(plain, table, part):
                if connection.info.server_version < 160000:
                    _refuse_octal_chars(rows, table.columns, part)
                copy.write(to_copy_text(rows, table.columns, chosen))
        return cursor.rowcount


def _rows(plain: bytes, table: TableEntry, part: PartEntry) -> Iterator[Rows]:
    """The rows, some at a time; IntegrityError when there are not as many as there should be."""
    count = 0
    try:
        for rows in format_of_name(part.key).read(plain, table.columns):
            count += rows.count
            yield rows
    except IntegrityError as error:
        raise _damaged(part, error.message) from None
    if count != part.rows:
        raise _damaged(part, f"it does not hold {part.rows} rows")


def read_stored(store: Store, part: PartEntry) -> bytes:
    """A part's bytes as they are stored, not checked; at most some more than there should be:
    enough to see that there are too many. IntegrityError when it is missing."""
    attempts = Retrying(
        retry=retry_if_exception(lambda e: isinstance(e, ConvaultError) and e.transient),
        stop=stop_after_attempt(_ATTEMPTS),
        wait=wait_exponential_jitter(multiplier=0.2, max=10, jitter=0.2),
        reraise=True,
    )
    try:
        return attempts(lambda: b"".join(_pieces(store, part)))
    except ObjectMissing:
        raise _damaged(part, "it is missing") from None


def _pieces(store: Store, part: PartEntry) -> Iterable[bytes]:
    left = part.stored_bytes
    for piece in store.stream(part.key):
        yield piece
        left -= len(piece)
        if left < 0:
            return


def _copy_statement(table: TableEntry, into: TableName) -> str:
    names = ", ".join(quoted(column.name) for column in loadable(table.columns))
    return f"COPY {into.quoted}{f' ({names})' if names else ''} FROM STDIN"


def _refuse_octal_chars(rows: Rows, columns: Iterable[Column], part: PartEntry) -> None:
    r"""Before Postgres 16, "char" takes the text \ooo for a backslash and says nothing."""
    frame = numbered(rows.frame)
    for number, column in enumerate(columns):
        if column.type != '"char"':
            continue
        if frame[str(number)].str.contains(r"^\\[0-7]{3}$").any():
            raise RestoreError(
                f'Column "{column.name}" of {part.path.rpartition("/")[0]} holds bytes that only '
                "Postgres 16 and newer can restore. Nothing was changed.",
                key=part.key,
            )


def _damaged(part: PartEntry, what: str) -> IntegrityError:
    return IntegrityError(f"{part.key} is damaged: {what}. Nothing was loaded.", key=part.key)
