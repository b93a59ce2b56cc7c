"""Pages of a table in the order of its primary key, each of a bounded number of bytes."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from convault.errors import SourceError, UnsupportedSource
from convault.models import Table
from convault.sources.rest import asking
from convault.sources.rest.api import (
    MAX_PAGE_BYTES,
    MAX_ROW_BYTES,
    NoSuchValue,
    Page,
    RestApi,
    TooLarge,
)
from convault.sources.rest.asking import Key
from convault.sources.rest.rows import keys_of

TARGET_BYTES = 4 * 1024 * 1024
"""of a page's answer"""
FIRST_ROWS = 20
FIRST_OF_SOME = 100
MOST_ROWS = 1000
"""what Supabase gives at most (`max_rows`); a server that gives fewer is asked more often"""
_GROWTH = 4
_SHRINKING = 8


def pages(
    api: RestApi, table: Table, select: str, after: Key | None = None,
    where: Sequence[str] = (), most: int | None = None,
) -> Iterator[tuple[list[Key], Page]]:  # fmt: skip
    """Every row whose key is greater than `after` and for which the conditions hold, until a page
    is empty, or there were `most` rows, with its key.

    How many rows are asked for follows from the bytes of those before; a page that is larger than
    MAX_PAGE_BYTES is left, and fewer rows are asked for. SourceError when a page is not in the
    order of the keys that it was asked in; UnsupportedSource for a row that is too large;
    `api.NoSuchValue` when a value in a condition is none of its column's type.
    """
    # What is asked for by key is some rows of many; a whole table may be of large ones.
    rows = most or (FIRST_OF_SOME if where else FIRST_ROWS)
    names, last, total = table.primary_key, after, 0
    while most is None or total < most:
        params = {
            "select": select, "order": asking.order(names), "limit": str(rows),
            **asking.where(where),
        }  # fmt: skip
        if last is not None:
            params["or"] = asking.after(names, last)
        try:
            page = api.page(table.name, params, most=MAX_PAGE_BYTES if rows > 1 else MAX_ROW_BYTES)
        except TooLarge:
            rows = _fewer(table, rows)
            continue
        except NoSuchValue:
            if where:
                raise
            raise UnsupportedSource(
                f"The REST API does not take the key of a row of {table.name} back as it wrote it, "
                "so that no page can begin behind it. Set DATABASE_URL to read by SQL.",
                table=table.name,
            ) from None
        if not page.rows:
            return
        keys = keys_of(page.rows, table)
        if keys[-1] == last or len(set(keys)) < len(keys) or len(keys) > rows:
            raise SourceError(
                f"The REST API gave rows of {table.name} that were not asked for, as if it did not "
                "know the condition. See what stands between it and Convault.",
                table=table.name,
            )
        yield keys, page
        last, total = keys[-1], total + len(keys)
        fitting = TARGET_BYTES * len(page.rows) // max(1, page.bytes)
        rows = max(1, min(fitting, rows * _GROWTH, MOST_ROWS))


def _fewer(table: Table, rows: int) -> int:
    if rows == 1:
        raise UnsupportedSource(
            f"A row of {table.name} has more than {MAX_ROW_BYTES} bytes: set DATABASE_URL to read "
            "it by SQL.",
            table=table.name,
        )
    return max(1, rows // _SHRINKING)
