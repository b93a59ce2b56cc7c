"""From a URL to a store."""

from __future__ import annotations

import re
from pathlib import Path
from threading import Lock
from urllib.parse import quote, unquote

from obstore.store import MemoryStore

from convault.errors import ConfigurationError
from convault.stores.base import Store
from convault.stores.buckets import open_bucket
from convault.stores.folder import FolderStore
from convault.stores.objects import ObjectStore
from convault.stores.services import SERVICES

_WANTED = (
    "A store's URL is file:///absolute/folder (three slashes), s3://bucket/prefix, "
    "gs://bucket/prefix, az://container/prefix, supabase://bucket/prefix or memory://name"
)
_MEMORY_NAME = re.compile(r"[a-z0-9-]*")

_in_memory: dict[str, ObjectStore] = {}
_in_memory_lock = Lock()


def open_store(url: str, *, create: bool = False) -> Store:
    """The store at `url`.

    `file:///absolute/folder`: the folder must exist, or `create` must be given, which makes its
    last component. `s3://`, `gs://` and `az://`: a bucket that exists already, see
    `stores.buckets`. `supabase://`: a bucket that `create` makes if there is none, see
    `stores.supabase`. `memory://` and `memory://name`: kept by this process alone and gone with it;
    the same name opens the same store again. ConfigurationError says what is wrong with a URL, and
    repeats nothing of it that could be a password.
    """
    if not url.isprintable():
        raise ConfigurationError(f"{_WANTED}; this one holds a character that no URL may hold.")
    scheme, separator, _ = url.partition("://")
    if not separator:
        raise ConfigurationError(_no_url(url))
    if scheme not in ("file", "memory", "supabase", *SERVICES):
        named = f" {scheme}:// is not supported." if scheme.isalnum() else ""
        raise ConfigurationError(f"{_WANTED}.{named}")
    if "@" in url.removeprefix(f"{scheme}://").partition("/")[0]:
        raise ConfigurationError(f"{_WANTED}, without a user or a password.")
    if scheme in SERVICES:
        return open_bucket(url)
    if scheme == "supabase":
        # Here, because its HTTP libraries take a while to load and few commands need them.
        from convault.stores.supabase import open_supabase

        return open_supabase(url, create=create)
    if scheme == "memory":
        return _memory(url)
    root = folder_of(url)
    canonical = f"file://{quote(str(root))}"
    return FolderStore.create(root, canonical) if create else FolderStore(root, canonical)


def _no_url(text: str) -> str:
    if text.startswith("/"):
        return f"{_WANTED}, but this is a path. Write file://{quote(text)}."
    return f"{_WANTED}; relative paths are refused, because they mean another folder tomorrow."


def folder_of(url: str) -> Path:
    """The folder of a `file:///` URL, whether it is there or not. ConfigurationError."""
    # By hand, so that nothing after a `?` or `#` is silently cut off from the folder's name.
    host, slash, rest = url.removeprefix("file://").partition("/")
    if host or not slash:
        raise ConfigurationError(
            f"{_WANTED}; this one has no third slash, so its path would be relative."
        )
    if "?" in rest or "#" in rest:
        raise ConfigurationError(f"{_WANTED}; in a folder's name write %3F for ? and %23 for #.")
    try:
        path = unquote("/" + rest, errors="strict")
    except UnicodeDecodeError:
        raise ConfigurationError(f"{_WANTED}; the folder must be written in UTF-8.") from None
    segments = path.strip("/").split("/")
    if not path.isprintable() or ".." in segments or segments == [""]:
        raise ConfigurationError(
            f"{_WANTED}; the folder must be written out, without `..`, and be more than /."
        )
    return Path(path)


def _memory(url: str) -> ObjectStore:
    name = url.removeprefix("memory://").removesuffix("/")
    if not _MEMORY_NAME.fullmatch(name):
        raise ConfigurationError(f"{_WANTED}; the name is made of a-z, 0-9 and -, nothing follows.")
    with _in_memory_lock:
        return _in_memory.setdefault(name, ObjectStore(MemoryStore(), f"memory://{name}"))
