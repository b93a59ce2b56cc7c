"""Listing a bucket to its end, in both shapes that Supabase Storage has.

`list-v2` names every object below a prefix and goes on from a cursor. Older servers have `list`
alone: one folder at a time (a folder is an entry without an id), by offset. What is deleted while
such a listing goes on moves what follows, and an object would be skipped; so each page begins with
the last entry of the page before, and where it does not, the folder is listed again.
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime
from typing import Any
from urllib.parse import quote

from convault.errors import StoreUnavailable
from convault.stores.base import ObjectInfo
from convault.stores.supabase.answers import Refused
from convault.stores.supabase.api import StorageApi

PAGE = 1000
_RESTARTS = 5


class Listing:
    """Lists one bucket; remembers which of the two shapes its server has."""

    def __init__(self, api: StorageApi, bucket: str) -> None:
        self._api = api
        self._bucket = quote(bucket, safe="")  # Storage lets it have a `?`
        self._has_v2 = True

    def below(self, prefix: str) -> Iterator[ObjectInfo]:
        """Every object whose name starts with `prefix` ('' or 'a/b/'), under its whole name.
        An object that is made or deleted meanwhile may be in it or not."""
        if self._has_v2:
            cursor = None
            while True:
                try:
                    page = self._page(prefix, cursor)
                except Refused as refused:
                    # A server without it answers variously; `list` says what is really wrong.
                    if cursor is not None or refused.status not in (400, 404, 405, 501):
                        raise
                    self._has_v2 = False
                    break
                yield from self._named(page["objects"], prefix)
                if not page.get("hasNext"):
                    return
                if page.get("nextCursor") in (None, "", cursor):
                    raise self._strange()
                cursor = page["nextCursor"]
        folders = [prefix]
        while folders:
            yield from self._folder(folders.pop(), folders)

    def _page(self, prefix: str, cursor: str | None) -> dict[str, Any]:
        body = {"prefix": prefix, "limit": PAGE, "with_delimiter": False}
        path = f"/object/list-v2/{self._bucket}"
        page = self._api.json(
            "POST", path, "listing", body | ({"cursor": cursor} if cursor else {})
        )
        if not isinstance(page, dict) or not isinstance(page.get("objects"), list):
            raise self._strange()
        return page

    def _folder(self, folder: str, found: list[str]) -> Iterator[ObjectInfo]:
        """Objects of one folder; its folders are added to `found`."""
        seen: set[str] = set()
        last, offset, restarts = None, 0, 0
        while True:
            # A server may give fewer than were asked for, so only a page without news is the end.
            page = self._entries(folder, max(offset - 1, 0))
            names = [entry["name"] for entry in page]
            if last is not None and names[:1] != [last]:
                restarts += 1
                if restarts > _RESTARTS:
                    raise StoreUnavailable(
                        f"{self._api.where} changed each time it was listed. Try again when "
                        "nothing is deleted there.",
                        store=self._api.where,
                    )
                last, offset = None, 0
                continue
            news = page[1:] if last is not None else page
            if not news:
                return
            fresh = [entry for entry in news if entry["name"] not in seen]
            seen |= {entry["name"] for entry in fresh}
            found += [f"{folder}{e['name']}/" for e in fresh if e.get("id") is None and e["name"]]
            yield from self._named([e for e in fresh if e.get("id") is not None], folder)
            last, offset = names[-1], max(offset - 1, 0) + len(page)

    def _entries(self, folder: str, offset: int) -> list[dict[str, Any]]:
        body = {
            "prefix": folder,
            "limit": PAGE,
            "offset": offset,
            "sortBy": {"column": "name", "order": "asc"},
        }
        page = self._api.json("POST", f"/object/list/{self._bucket}", "listing", body)
        if not isinstance(page, list) or not all(
            isinstance(entry, dict) and isinstance(entry.get("name"), str) for entry in page
        ):
            raise self._strange()
        return page

    def _named(self, entries: list[dict[str, Any]], prefix: str) -> Iterator[ObjectInfo]:
        for entry in entries:
            try:
                name = entry["name"]
                # Names are whole, but in `list` of Supabase itself: there they have no slash.
                whole = name if "/" in name or not prefix else prefix + name
                if whole.startswith(prefix):  # a `_` in a prefix may have matched any character
                    yield info(whole, entry)
            except (KeyError, TypeError, ValueError, AttributeError, OverflowError):
                raise self._strange() from None

    def _strange(self) -> Exception:
        return self._api.strange("listing")


def info(key: str, entry: dict[str, Any]) -> ObjectInfo:
    """What an entry of a listing, or `object/info`, tells of an object. KeyError, TypeError or
    ValueError when it does not tell it."""
    size = entry.get("size")
    if size is None:
        size = entry["metadata"]["size"]
    return ObjectInfo(
        key, int(size), datetime.fromisoformat(entry.get("last_modified") or entry["updated_at"])
    )
