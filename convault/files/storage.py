"""The Storage of the project, whose files are copied and put back: always by bucket and path,
through the Storage API, at SUPABASE_URL and nowhere else."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import datetime
from functools import partial
from typing import Any, BinaryIO, TypeVar

from convault.errors import FilesError, FilesUnavailable, StoreError, StoreUnavailable
from convault.files.addresses import Address
from convault.project import Project
from convault.stores.buckets import Patience
from convault.stores.payload import Payload
from convault.stores.supabase.answers import Refused
from convault.stores.supabase.api import PATIENCE, StorageApi, object_path
from convault.stores.supabase.listing import Listing
from convault.stores.supabase.uploads import Description, Uploads

T = TypeVar("T")
_UNKNOWN_TYPE = "application/octet-stream"
_LINE = re.compile(r"[\x20-\x7e]{0,255}")
_LARGEST = 8 * 1024
"""bytes of an uploader's own metadata that are kept; more is left out"""

Take = Callable[[Iterator[bytes]], T]
"""takes the bytes of a file as they come; called anew when a connection broke"""


@dataclass(frozen=True, slots=True)
class RemoteFile:
    """What Storage tells of a file without its bytes."""

    size: int
    """bytes"""
    etag: str
    modified: str
    """as the server writes it"""
    version: str
    """another one each time the file is written, '' where the server tells none"""
    content_type: str
    cache_control: str
    metadata: Mapping[str, Any] = field(default_factory=dict)
    """the uploader's own"""


class CutShort(Exception):
    """The bytes of a file ended before its size, or went on behind it."""


class FileStorage:
    """Storage of one project. May be used by several threads.

    Errors: FilesUnavailable (transient; tried again here first), FilesError for everything else
    that Storage says. Neither holds a path: that is a row's value.
    """

    def __init__(self, project: Project, patience: Patience = PATIENCE) -> None:
        self.url = project.url
        self._api = StorageApi(project, project.url, patience)

    def buckets(self) -> dict[str, bool]:
        """The buckets there are, and whether each is public."""
        with _told("listing the buckets"):
            told = self._api.json("GET", "/bucket", "listing the buckets")
            if not isinstance(told, list) or not all(
                isinstance(b, dict) and isinstance(b.get("id"), str) for b in told
            ):
                raise self._api.strange("listing the buckets")
            return {bucket["id"]: bucket.get("public") is True for bucket in told}

    def make_bucket(self, bucket: str) -> None:
        """Make a private bucket, unless there is one."""
        made = {"id": bucket, "name": bucket, "public": False}
        with _told("making a bucket"):
            try:
                self._api.json("POST", "/bucket", "making a bucket", made)
            except Refused as refused:
                if refused.reason != "duplicate":
                    raise

    def names(self, bucket: str) -> Iterator[str]:
        """The path of every file in the bucket, to its end."""
        with _told("listing a bucket"):
            for found in Listing(self._api, bucket).below(""):
                yield found.key

    def look(self, address: Address) -> RemoteFile | None:
        """What there is; None when the file is not there, which nothing but Storage's own word for
        a missing object says: not a status 404 of a proxy, not a missing bucket."""
        doing = "looking at a file"
        with _told(doing):
            try:
                told = self._api.json("GET", f"/object/info/{object_path(*address)}", doing)
            except Refused as refused:
                if _is_missing(refused):
                    return None
                raise
            try:
                return _remote(told)
            except (KeyError, TypeError, ValueError, AttributeError, OverflowError):
                raise self._api.strange(doing) from None

    def read(self, address: Address, size: int, take: Take[T]) -> T | None:
        """Give the file's bytes to `take`, from the beginning again when the connection breaks;
        None when the file is not there any more. CutShort when it has not `size` bytes."""
        doing = "reading a file"
        path = f"/object/{object_path(*address)}"

        def once() -> T:
            with self._api.download(path, doing, {}) as (answer, body):
                if answer.headers.get("Content-Encoding", "identity") != "identity":
                    raise self._api.strange(doing)
                return take(_exactly(body, size))

        with _told(doing):
            try:
                return self._api.retried(once)
            except Refused as refused:
                if _is_missing(refused):
                    return None
                raise

    def write(
        self, address: Address, file: BinaryIO, described: Description, *, replace: bool
    ) -> bool:
        """Put a file there; False when one is there already and `replace` was not told."""

        def there() -> int | None:
            found = self.look(address)
            return None if found is None else found.size

        with _told("putting a file back"):
            try:
                Uploads(self._api, address.bucket).send(
                    address.path, Payload(file), "putting a file back",
                    replace=replace, there=there, described=described,
                )  # fmt: skip
            except Refused as refused:
                if refused.reason == "duplicate" and not replace:
                    return False
                raise
        return True


def _is_missing(refused: Refused) -> bool:
    """A name that the server takes for none is no file's either."""
    return refused.reason in ("no-object", "key")


@contextmanager
def _told(doing: str) -> Iterator[None]:
    """The words of a store, where it is not one."""
    try:
        yield
    except (FilesError, FilesUnavailable):
        raise
    except StoreError as error:
        message = error.message.replace("the store ", "the Storage of ", 1)
        kind = FilesUnavailable if isinstance(error, StoreUnavailable) else FilesError
        ids = {"status": error.ids["status"]} if "status" in error.ids else {}
        raise kind(message, doing=doing, **ids) from None


def _exactly(body: Iterator[bytes], size: int) -> Iterator[bytes]:
    got = 0
    for piece in body:
        got += len(piece)
        if got > size:
            raise CutShort
        yield piece
    if got != size:
        raise CutShort


def _remote(told: Any) -> RemoteFile:
    """Storage tells the parts of it under names of their own; older servers, and `@supabase/lite`,
    as a row of the table of objects."""
    row = told.get("metadata") or {}
    is_row = "mimetype" in row or "eTag" in row
    first = partial(_first_text, told, row)
    own = (told.get("user_metadata") if is_row else row) or {}
    size = told["size"] if told.get("size") is not None else row["size"]
    modified = first(("last_modified", "updated_at"), ("lastModified",))
    datetime.fromisoformat(modified)
    return RemoteFile(
        size=int(size),
        etag=_line(first(("etag",), ("eTag",))),
        modified=_line(modified),
        version=_line(str(told.get("version") or "")),
        content_type=_line(first(("content_type",), ("mimetype",))) or _UNKNOWN_TYPE,
        cache_control=_line(first(("cache_control",), ("cacheControl",))) or "no-cache",
        metadata=own if isinstance(own, dict) and _can_be_kept(own) else {},
    )


def _line(text: str) -> str:
    """What may stand in a header; whoever uploads a file chooses its type."""
    return text if _LINE.fullmatch(text) else ""


def _can_be_kept(metadata: dict[str, Any]) -> bool:
    """Whether JSON in UTF-8 holds it, and at a bearable length."""
    try:
        return len(json.dumps(metadata, ensure_ascii=False, allow_nan=False).encode()) <= _LARGEST
    except (ValueError, RecursionError):
        return False


def _first_text(
    told: Mapping[str, Any], row: Mapping[str, Any], names: tuple[str, ...],
    of_row: tuple[str, ...],
) -> str:  # fmt: skip
    for holder, keys in ((told, names), (row, of_row)):
        for key in keys:
            if isinstance(holder.get(key), str):
                return str(holder[key])
    return ""
