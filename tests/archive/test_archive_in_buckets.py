"""The download view over real object stores: any range of it, also where ranges are
answered with status 200 and so cannot be trusted."""

from __future__ import annotations

import hashlib
import io
import random
import tarfile

from convault.archive.composed import Archive
from convault.repository import Repository
from convault.stores import open_store
from tests.handmade import BACKUP, CONVERSATIONS, MESSAGES, new_backup, rows


def test_any_range_of_an_archive_in_a_bucket(bucket_url: str) -> None:
    store = open_store(bucket_url)
    repository = Repository.create(store)
    # Level 0, and more than the 4 MiB that are asked for at a time.
    contents = {CONVERSATIONS: [rows(0, 20)], MESSAGES: [rows(0, 60_000), rows(1, 300)]}
    manifest = new_backup(repository, contents, level=0)
    repository.put_manifest(manifest)

    archive = Archive(Repository.open(open_store(bucket_url)), BACKUP)
    data = b"".join(archive.stream())
    assert len(data) == archive.size > 5 * 1024 * 1024
    with tarfile.open(fileobj=io.BytesIO(data)) as tar:
        for table in manifest.tables:
            for part in table.parts:
                member = tar.extractfile(part.path)
                assert member is not None
                assert hashlib.sha256(member.read()).hexdigest() == part.sha256
    random.seed(3)
    bounds = [sorted(random.sample(range(archive.size + 1), 2)) for _ in range(25)]
    for start, end in [*bounds, [0, 1], [archive.size - 1, archive.size]]:
        assert b"".join(archive.stream(start, end)) == data[start:end]
