"""Rows of the catalog's tables over the Data API, in pages by key: it gives at most `max_rows` of
them at a time (1000 where nobody changed it), and does not say when there are more."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from datetime import datetime
from typing import Any
from uuid import UUID

from postgrest.types import CountMethod

from convault.catalog.base import BackupRecord, Page, Query
from convault.catalog.rows import COLUMNS, record_of
from convault.catalog.supabase.answers import strange
from convault.catalog.supabase.api import DataApi

PAGE_ROWS = 1000
"""asked for at a time; a server that gives fewer is asked again"""
_SELECT = ",".join(COLUMNS)


def by_key(
    api: DataApi, table: str, key: str, columns: str, where: Mapping[str, str] | None = None
) -> Iterator[dict[str, Any]]:
    """All rows whose columns equal `where`, in the order of the unique column `key`."""
    last: str | None = None
    while True:

        def ask(_: bool, after: str | None = last) -> list[dict[str, Any]]:
            asked = api.client.from_(table).select(columns)
            for name, value in (where or {}).items():
                asked = asked.eq(name, value)
            if after is not None:
                asked = asked.gt(key, after)
            return rows_of(asked.order(key).limit(PAGE_ROWS).execute().data)

        rows = api.retried(ask)
        if not rows:
            return
        yield from rows
        last = str(rows[-1][key])


def backups(
    api: DataApi,
    narrowed: Callable[[Any], Any],
    *,
    after: tuple[datetime, UUID] | None = None,
    limit: int | None = None,
) -> Iterator[BackupRecord]:
    """Rows of `backups`, newest first. `narrowed` adds filters to the request; `after`: go on
    behind the row with this time of creation and id."""
    wanted = limit
    while wanted is None or wanted > 0:
        size = PAGE_ROWS if wanted is None else min(wanted, PAGE_ROWS)

        def ask(
            _: bool, behind: tuple[datetime, UUID] | None = after, size: int = size
        ) -> list[dict[str, Any]]:
            asked = narrowed(api.client.from_("backups").select(_SELECT))
            if behind is not None:
                at, last = f'"{behind[0].isoformat()}"', behind[1]
                asked = asked.or_(f"created_at.lt.{at},and(created_at.eq.{at},id.gt.{last})")
            ordered = asked.order("created_at", desc=True).order("id").limit(size)
            return rows_of(ordered.execute().data)

        records = [record_of(row) for row in api.retried(ask)]
        yield from records
        if not records:
            return
        after = (records[-1].created_at, records[-1].id)
        wanted = None if wanted is None else wanted - len(records)


def page(api: DataApi, query: Query) -> Page:
    """Rows, newest first, and how many there are behind all cursors: two requests, between which
    a backup may come."""

    def narrowed(asked: Any) -> Any:
        if query.status is not None:
            asked = asked.eq("status", query.status.value)
        else:
            asked = asked.neq("status", "deleted")
        if query.format is not None:
            quoted = query.format.replace("\\", "\\\\").replace('"', '\\"')
            named = f'options->>format.eq."{quoted}"'
            asked = asked.or_(
                f"{named},options->>format.is.null" if query.format == "json" else named
            )
        if query.requested_by is not None:
            asked = asked.eq("requested_by", query.requested_by)
        if query.created_from is not None:
            asked = asked.gte("created_at", query.created_from.isoformat())
        if query.created_to is not None:
            asked = asked.lt("created_at", query.created_to.isoformat())
        return asked

    def count(_: bool) -> int:
        asked = api.client.from_("backups").select("id", count=CountMethod.exact)
        counted = narrowed(asked).limit(1).execute().count
        if counted is None:
            raise strange()
        return int(counted)

    total = api.retried(count)
    found = tuple(backups(api, narrowed, after=query.after, limit=query.limit + 1))
    return Page(records=found[: query.limit], total=total, more=len(found) > query.limit)


def rows_of(data: Any) -> list[dict[str, Any]]:
    """The rows of an answer. CatalogError when it has none."""
    if not isinstance(data, list) or not all(isinstance(row, dict) for row in data):
        raise strange()
    return data
