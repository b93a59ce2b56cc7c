"""From what stands in a row to a file of this project's Storage. Pure.

Whoever writes a message chooses what stands there. So a URL is never fetched: it becomes a bucket
and a path, which are asked for through the Storage API, or it is somebody else's and left alone.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum
from typing import NamedTuple
from urllib.parse import unquote_to_bytes, urlsplit

MAX_PATH_BYTES = 1024
"""of a file's path: Postgres would take more, the object stores behind Storage do not"""
_BUCKET = re.compile(r"[A-Za-z0-9_!.*'() &$@=;:+,?-]{1,100}")
_FORMS = (
    re.compile(
        r"/storage/v1/(?:object|render/image)/(?:public|sign|authenticated)/([^/]+)/(.+)", re.DOTALL
    ),
    # As older clients wrote it, and Storage still takes it: the bucket at once.
    re.compile(
        r"/storage/v1/object/"
        r"(?!(?:public|sign|authenticated|info|list|list-v2|upload|move|copy)/)([^/]+)/(.+)",
        re.DOTALL,
    ),
)
_HOST = re.compile(r"[a-z0-9.:\[\]_-]{1,253}")
_ENCODED = re.compile(r"%(?![0-9A-Fa-f]{2})")
_ENDING = {"Cc", "Cs", "Zl", "Zp"}
_PORTS = {"http": 80, "https": 443}


class Reason(StrEnum):
    """Why what stands in a row is no file that is copied."""

    OTHER_HOST = "other host"
    NO_FILE = "not the address of a file"
    MALFORMED = "malformed"
    NOT_ALLOWED = "bucket not allowed"
    OWN_STORE = "the store's own"


class Address(NamedTuple):
    """A file: a bucket and a path in it. Neither climbs, neither holds a control character."""

    bucket: str
    path: str


class Elsewhere(NamedTuple):
    """Not a file that is copied."""

    reason: Reason
    host: str = ""
    """whose it is, where that can be told: never more of the URL, which may hold a key"""
    address: Address | None = None
    """of a file of this project that is left alone"""


@dataclass(frozen=True, slots=True)
class Borders:
    """What is this project's Storage, and what of it may be copied."""

    hosts: tuple[str, ...]
    """names under which the project answers, in lower case, with the port where it is unusual"""
    allowed: tuple[str, ...] = ()
    """buckets; none named: all of them"""
    own: Address | None = None
    """where the store keeps backups: a bucket and a prefix ('' or without a closing slash)"""

    def of_url(self, text: str) -> Address | Elsewhere:
        """What a URL, or a path of one that begins with /storage/v1/, leads to."""
        if not _one_line(text) or "\\" in text or text != text.strip():
            return Elsewhere(Reason.MALFORMED)
        if text.startswith("/storage/v1/"):
            return self._of_url_path(text.partition("?")[0].partition("#")[0])
        try:
            parts = urlsplit(text)
            port = parts.port
        except ValueError:
            return Elsewhere(Reason.MALFORMED)
        if parts.scheme not in _PORTS or not parts.hostname:
            return Elsewhere(Reason.MALFORMED)
        host = parts.hostname + ("" if port in (None, _PORTS[parts.scheme]) else f":{port}")
        if not _HOST.fullmatch(host):
            host = ""
        if "@" in parts.netloc or host not in self.hosts:
            return Elsewhere(Reason.OTHER_HOST, host)
        return self._of_url_path(parts.path)

    def of_path(self, bucket: str | None, path: str) -> Address | Elsewhere:
        """What a column of paths and one of buckets lead to; a URL may stand in the former."""
        if re.match(r"https?://|/storage/v1/", path, re.IGNORECASE):
            return self.of_url(path)
        if bucket is None:
            return Elsewhere(Reason.MALFORMED)
        return self._judged(bucket, path.removeprefix("/"))

    def covers(self, address: Address) -> bool:
        """Whether it may be copied."""
        return self._judged(*address) == address

    def _of_url_path(self, path: str) -> Address | Elsewhere:
        found = next(filter(None, (form.fullmatch(path) for form in _FORMS)), None)
        if found is None:
            return Elsewhere(Reason.NO_FILE)
        bucket, name = _decoded(found[1]), _decoded(found[2])
        if bucket is None or name is None:
            return Elsewhere(Reason.MALFORMED)
        return self._judged(bucket, name)

    def _judged(self, bucket: str, path: str) -> Address | Elsewhere:
        if not is_bucket(bucket) or not is_path(path):
            return Elsewhere(Reason.MALFORMED)
        address = Address(bucket, path)
        own = self.own
        if own is not None and bucket == own.bucket:
            inside = not own.path or path == own.path or path.startswith(f"{own.path}/")
            if inside:
                return Elsewhere(Reason.OWN_STORE, "", address)
        if self.allowed and bucket not in self.allowed:
            return Elsewhere(Reason.NOT_ALLOWED, "", address)
        return address


def is_bucket(text: str) -> bool:
    """Whether a bucket can have that name."""
    return _BUCKET.fullmatch(text) is not None and text not in (".", "..")


def is_host(text: str) -> bool:
    """Whether `text` is the name of a host, perhaps with a port."""
    return _HOST.fullmatch(text.lower()) is not None


def is_path(text: str) -> bool:
    """Whether a file can have that path here: segments that are not empty and do not climb,
    nothing in them that ends a line or controls a terminal."""
    try:
        size = len(text.encode())
    except UnicodeEncodeError:
        return False
    return (
        0 < size <= MAX_PATH_BYTES
        and _one_line(text)
        and "\\" not in text
        and all(segment not in ("", ".", "..") for segment in text.split("/"))
    )


def _one_line(text: str) -> bool:
    """Without control characters, separators of lines, and halves of characters. Not what Python
    calls printable: file names have narrow spaces (those of macOS' screenshots), joiners (emoji),
    marks of direction, and characters that are younger than this Python."""
    return all(unicodedata.category(character) not in _ENDING for character in text)


def hosts_of(project_url: str, more: Iterable[str] = ()) -> tuple[str, ...]:
    """The names of a project: of SUPABASE_URL, of the Storage that Supabase runs beside it, and
    `more`, such as a domain of one's own."""
    parts = urlsplit(project_url.lower())
    port = parts.port
    host = parts.hostname or ""
    own = host + ("" if port in (None, _PORTS[parts.scheme]) else f":{port}")
    found = [own]
    if host.endswith(".supabase.co") and host.count(".") == 2:
        found.append(host.replace(".supabase.co", ".storage.supabase.co"))
    return tuple(dict.fromkeys([*found, *(name.lower() for name in more)]))


def _decoded(text: str) -> str | None:
    """Percent-encoding undone, once: what is behind a second one is part of the name."""
    if _ENCODED.search(text):
        return None
    try:
        return unquote_to_bytes(text).decode()
    except UnicodeDecodeError:
        return None
