"""Old backups for tests of `rekey`, and what must hold of them whatever happened."""

from __future__ import annotations

import io
import os
from collections.abc import Sequence
from hashlib import sha256
from pathlib import Path

import polars as pl

from convault.archive.composed import Archive
from convault.encryption.age import Identity
from convault.encryption.objects import Encryptor, unlocked
from convault.encryption.rekey import Rekeyed, rekey
from convault.loading import read_part
from convault.manifest import Manifest
from convault.repository import Repository
from convault.signing.signature import SigningKeys
from convault.stores.base import Store
from tests.encryption.keys import new_key
from tests.handmade import BACKUP, CONVERSATIONS, MESSAGES, new_backup, new_repository, rows

OLD, NEW, SECOND, EVE = (new_key()[1] for _ in range(4))
KEYS = SigningKeys((os.urandom(32),))
CONTENTS = {
    CONVERSATIONS: [rows(0, 20)],
    MESSAGES: [rows(0, 300), rows(300, 50), rows(0, 300)],
}
"""of two of the parts one object, where they are plain"""


def old_backup(
    to: Sequence[Identity] = (OLD,),
    store: Store | None = None,
    keys: SigningKeys = KEYS,
    contents: dict[object, list[bytes]] | None = None,
) -> Repository:
    """A repository with one backup, plain when it is `to` nobody; with an index."""
    repository = new_repository(store)
    encryptor = Encryptor([identity.recipient for identity in to]) if to else None
    manifest = new_backup(repository, contents or CONTENTS, encryptor=encryptor)  # type: ignore[arg-type]
    keys_of_parts = sorted({p.key for t in manifest.tables for p in t.parts})
    frame = pl.DataFrame(
        {
            "conversation": [str(n) for n in range(len(keys_of_parts))],
            "part": keys_of_parts,
            "first_frame": 0,
            "frames": 1,
            "offset": 0,
            "length": 5,
            "rows": 1,
        }
    )
    buffer = io.BytesIO()
    frame.write_parquet(buffer)
    data = buffer.getvalue() if encryptor is None else encryptor.encrypt(buffer.getvalue())
    entry = repository.put_index(BACKUP, data, [MESSAGES], encrypted=encryptor is not None)
    repository.put_manifest(manifest.model_copy(update={"index": entry}), keys)
    return repository


def rekeyed(
    repository: Repository,
    journals: Path,
    *,
    to: Sequence[Identity] = (NEW,),
    with_: Sequence[Identity] = (OLD,),
    keys: SigningKeys = KEYS,
    trust: bool = False,
    workers: int = 1,
) -> Rekeyed:
    return rekey(
        repository, BACKUP, [identity.recipient for identity in to],
        identities=with_, keys=keys, journals=journals, trust=trust, workers=workers,
    )  # fmt: skip


def check_whole(repository: Repository, identity: Identity | None) -> Manifest:
    """The backup is complete, opens with `identity`, and holds CONTENTS; also as a tar."""
    manifest = repository.manifest(BACKUP)
    for key, size in manifest.objects().items():
        assert repository.store.head(key).size == size
    opener = unlocked(manifest, [] if identity is None else [identity])
    for table in manifest.tables:
        plains = [read_part(repository.store, part, opener) for part in table.parts]
        assert plains == CONTENTS[table.name]
    for member in manifest.members:
        assert sha256(repository.store.get(member.key)).hexdigest() == member.sha256
    assert manifest.index is not None
    data = repository.store.get(manifest.index.key)
    if manifest.encryption is not None:
        data = opener.decrypted("index", data)
    index = pl.read_parquet(data)
    assert set(index["part"]) == {p.key for t in manifest.tables for p in t.parts}
    archive = Archive(repository, BACKUP)
    assert sum(map(len, archive.stream())) == archive.size
    return manifest
