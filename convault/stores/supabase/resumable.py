"""Resumable uploads (TUS 1.0): a large file goes in pieces, and after a cut on from where it broke.

`aiotus` speaks the protocol. What Supabase wants beyond it is here: pieces of exactly 6 MiB, the
bucket and the name as metadata, `x-upsert` with every request.
"""

from __future__ import annotations

import asyncio
import io
import time
from collections.abc import Callable, Coroutine, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any, TypeVar
from urllib.parse import urlsplit
from urllib.request import getproxies, proxy_bypass

import aiohttp
import aiotus
from aiotus import core, creation
from yarl import URL

from convault.errors import StoreUnavailable
from convault.stores.supabase.answers import (
    MAX_ERROR_BYTES,
    Answer,
    Refused,
    refusal,
    taken_apart,
)
from convault.stores.supabase.api import StorageApi, seconds_asked, unreachable

PIECE_BYTES = 6 * 1024 * 1024
"""Neither more nor less: what Supabase's server puts together."""

T = TypeVar("T")


class ResumableUploads:
    """Uploads into one bucket; remembers whether its server takes them at all."""

    def __init__(self, api: StorageApi, bucket: str) -> None:
        self._api = api
        self._bucket = bucket
        self._offered = True

    def upload(
        self, name: str, data: bytes, doing: str, *, replace: bool, there: Callable[[], int | None]
    ) -> bool:
        """Store `data` as the object `name`; False when the server has no resumable uploads.

        `there` tells the object's size, None when it is absent. Refused with the reason
        `duplicate` when it is there and not to be replaced; StoreUnavailable when nothing more of
        it came through, however often it was tried.
        """
        if not self._offered:
            return False
        upload = _Upload(self._api, self._bucket, name, data, doing, replace=replace)
        failures = 0
        while True:
            before = upload.offset
            try:
                upload.go_on()
            except Refused as refused:
                if not upload.created:
                    if refused.reason in ("no-route", "stranger") or refused.status in (405, 501):
                        self._offered = False
                        return False
                    raise
                if refused.status in (404, 410):
                    # Done, and the answer was lost; or it took too long and was thrown away.
                    if not replace and there() == len(data):
                        return True
                    upload.forget()
                elif refused.status != 409 or (not replace and there() is not None):
                    raise
                # Else the server has other bytes of it than was thought: it will say which.
                error = StoreUnavailable(
                    f"While {doing}, the store {self._api.where} lost what was sent. Try again.",
                    store=self._api.where,
                )
            except StoreUnavailable as unavailable:
                error = unavailable
            else:
                return True
            failures = 1 if upload.offset > before else failures + 1
            if failures > self._api.patience.retries:
                raise error
            time.sleep(self._api.pause(failures, error))


class _Upload:
    """One file on its way."""

    def __init__(
        self, api: StorageApi, bucket: str, name: str, data: bytes, doing: str, *, replace: bool
    ) -> None:
        self._api = api
        self._data = data
        self._doing = doing
        self._metadata = {
            "bucketName": bucket.encode(),
            "objectName": name.encode(),
            "contentType": b"application/octet-stream",
        }
        self._headers = {**api.headers, "x-upsert": "true" if replace else "false"}
        self._place: URL | None = None
        self.offset = 0
        """how many bytes the server said it has"""

    @property
    def created(self) -> bool:
        """Whether the server knows of it."""
        return self._place is not None

    def forget(self) -> None:
        """The server has lost it: begin anew."""
        self._place, self.offset = None, 0

    def go_on(self) -> None:
        """Send what is missing. Refused, StoreUnavailable."""
        with self._translated():
            _run(self._go_on())

    async def _go_on(self) -> None:
        async with self._session() as session:
            creating = URL(f"{self._api.base}/upload/resumable")
            if self._place is None:
                told = await creation.create(
                    session, creating, io.BytesIO(self._data), self._metadata, headers=self._headers
                )
                # Its name alone: behind a proxy the server tells addresses that only the proxy can
                # reach, and the key is sent to no other place than SUPABASE_URL.
                if not told.path.rpartition("/")[0].endswith("/upload/resumable"):
                    raise aiotus.ProtocolError
                self._place = URL(f"{creating}/{told.raw_name}", encoded=True)
            self.offset = await core.offset(session, self._place, headers=self._headers)
            await core.upload_buffer(
                session,
                self._place,
                io.BytesIO(self._data),
                chunksize=PIECE_BYTES,
                headers=self._headers,
            )

    def _session(self) -> aiohttp.ClientSession:
        redirects = aiohttp.TraceConfig()
        redirects.on_request_redirect.append(self._refuse_redirect)
        patience = self._api.patience
        return aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(ssl=self._api.tls),
            timeout=aiohttp.ClientTimeout(
                total=None, sock_connect=patience.connect, sock_read=patience.request
            ),
            raise_for_status=self._check,
            trace_configs=[redirects],
            proxy=_proxy(self._api.base),
        )

    async def _check(self, answer: aiohttp.ClientResponse) -> None:
        if not answer.ok:
            body = await answer.content.read(MAX_ERROR_BYTES)
            asked = seconds_asked(answer.headers.get("Retry-After"))
            raise refusal(self._doing, self._api.where, taken_apart(answer.status, body), asked)

    async def _refuse_redirect(
        self, _session: object, _context: object, redirect: aiohttp.TraceRequestRedirectParams
    ) -> None:
        answer = Answer(redirect.response.status, "other")
        raise refusal(self._doing, self._api.where, answer)  # the key would go along

    @contextmanager
    def _translated(self) -> Iterator[None]:
        try:
            yield
        except aiotus.ProtocolError:
            raise self._api.strange(self._doing) from None
        except (aiohttp.ClientError, TimeoutError, OSError) as error:
            raise unreachable(self._doing, self._api.where, error) from None


def _run(coroutine: Coroutine[Any, Any, T]) -> T:
    """In a thread of its own, as this one may have an event loop."""
    with ThreadPoolExecutor(1) as pool:
        return pool.submit(asyncio.run, coroutine).result()


def _proxy(url: str) -> str | None:
    """The proxy of the environment, as httpx uses it."""
    parts = urlsplit(url)
    return None if proxy_bypass(parts.netloc) else getproxies().get(parts.scheme)
