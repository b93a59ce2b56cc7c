"""Settings, from the environment and a `.env` file (docs/operations.md lists them all)."""

from __future__ import annotations

import os
import re
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from datetime import timedelta
from functools import cached_property
from pathlib import Path
from typing import Any, Literal
from zoneinfo import ZoneInfo

from pydantic import Field, SecretStr, ValidationError, field_validator
from pydantic_settings import BaseSettings, SettingsConfigDict

from convault.dataset.declared import DeclaredRelation, parse_column, parse_relations
from convault.errors import ConfigurationError, NotFoundError
from convault.files.addresses import is_bucket, is_host
from convault.files.columns import Told, parse_paths, parse_urls
from convault.models import MAX_PART_BYTES, TableName
from convault.pause import Window, parse_pause
from convault.quota import parse_quota
from convault.retention.spans import SpanText
from convault.signing.signature import SigningKeys
from convault.urls import split_url
from convault.validation import reasons

ENV_FILE = Path(os.environ.get("CONVAULT_ENV_FILE") or ".env")
_NAMED_STORE = re.compile(r"CONVAULT_STORE_([A-Z0-9_]+)_URL")
_OF_A_STORE = ("_SUPABASE", "_AWS_ENDPOINT", "_GOOGLE_BASE")
"""how a name ends where the variable is no store's URL but its own one (`own_variables`)"""

MAX_WORKERS = 4
"""that are chosen without being asked for: each takes some 150 MiB, and a connection of a pool that
may have no more than 15 (Supabase's, in session mode)"""


def workers_of_cores() -> int:
    """One for each core that this process may use; 2 at least, because rows are read while others
    are compressed, and `MAX_WORKERS` at most."""
    may_use = getattr(os, "sched_getaffinity", None)  # not on macOS
    cores = len(may_use(0)) if may_use else os.cpu_count() or 1
    return min(max(2, cores), MAX_WORKERS)


_store: ContextVar[str | None] = ContextVar("convault_store", default=None)
"""the named store that is being opened"""


class Settings(BaseSettings):
    """What the operator sets. Fields are named as their environment variables, in lower case."""

    model_config = SettingsConfigDict(extra="ignore", frozen=True, hide_input_in_errors=True)

    database_url: SecretStr | None = None
    """the source; the catalog lives there too unless `convault_catalog_url` says otherwise"""
    convault_catalog_url: SecretStr | None = None
    """postgresql://..., or `supabase` for the Data API of the project of SUPABASE_URL"""
    convault_store_url: str | None = None
    """`file:///absolute/folder`, `s3://bucket/prefix`, `gs://...`, `az://...`, `supabase://...` or
    `memory://`"""
    convault_store_quota: str | None = None
    """bytes that the store may hold, such as `900MB`: a backup stops before"""
    convault_api_key: SecretStr | None = None
    """may do everything that the API offers"""
    convault_api_keys: SecretStr | None = None
    """`name:scope+scope:sha256` each, separated by spaces"""
    supabase_url: str | None = None
    """https://host: the project whose Storage can be the store and whose users' tokens count"""
    supabase_jwt_secret: SecretStr | None = None
    """with which an older project signs tokens (HS256)"""
    convault_token_issuer: str | None = None
    """what tokens name as `iss` where it is not `<SUPABASE_URL>/auth/v1`"""
    convault_signing_key: SecretStr | None = None
    """keys in hex or base64, with commas between: the first signs manifests, all of them prove"""
    convault_encryption: Literal["auto", "required", "off"] = "auto"
    """auto: when there is a recipient to encrypt to"""
    convault_identity_file: Path | None = None
    """what opens encrypted backups where no --identity is given"""
    convault_identity_passphrase_file: Path | None = None
    """a file that holds the passphrase of identity files"""
    convault_mask_key: SecretStr | None = None
    """what `maskColumns` hashes with; whoever has it can try values until a mask agrees"""
    convault_api_hosts: str = ""
    """names, with commas between, that requests to the API may be for, beside those of loopback"""
    convault_api_docs: bool = True
    """whether the API serves /docs and /openapi.json, which are open"""
    convault_failed_sign_ins: int = Field(default=20, ge=1)
    """wrong keys or tokens of one address in a minute, after which it is blocked"""
    convault_allow_live_restore: bool = False
    """whether the API may start restores that change rows of live tables, or go into the source"""
    convault_timezone: ZoneInfo = ZoneInfo("UTC")
    convault_silent_seconds: float = Field(default=150.0, ge=10, le=86400)
    """after which a run that says every 30 s that it lives, and is silent, has crashed"""
    convault_prefect_database_url: SecretStr | None = None
    """postgresql://...: where the Prefect server of `convault up` keeps its data"""
    convault_prefect_history_days: float = Field(default=90.0, ge=1, le=3650)
    """that it keeps runs which are over"""

    convault_source: Literal["auto", "sql", "rest"] = "auto"
    """auto: by SQL where there is DATABASE_URL, or else by REST"""
    convault_root_table: str = "conversations"
    """table that the dataset starts from, `table` or `schema.table` (schema `public` by default)"""
    convault_messages_table: str = "messages"
    """table of the dataset that must be there, or nothing is backed up"""
    convault_relations: str = ""
    """relations that the schema does not declare, written as `convault.dataset.declared` tells"""
    convault_created_column: str = Field(default="created_at", min_length=1)
    """column of the root that startDate and endDate are held against"""
    convault_status_column: str = Field(default="status", min_length=1)
    convault_channel_column: str = Field(default="channel_id", min_length=1)
    convault_participants_column: str = ""
    """`table.column` that participantIds are looked for in; '' lets it be found"""

    convault_file_paths: str = ""
    """columns of paths of Storage files: `table.column@bucket_column` or `table.column@=bucket`,
    with commas between; '' lets them be found by their names"""
    convault_file_urls: str = ""
    """columns of URLs of Storage files: `table.column`, with commas between; '' as above"""
    convault_file_buckets: str = ""
    """buckets that files may be copied from, with commas between; '': any but the store's own"""
    convault_file_hosts: str = ""
    """further names of the project in URLs, such as a domain of one's own, with commas between"""
    convault_file_missing_percent: float = Field(default=5.0, ge=0, le=100)
    """of the files: more may not be missing"""
    convault_file_workers: int = Field(default=4, ge=1, le=32)
    """files copied at the same time"""

    convault_workers: int = Field(default_factory=workers_of_cores, ge=1, le=32)
    """chunks carried at the same time; where the source allows fewer connections, they wait for
    one another"""
    convault_task_runner: Literal["threads", "dask"] = "threads"
    """what carries chunks: threads of the run, or the Dask cluster of the next line"""
    convault_dask_address: str | None = None
    """of its scheduler: `tcp://host:8786`, or `tls://...`"""
    convault_range_pages: int = Field(default=1024, ge=1)
    """heap pages of a range, from the next backup on that reads every row"""
    convault_full_every: int = Field(default=30, ge=0)
    """one of so many backups reads every row; 0: none for their number"""
    convault_full_days: float = Field(default=30.0, ge=0, le=36500)
    """days after which a backup reads every row again; 0: never for their age"""
    convault_part_bytes: int = Field(default=MAX_PART_BYTES, ge=1024, le=MAX_PART_BYTES)
    """plain bytes of a part at most"""
    convault_chunk_bytes: int = Field(default=64 * 1024 * 1024, ge=1024)
    """bytes (heap and TOAST) that are packed into one chunk at most, unless one range has more"""
    convault_lock_timeout: float = Field(default=30.0, gt=0)
    """seconds to wait for the tables' locks"""

    convault_source_connections: int | None = Field(default=None, ge=2, le=64)
    """connections to the source that a run has at most; None: one more than workers"""
    convault_max_hours: float = Field(default=6.0, gt=0, le=24 * 14)
    """that a backup may take: then it lets go of its locks and fails"""
    convault_pause: str = ""
    """when no backup begins, in CONVAULT_TIMEZONE: `08:00-18:00`, `mon-fri 08:00-18:00`, with
    commas between"""
    convault_upload_limit: str | None = None
    """bytes a second that a run sends to a store at most, such as `5MB`; None: as fast as it can"""
    convault_copy_late: float = Field(default=26.0, gt=0, le=24 * 365)
    """hours that a completed backup may be missing from a copy before that is red"""
    convault_copy_workers: int = Field(default=4, ge=1, le=32)
    """objects on their way into a copy at the same time"""

    convault_keep_last: int | None = None
    """the rules of a clean-up that brings none of its own (`convault.retention.policy`)"""
    convault_keep_hourly: int | None = None
    convault_keep_daily: int | None = None
    convault_keep_weekly: int | None = None
    convault_keep_monthly: int | None = None
    convault_keep_yearly: int | None = None
    convault_keep_within: str | None = None
    convault_keep_at_most: str | None = None
    convault_keep_minimum: int | None = None
    convault_trash_days: float = Field(default=7.0, ge=0, le=3650)
    """days that a deleted backup can be taken back"""
    convault_sweep_grace: float = Field(default=24.0, ge=6, le=24 * 365)
    """hours for which no manifest must have named an object before it is removed; never shorter
    than the longest backup that is allowed"""

    convault_notify_urls: SecretStr | None = None
    """who is told when something is wrong: URLs of apprise, with spaces between"""
    convault_notify_name: str = ""
    """what messages call this installation; '': the name of the machine"""
    convault_notify_max_age: SpanText | Literal["0"] = "8d"
    """somebody is told when the last good backup is older; 0: never"""
    convault_notify_overdue: float = Field(default=30.0, ge=1, le=60 * 24 * 30)
    """minutes after its time when a schedule whose backup has not begun is overdue"""
    convault_ping_url: SecretStr | None = None
    """asked for when a backup starts (`/start`), is complete, or failed (`/fail`)"""

    convault_drill_sql: Path | None = None
    """absolute path of a file of queries, each of which must return no row of a restored backup"""
    convault_drill_timeout: float = Field(default=60.0, gt=0, le=86400)
    """seconds that each of them may take"""

    @field_validator("convault_drill_sql")
    @classmethod
    def _absolute(cls, value: Path | None) -> Path | None:
        if value is not None and not value.is_absolute():
            raise ValueError("not an absolute path")
        return value

    @field_validator("convault_ping_url")
    @classmethod
    def _ping(cls, value: SecretStr | None) -> SecretStr | None:
        url = "" if value is None else value.get_secret_value()
        if url and (split_url(url).scheme not in {"http", "https"} or not split_url(url).hostname):
            raise ValueError("not an address such as https://hc-ping.com/your-uuid")
        return value if url else None

    @field_validator("convault_store_quota", "convault_upload_limit")
    @classmethod
    def _quota(cls, value: str | None) -> str | None:
        if value:
            parse_quota(value)
        return value

    @field_validator("convault_pause")
    @classmethod
    def _pause(cls, value: str) -> str:
        parse_pause(value)
        return value

    @field_validator("convault_timezone", mode="before")
    @classmethod
    def _zone(cls, value: Any) -> Any:
        try:
            return ZoneInfo(value) if isinstance(value, str) else value
        except (KeyError, ValueError, OSError):
            raise ValueError("not an IANA time zone, such as America/Sao_Paulo") from None

    @field_validator("convault_relations")
    @classmethod
    def _relations(cls, value: str) -> str:
        parse_relations(value)
        return value

    @field_validator("convault_file_paths")
    @classmethod
    def _file_paths(cls, value: str) -> str:
        parse_paths(value)
        return value

    @field_validator("convault_file_urls")
    @classmethod
    def _file_urls(cls, value: str) -> str:
        parse_urls(value)
        return value

    @field_validator("convault_file_buckets")
    @classmethod
    def _file_buckets(cls, value: str) -> str:
        if not all(map(is_bucket, listed(value))):
            raise ValueError("not names of buckets, with commas between")
        return value

    @field_validator("convault_file_hosts")
    @classmethod
    def _file_hosts(cls, value: str) -> str:
        if not all(map(is_host, listed(value))):
            raise ValueError("not names of hosts (files.example.com), with commas between")
        return value

    @field_validator("convault_participants_column")
    @classmethod
    def _participants(cls, value: str) -> str:
        if value:
            parse_column(value)
        return value

    @cached_property
    def store_quota(self) -> int | None:
        """CONVAULT_STORE_QUOTA in bytes; None when it is not set."""
        return parse_quota(self.convault_store_quota) if self.convault_store_quota else None

    @cached_property
    def upload_limit(self) -> int | None:
        """CONVAULT_UPLOAD_LIMIT in bytes a second; None when it is not set."""
        return parse_quota(self.convault_upload_limit) if self.convault_upload_limit else None

    @cached_property
    def pause(self) -> tuple[Window, ...]:
        """CONVAULT_PAUSE, read."""
        return parse_pause(self.convault_pause)

    @cached_property
    def relations(self) -> tuple[DeclaredRelation, ...]:
        """CONVAULT_RELATIONS, read."""
        return parse_relations(self.convault_relations)

    @cached_property
    def participants(self) -> tuple[TableName, str] | None:
        """Table and column of CONVAULT_PARTICIPANTS_COLUMN."""
        named = self.convault_participants_column
        return parse_column(named) if named else None

    @cached_property
    def file_paths(self) -> tuple[Told, ...]:
        """CONVAULT_FILE_PATHS, read."""
        return parse_paths(self.convault_file_paths)

    @cached_property
    def file_urls(self) -> tuple[Told, ...]:
        """CONVAULT_FILE_URLS, read."""
        return parse_urls(self.convault_file_urls)

    @cached_property
    def root_table(self) -> TableName:
        """The root, with its schema."""
        return parse_table(self.convault_root_table)

    @cached_property
    def messages_table(self) -> TableName:
        """The table of messages, with its schema."""
        return parse_table(self.convault_messages_table)

    @cached_property
    def signing(self) -> SigningKeys:
        """The keys of CONVAULT_SIGNING_KEY, none when it is not set. ConfigurationError."""
        secret = self.convault_signing_key
        text = "" if secret is None else secret.get_secret_value().strip()
        return SigningKeys.parse(text) if text else SigningKeys()

    @property
    def by_rest(self) -> bool:
        """Whether rows come through the REST API of SUPABASE_URL."""
        if self.convault_source == "auto":
            return self.database_url is None and bool(self.supabase_url)
        return self.convault_source == "rest"

    def require_source(self) -> None:
        """ConfigurationError unless it is said where rows come from."""
        if not self.by_rest:
            self.source_url()

    def source_url(self) -> str:
        """DATABASE_URL; ConfigurationError with the remedy when it is not set."""
        if self.database_url is None:
            raise ConfigurationError(
                "DATABASE_URL is not set, so there is no database to work on. Set it in the "
                "environment or in .env (postgresql://user:password@host:5432/database), or try "
                "`convault demo`, which brings its own. Rows alone can be read with SUPABASE_URL "
                "and SUPABASE_SERVICE_ROLE_KEY (docs/operations.md, CONVAULT_SOURCE)."
            )
        return self.database_url.get_secret_value()

    def catalog_url(self) -> str:
        """Where the `backups` table lives: CONVAULT_CATALOG_URL, or DATABASE_URL, or `supabase`
        where a project and its key are all there is. ConfigurationError."""
        if self.convault_catalog_url is not None:
            return self.convault_catalog_url.get_secret_value()
        if self.database_url is None and self.has_catalog:
            return "supabase"
        return self.source_url()

    @property
    def has_catalog(self) -> bool:
        """Whether anything says where the catalog is."""
        if self.convault_catalog_url is not None or self.database_url is not None:
            return True
        return bool(self.supabase_url and environment("SUPABASE_SERVICE_ROLE_KEY"))

    def prefect_database_url(self) -> str | None:
        """CONVAULT_PREFECT_DATABASE_URL; None when it is not set. ConfigurationError."""
        secret = self.convault_prefect_database_url
        url = "" if secret is None else secret.get_secret_value().strip()
        if url and not url.startswith(("postgresql://", "postgres://")):
            raise ConfigurationError(
                "CONVAULT_PREFECT_DATABASE_URL is no postgresql:// URL. Set it to a database that "
                "is Prefect's alone, or leave it out: then its data is kept in a file."
            )
        return url or None

    def store_url(self) -> str:
        """CONVAULT_STORE_URL; ConfigurationError with the remedy when it is not set."""
        if not self.convault_store_url:
            raise ConfigurationError(
                "CONVAULT_STORE_URL is not set, so there is no place to keep backups. Set it, for "
                "example to file:///var/backups/convault, and run `convault init`."
            )
        return self.convault_store_url

    @property
    def copy_late(self) -> timedelta:
        """CONVAULT_COPY_LATE."""
        return timedelta(hours=self.convault_copy_late)

    @property
    def store_names(self) -> tuple[str, ...]:
        """The NAMEs of CONVAULT_STORE_<NAME>_URL, in lower case."""
        return tuple(sorted(named_stores()))

    def named_store_url(self, name: str) -> str:
        """CONVAULT_STORE_<NAME>_URL; NotFoundError when it is not set."""
        known = named_stores()
        url = known.get(name.lower().replace("_", "-"))
        if url is None:
            variable = f"CONVAULT_STORE_{name.upper().replace('-', '_')}_URL"
            named = f" There are: {', '.join(sorted(known))}." if known else ""
            raise NotFoundError(
                f"There is no store {name!r}: set {variable} in the environment or .env.{named}",
                store=name,
            )
        return url

    def copy_rules(self, name: str) -> str | None:
        """CONVAULT_STORE_<NAME>_KEEP: rules of that copy's own, as `replication.rules` reads them;
        None where there are none, and deletions follow."""
        return environment(f"CONVAULT_STORE_{name.upper().replace('-', '_')}_KEEP") or None

    def target_url(self, name: str) -> str:
        """CONVAULT_TARGET_<NAME>_URL; NotFoundError when it is not set."""
        variable = f"CONVAULT_TARGET_{name.upper().replace('-', '_')}_URL"
        url = environment(variable)
        if not url:
            raise NotFoundError(
                f"There is no restore target {name!r}: set {variable} in the environment or .env.",
                target=name,
            )
        return url


def load_settings() -> Settings:
    """Read the environment and `.env`. ConfigurationError names what is wrong, never its value."""
    try:
        return Settings(_env_file=ENV_FILE if _env_file() else None)  # type: ignore[call-arg]
    except ValidationError as error:
        why = reasons(error, named=str.upper)
        raise ConfigurationError(f"These settings cannot be used: {why}.") from None


def env_file() -> Path:
    """The file that is read beside the environment: `.env` in the working directory, or what
    CONVAULT_ENV_FILE names."""
    return ENV_FILE


def listed(text: str) -> tuple[str, ...]:
    """What stands between commas."""
    return tuple(filter(None, (part.strip() for part in text.split(","))))


def environment(variable: str) -> str | None:
    """A variable that is not a field of Settings, from the environment or `.env`; while a store is
    opened that has variables of its own, only its own of the same kind (`AWS_...`)."""
    name, kind = _store.get(), variable.partition("_")[0]
    if name is not None:
        file = _env_file()
        prefix = f"CONVAULT_STORE_{name.upper().replace('-', '_')}_"
        if any(known.startswith(f"{prefix}{kind}_") for known in (*os.environ, *file)):
            return os.environ.get(prefix + variable) or file.get(prefix + variable)
    return os.environ.get(variable) or _env_file().get(variable)


@contextmanager
def own_variables(url: str) -> Iterator[None]:
    """Where `url` is a CONVAULT_STORE_<NAME>_URL, variables in the block are that store's own
    (CONVAULT_STORE_<NAME>_AWS_ACCESS_KEY_ID, ..._SUPABASE_URL), if it has any: two providers have
    two keys."""
    name = next((name for name, known in named_stores().items() if known == url), None)
    token = _store.set(name)
    try:
        yield
    finally:
        _store.reset(token)


def named_stores() -> dict[str, str]:
    """The URLs of CONVAULT_STORE_<NAME>_URL by name, in lower case: places for copies of the
    repository. They hold no credentials."""
    found = {**_env_file(), **os.environ}
    matches = ((_NAMED_STORE.fullmatch(variable), url) for variable, url in found.items())
    return {
        match[1].lower().replace("_", "-"): url
        for match, url in matches
        if match and url and not match[1].endswith(_OF_A_STORE)
    }


def parse_table(text: str) -> TableName:
    """`table` or `schema.table`; `public` is the default schema."""
    schema, dot, name = text.partition(".")
    return TableName(schema, name) if dot else TableName("public", text)


def without_password(url: str) -> str:
    """`url` as it may be shown: no user, no password, no query."""
    parts = split_url(url)
    host = parts.netloc.rpartition("@")[2]
    return parts._replace(netloc=host, query="", fragment="").geturl()


def _env_file() -> dict[str, str | None]:
    """The variables of `.env`, which may hold passwords: it must be its owner's alone, who must
    be this user or root."""
    from dotenv import dotenv_values

    if not ENV_FILE.is_file():
        return {}
    status = ENV_FILE.stat()
    if status.st_uid not in {0, os.geteuid()}:
        raise ConfigurationError(
            "The file .env belongs to another user, who could have any database backed up to any "
            "place. Make it yours (`chown`), if what it says is, and try again."
        )
    if status.st_mode & (stat.S_IRWXG | stat.S_IRWXO):
        raise ConfigurationError(
            "The file .env can be read by others, and it may hold passwords. "
            "Run `chmod 600 .env` and try again."
        )
    return dict(dotenv_values(ENV_FILE))
