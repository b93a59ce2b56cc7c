"""From `supabase://bucket/prefix` to a store."""

from __future__ import annotations

import re
from urllib.parse import quote, unquote

from convault.errors import ConfigurationError
from convault.project import project
from convault.settings import environment
from convault.stores.buckets import MAX_PREFIX, Patience
from convault.stores.keys import is_key
from convault.stores.supabase.api import PATIENCE, StorageApi
from convault.stores.supabase.store import SupabaseStore
from convault.urls import split_url

FREE_PLAN_BYTES = 50 * 1024 * 1024
_BUCKET = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}")
_PREFIX = re.compile(r"[A-Za-z0-9_/!.*'() &$@=;:+,-]*")
"""What Supabase takes in a name, without what no key of a store has."""


def open_supabase(
    url: str, *, create: bool = False, patience: Patience = PATIENCE
) -> SupabaseStore:
    """The store at `supabase://bucket/prefix` in the project of SUPABASE_URL, opened with
    SUPABASE_SERVICE_ROLE_KEY.

    With `create` the bucket is made if there is none, private; otherwise nothing is asked of the
    server yet. ConfigurationError says what is wrong with the URL or the variables, and repeats no
    secret.
    """
    bucket, prefix = parse(url)
    where = f"supabase://{bucket}/{quote(prefix)}".rstrip("/")
    api = StorageApi(project(), where, patience)
    store = SupabaseStore(api, bucket, f"{prefix}/" if prefix else "")
    if create:
        store.create_bucket(_file_limit())
    return store


def parse(url: str) -> tuple[str, str]:
    """Bucket and prefix; the prefix is '' or a folder without the closing slash.
    ConfigurationError."""
    parts = split_url(url)
    wanted = "A store in Supabase Storage is supabase://bucket/prefix"
    if not _BUCKET.fullmatch(parts.netloc):
        raise ConfigurationError(
            f"{wanted}, where the bucket is made of letters, digits, `.`, `_` and `-`. The project "
            "is SUPABASE_URL."
        )
    prefix = unquote(parts.path).strip("/")
    good = _PREFIX.fullmatch(prefix) and (not prefix or is_key(prefix))
    if "?" in url or "#" in url or not good or len(prefix) > MAX_PREFIX:
        raise ConfigurationError(
            f"{wanted}, where the prefix is a folder of at most {MAX_PREFIX} ASCII letters, digits "
            "and some signs, without `..`, and nothing follows it. The project is SUPABASE_URL, "
            "its key SUPABASE_SERVICE_ROLE_KEY."
        )
    return parts.netloc, prefix


def _file_limit() -> int:
    text = environment("CONVAULT_SUPABASE_FILE_LIMIT")
    if not text:
        return FREE_PLAN_BYTES
    if not re.fullmatch(r"[1-9]\d{0,14}", text.strip(), re.ASCII):
        raise ConfigurationError(
            "CONVAULT_SUPABASE_FILE_LIMIT is a number of bytes, the largest file that the bucket "
            f"made by `convault init` takes; {FREE_PLAN_BYTES} when it is not set."
        )
    return int(text)
