"""Settings, from the environment and a `.env` file (docs/operations.md lists them all)."""

from __future__ import annotations

import os
import stat
from functools import cached_property
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit
from zoneinfo import ZoneInfo

from pydantic import Field, SecretStr, ValidationError, field_validator
from pydantic_settings import BaseSettings, SettingsConfigDict

from convault.errors import ConfigurationError, NotFoundError
from convault.models import MAX_PART_BYTES, TableName

ENV_FILE = Path(".env")


class Settings(BaseSettings):
    """What the operator sets. Fields are named as their environment variables, in lower case."""

    model_config = SettingsConfigDict(extra="ignore", frozen=True, hide_input_in_errors=True)

    database_url: SecretStr | None = None
    """the source; the catalog lives there too unless `convault_catalog_url` says otherwise"""
    convault_catalog_url: SecretStr | None = None
    convault_store_url: str | None = None
    """`file:///absolute/folder`, `s3://bucket/prefix`, `gs://...`, `az://...`, `supabase://...` or
    `memory://`"""
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
    convault_timezone: ZoneInfo = ZoneInfo("UTC")

    convault_root_table: str = "conversations"
    """table that the dataset starts from, `table` or `schema.table` (schema `public` by default)"""
    convault_messages_table: str = "messages"
    """table of the dataset that must be there, or nothing is backed up"""

    convault_workers: int = Field(default=2, ge=1, le=32)
    """chunks carried at the same time"""
    convault_range_pages: int = Field(default=2048, ge=1)
    """heap pages of a range"""
    convault_part_bytes: int = Field(default=MAX_PART_BYTES, ge=1024, le=MAX_PART_BYTES)
    """plain bytes of a part at most"""
    convault_chunk_bytes: int = Field(default=64 * 1024 * 1024, ge=1024)
    """bytes (heap and TOAST) that are packed into one chunk at most, unless one range has more"""
    convault_lock_timeout: float = Field(default=30.0, gt=0)
    """seconds to wait for the tables' locks"""

    @field_validator("convault_timezone", mode="before")
    @classmethod
    def _zone(cls, value: Any) -> Any:
        try:
            return ZoneInfo(value) if isinstance(value, str) else value
        except (KeyError, ValueError, OSError):
            raise ValueError("not an IANA time zone, such as America/Sao_Paulo") from None

    @cached_property
    def root_table(self) -> TableName:
        """The root, with its schema."""
        return parse_table(self.convault_root_table)

    @cached_property
    def messages_table(self) -> TableName:
        """The table of messages, with its schema."""
        return parse_table(self.convault_messages_table)

    def source_url(self) -> str:
        """DATABASE_URL; ConfigurationError with the remedy when it is not set."""
        if self.database_url is None:
            raise ConfigurationError(
                "DATABASE_URL is not set, so there is no database to work on. Set it in the "
                "environment or in .env (postgresql://user:password@host:5432/database), or try "
                "`convault demo`, which brings its own."
            )
        return self.database_url.get_secret_value()

    def catalog_url(self) -> str:
        """Where the `backups` table lives."""
        if self.convault_catalog_url is not None:
            return self.convault_catalog_url.get_secret_value()
        return self.source_url()

    def store_url(self) -> str:
        """CONVAULT_STORE_URL; ConfigurationError with the remedy when it is not set."""
        if not self.convault_store_url:
            raise ConfigurationError(
                "CONVAULT_STORE_URL is not set, so there is no place to keep backups. Set it, for "
                "example to file:///var/backups/convault, and run `convault init`."
            )
        return self.convault_store_url

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
        reasons = "; ".join(
            f"{str(e['loc'][0]).upper()}: {e['msg']}"
            for e in error.errors(include_input=False, include_url=False)
        )
        raise ConfigurationError(f"These settings cannot be used: {reasons}.") from None


def environment(variable: str) -> str | None:
    """A variable that is not a field of Settings, from the environment or `.env`."""
    return os.environ.get(variable) or _env_file().get(variable)


def parse_table(text: str) -> TableName:
    """`table` or `schema.table`; `public` is the default schema."""
    schema, dot, name = text.partition(".")
    return TableName(schema, name) if dot else TableName("public", text)


def without_password(url: str) -> str:
    """`url` as it may be shown: no user, no password, no query."""
    parts = urlsplit(url)
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
