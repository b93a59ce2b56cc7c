"""Uploads into one bucket: small ones in one request, large ones resumably where the server can."""

from __future__ import annotations

import base64
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from convault.stores.payload import Payload
from convault.stores.supabase.api import StorageApi, object_path
from convault.stores.supabase.resumable import ResumableUploads

STANDARD_BYTES = 6 * 1024 * 1024
"""What goes in one request; Supabase asks that larger files are uploaded resumably."""


@dataclass(frozen=True, slots=True)
class Description:
    """What an object is said to be besides its bytes."""

    content_type: str = "application/octet-stream"
    cache_control: str = "no-cache"
    metadata: Mapping[str, object] = field(default_factory=dict)
    """the uploader's own"""

    def headers(self) -> dict[str, str]:
        """Of an upload in one request."""
        found = {"Content-Type": self.content_type, "Cache-Control": self.cache_control}
        if self.metadata:
            told = json.dumps(dict(self.metadata)).encode()
            found["x-metadata"] = base64.b64encode(told).decode()
        return found

    def members(self) -> dict[str, str]:
        """Of a resumable upload, whose server reads `cacheControl` as seconds."""
        found = {"contentType": self.content_type}
        seconds = self.cache_control.removeprefix("max-age=")
        if seconds.isdecimal():
            found["cacheControl"] = seconds
        if self.metadata:
            found["metadata"] = json.dumps(dict(self.metadata))
        return found


PLAIN = Description()
"""of what only Convault reads"""


class Uploads:
    """Puts objects into one bucket."""

    def __init__(self, api: StorageApi, bucket: str) -> None:
        self._api = api
        self._bucket = bucket
        self._resumable = ResumableUploads(api, bucket)

    def send(
        self, name: str, data: Payload, doing: str, *, replace: bool,
        there: Callable[[], int | None], described: Description = PLAIN,
    ) -> None:  # fmt: skip
        """Store `data` as the object `name`. `there` tells the object's size, None when it is
        absent. Refused, with the reason `duplicate` when it is there and not to be replaced;
        StoreUnavailable."""
        if data.size > STANDARD_BYTES and self._resumable.upload(
            name, data, doing, replace=replace, there=there, described=described.members()
        ):
            return
        headers = {**described.headers(), "x-upsert": "true" if replace else "false"}
        self._api.upload(f"/object/{object_path(self._bucket, name)}", doing, data, headers)
