"""An application whose rows point at files in a real Storage, and backups of it without Prefect."""

from __future__ import annotations

import base64
import json
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote
from uuid import uuid4

import psycopg

from convault.manifest import FileEntry, Manifest
from convault.models import BackupOptions
from convault.ranges.parent import Parentage
from tasks.chunk import plan
from tasks.copy_files import FileWork, copy_files
from tasks.count import counted_in, digests
from tasks.find_files import find_files, note_files
from tasks.load import Load
from tasks.record import record
from tasks.tally import Tally
from tests.flows.application import Application
from tests.restore.builder import _store
from tests.supabase_stack import SupabaseStack

TABLES = """
ALTER TABLE messages ADD media_url text;
CREATE TABLE message_attachments (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    message_id bigint NOT NULL REFERENCES messages,
    bucket text, path text, note text
);
"""


@dataclass(frozen=True)
class World:
    """The application, and the Storage beside it."""

    application: Application
    stack: SupabaseStack
    bucket: str

    def upload(
        self, path: str, data: bytes, kind: str = "text/plain", *, bucket: str = "",
        metadata: dict[str, Any] | None = None,
    ) -> None:  # fmt: skip
        """By a client that is not ours; over what is there."""
        headers = {"Content-Type": kind, "x-upsert": "true", "Cache-Control": "max-age=77"}
        if metadata:
            headers["x-metadata"] = base64.b64encode(json.dumps(metadata).encode()).decode()
        with self.stack.client() as client:
            client.post(
                f"/storage/v1/object/{bucket or self.bucket}/{quote(path)}",
                content=data, headers=headers,
            ).raise_for_status()  # fmt: skip

    def remove(self, paths: Iterable[str], bucket: str = "") -> None:
        with self.stack.client() as client:
            client.request(
                "DELETE", f"/storage/v1/object/{bucket or self.bucket}",
                json={"prefixes": list(paths)},
            ).raise_for_status()  # fmt: skip

    def read(self, path: str, bucket: str = "") -> tuple[bytes, str]:
        """Bytes and content type."""
        name = f"{bucket or self.bucket}/{quote(path)}"
        with self.stack.client() as client:
            data = client.get(f"/storage/v1/object/{name}").raise_for_status().content
            told = client.get(f"/storage/v1/object/info/{name}").raise_for_status().json()
        return data, told["metadata"]["mimetype"]

    def names(self, bucket: str = "") -> list[str]:
        with psycopg.connect(self.stack.database_url) as connection:
            found = connection.execute(
                "SELECT name FROM storage.objects WHERE bucket_id = %s", (bucket or self.bucket,)
            )
            return sorted(name for (name,) in found)

    def attach(self, *paths: str, bucket: str = "", message: int = 1) -> None:
        """A row of message_attachments for each."""
        with psycopg.connect(self.application.url) as connection:
            for path in paths:
                connection.execute(
                    "INSERT INTO message_attachments (message_id, bucket, path)"
                    " VALUES (%s, %s, %s)",
                    (message, bucket or self.bucket, path),
                )

    def link(self, url: str, message: int) -> None:
        with psycopg.connect(self.application.url) as connection:
            connection.execute("UPDATE messages SET media_url = %s WHERE id = %s", (url, message))

    def url_of(self, path: str, form: str = "object/public") -> str:
        return f"{self.stack.full_url}/storage/v1/{form}/{self.bucket}/{quote(path)}"

    def back_up(self, **options: Any) -> tuple[Manifest, dict[str, Any]]:
        """With files, unless told; the manifest and the row's metrics. As flows/backup.py does."""
        wanted = BackupOptions(**{"include_attachments": True, **options})
        installation = self.application.installation()
        repository, catalog = installation.repository, installation.catalog
        encryptor, tally, backup_id = installation.encryptor(), Tally(), uuid4()
        files = installation.files(wanted)
        work = None if files is None else Load("", FileWork(files, installation, encryptor))
        with catalog.begin(backup_id, wanted.to_json()) as lease:
            with installation.source(wanted).snapshot() as taken:
                snapshot = Load("", taken)
                planned = plan(
                    taken, wanted, Parentage(None, "of a test"), repository,
                    recipients=encryptor.recipients if encryptor else (), range_pages=2048,
                    chunk_bytes=1 << 26, part_bytes=1 << 20, workers=1,
                )  # fmt: skip
                noted = note_files(snapshot, files and Load("", files))
                parts = [
                    part
                    for each in planned.chunks
                    for range_ in each.ranges
                    for part in _store(
                        repository, taken, taken.dataset.table(range_.table), range_, wanted,
                        1 << 20, encryptor,
                    )
                ]  # fmt: skip
                found = find_files.fn(snapshot, noted)
                planned = planned.with_keys(tuple(digests(taken, planned.keys, 1)))
                counts = {
                    table.name: counted_in(taken, table, planned.keys_of(table))
                    for table in taken.dataset.tables
                }
            copied = copy_files.fn(found, work, tally)
            row = record.fn(
                backup_id, wanted, repository, Load("", catalog), Load("", lease), snapshot,
                counts, Load("", parts), Load("", planned), Load("", tally), encryptor,
                installation.signing, copied,
            )  # fmt: skip
        assert row.metrics is not None
        return repository.manifest(backup_id), row.metrics


def outcomes(manifest: Manifest) -> dict[str, str]:
    """By path; of what is no file here, by reason and host."""
    return {
        entry.path or f"{entry.reason}: {entry.host}": entry.outcome for entry in manifest.files
    }


def entry_of(manifest: Manifest, path: str) -> FileEntry:
    (found,) = (entry for entry in manifest.files if entry.path == path)
    return found
