"""A database for one drill: an embedded Postgres that is thrown away.

Each drill has a folder of its own, whose lock it holds as long as it lives. A drill that was killed
cannot clear up, so every drill begins with a sweep: a folder that nobody holds is stopped and
removed.
"""

from __future__ import annotations

import fcntl
import os
import secrets
import shutil
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

import psycopg
from psycopg import sql

from convault.embedded.server import EmbeddedPostgres
from convault.errors import ConfigurationError
from convault.file_lock import alone
from convault.home import make_folder
from convault.manifest import Manifest
from convault.restore.extensions import needed_extensions

ROLE, DATABASE = "convault_drill", "drill"

_OPTIONS = {
    # Nothing here is to survive anything.
    "fsync": "off", "synchronous_commit": "off", "full_page_writes": "off", "autovacuum": "off",
    "wal_level": "minimal", "max_wal_senders": "0", "max_wal_size": "4GB",
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Scratch:
    """An empty database, and the role that restores into it: no superuser, and without rights to
    programs or files of the server."""

    url: str
    place: str
    """for people; never credentials"""


@contextmanager
def embedded(folder: Path, manifest: Manifest) -> Iterator[Scratch]:
    """A new server below `folder` for the block; it and its data are gone behind it.

    Extensions that the backup needs and the server has are there already: most can only be made by
    a superuser. ConfigurationError when the server cannot be started.
    """
    with _held(folder) as own:
        server = EmbeddedPostgres(own / "postgres", options=_OPTIONS)
        try:
            server.start()
            place = f"an embedded Postgres {_prepare(server, manifest)}"
            yield Scratch(server.url(DATABASE, user=ROLE), place)
        finally:
            server.destroy()


def sweep(folder: Path) -> int:
    """Stop and remove what drills that were killed have left; how many there were."""
    with _alone(folder):
        return _sweep(folder)


def _prepare(server: EmbeddedPostgres, manifest: Manifest) -> str:
    """The role, the database, the extensions; the server's version."""
    with psycopg.connect(server.url(), autocommit=True) as connection:
        # Row security must not hide a restored row from its checks; that is all it may.
        connection.execute(
            f"CREATE ROLE {ROLE} LOGIN NOSUPERUSER NOCREATEDB NOCREATEROLE NOREPLICATION BYPASSRLS"
        )
        connection.execute(f"CREATE DATABASE {DATABASE} OWNER {ROLE} TEMPLATE template0")
    with psycopg.connect(server.url(DATABASE), autocommit=True) as connection:
        available = {
            name
            for (name,) in connection.execute("SELECT name FROM pg_catalog.pg_available_extensions")
        }
        for extension in needed_extensions(manifest.statements):
            if extension.name in available:
                names = sql.Identifier(extension.name), sql.Identifier(extension.schema)
                connection.execute(
                    sql.SQL("CREATE SCHEMA IF NOT EXISTS {1} AUTHORIZATION {2}").format(
                        *names, sql.Identifier(ROLE)
                    )
                )
                connection.execute(
                    sql.SQL("CREATE EXTENSION IF NOT EXISTS {0} WITH SCHEMA {1}").format(*names)
                )
        return connection.info.parameter_status("server_version") or ""


@contextmanager
def _held(folder: Path) -> Iterator[Path]:
    """A folder of one's own, swept around. It is gone afterwards."""
    with _alone(folder):
        _sweep(folder)
        own = folder / secrets.token_hex(6)
        make_folder(own)
        lock = os.open(own / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        fcntl.flock(lock, fcntl.LOCK_EX)
    try:
        yield own
    finally:
        shutil.rmtree(own)
        os.close(lock)


@contextmanager
def _alone(folder: Path) -> Iterator[None]:
    with ExitStack() as stack:
        try:
            make_folder(folder)
            stack.enter_context(alone(folder / "lock"))
        except OSError as error:
            raise ConfigurationError(
                f"A drill cannot work in {folder}: {error.strerror}. Choose another folder with "
                "CONVAULT_HOME, or drill --into a scratch database."
            ) from None
        yield


def _sweep(folder: Path) -> int:
    swept = 0
    for left in [path for path in folder.iterdir() if path.is_dir()]:
        lock = os.open(left / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            continue  # it runs
        else:
            EmbeddedPostgres(left / "postgres").destroy()
            shutil.rmtree(left)
            swept += 1
        finally:
            os.close(lock)
    return swept
