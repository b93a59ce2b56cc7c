"""What it costs to bring back one conversation of many: bytes and requests at the store, seconds.

    python -m benchmarks.one_conversation --messages 300000

Conversations of 60 messages are interleaved over the whole time, so that of a table every part may
hold a row of each. They lie in an embedded Postgres and the repository in memory; each kind of
backup is made by the real source, formats and encryption, and restored into an empty database.
"""

from __future__ import annotations

import argparse
import shutil
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from uuid import uuid4

import psycopg

from convault.embedded.server import EmbeddedPostgres
from convault.encryption.objects import Encryptor
from convault.models import BackupFormat
from convault.repository import Repository
from convault.restore import RestoreOptions, restore
from convault.stores import open_store
from tests.encryption.keys import new_key
from tests.restore.builder import back_up
from tests.restore.counting import CountingStore
from tests.restore.tables import BIG

CONVERSATION = "md5('2')::uuid"


def main() -> None:
    """Prints one line for each kind of backup."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--messages", type=int, default=300_000)
    parser.add_argument("--format", choices=list(BackupFormat), nargs="*")
    chosen = parser.parse_args()
    with _cluster() as cluster:
        source = _database(cluster, "source")
        with psycopg.connect(source) as connection, psycopg.ClientCursor(connection) as cursor:
            each = chosen.messages // 60
            numbers = {"messages": chosen.messages, "conversations": each, "contacts": each}
            cursor.execute(BIG, numbers)
        print("                     stored MiB  part MiB  read KiB    share  requests  seconds")
        for format in chosen.format or ("json", "parquet"):
            for encrypted in (False, True):
                _measure(cluster, source, BackupFormat(format), encrypted=encrypted)


def _measure(
    cluster: EmbeddedPostgres, source: str, format: BackupFormat, *, encrypted: bool
) -> None:
    _, identity = new_key()
    encryptor = Encryptor([identity.recipient]) if encrypted else None
    repository = Repository.create(open_store(f"memory://{uuid4().hex}"))
    manifest = back_up(repository, source, part_bytes=32 << 20, range_pages=2048, format=format,
                       encryptor=encryptor)  # fmt: skip
    repository.put_manifest(manifest)
    stored = sum(info.size for info in repository.store.list())
    parts = [part.stored_bytes for table in manifest.tables for part in table.parts]
    with psycopg.connect(source) as connection:
        wanted = str(connection.execute(f"SELECT {CONVERSATION}".encode()).fetchall()[0][0])
    target = _database(cluster, f"t{uuid4().hex}")
    counting = CountingStore(repository.store)
    began = time.monotonic()
    opened = Repository.open(counting)
    restore(opened, opened.manifest(manifest.backup_id), target,
            RestoreOptions(conversations=(wanted,)), identities=[identity])  # fmt: skip
    seconds = time.monotonic() - began
    held = b"SELECT id FROM messages WHERE conversation_id = " + CONVERSATION.encode()
    with psycopg.connect(source) as one, psycopg.connect(target) as other:
        if set(one.execute(held).fetchall()) != set(other.execute(held).fetchall()):
            raise SystemExit("the restored conversation is not that of the source")
    name = f"{format}{', encrypted' if encrypted else ''}"
    print(
        f"{name:20} {stored / 2**20:10.1f} {max(parts) / 2**20:9.1f} {counting.bytes / 2**10:9.0f} "
        f"{100 * counting.bytes / stored:7.2f}% {counting.requests:9} {seconds:8.2f}",
        flush=True,
    )


@contextmanager
def _cluster() -> Iterator[EmbeddedPostgres]:
    base = Path(tempfile.mkdtemp(prefix="cv-"))
    base.chmod(0o711)  # where root starts it, Postgres runs as another user
    cluster = EmbeddedPostgres(base / "postgres", options={"fsync": "off", "autovacuum": "off"})
    try:
        cluster.start()
        yield cluster
    finally:
        cluster.destroy()
        shutil.rmtree(base)


def _database(cluster: EmbeddedPostgres, name: str) -> str:
    with psycopg.connect(cluster.url(), autocommit=True) as connection:
        connection.execute(f"CREATE DATABASE {name} TEMPLATE template0".encode())
    return cluster.url(name)


if __name__ == "__main__":
    main()
