"""The tar of an encrypted backup: standard tools open it, `extract` decrypts all or nothing."""

from __future__ import annotations

import hashlib
import os
import subprocess
from pathlib import Path

import polars as pl
import pytest

from convault.archive.composed import Archive
from convault.archive.extraction import extract, manifest_of
from convault.encryption.objects import Encryptor
from convault.errors import (
    ConvaultError,
    DamagedHeader,
    IdentityNeeded,
    IntegrityError,
    WrongIdentity,
)
from convault.models import BackupFormat
from convault.readme import encrypted as readme_encrypted
from convault.signing.signature import Signature, SigningKeys
from tests.encryption.keys import new_key
from tests.handmade import BACKUP, CONVERSATIONS, new_backup, new_repository, rows

SECRET, ALICE = new_key()
_, BOB = new_key()
_, EVE = new_key()
KEYS = SigningKeys((os.urandom(32),))
ENCRYPTOR = Encryptor([ALICE.recipient, BOB.recipient])
INDEX = pl.DataFrame({"conversation": ["1"], "part": ["x"]})


def archive_of(
    encryptor: Encryptor | None = ENCRYPTOR, format: BackupFormat = BackupFormat.JSON
) -> Archive:
    repository = new_repository()
    manifest = new_backup(repository, encryptor=encryptor, format=format)
    data = ENCRYPTOR.encrypt_once(INDEX.write_ipc(None).getvalue())
    if encryptor is not None:
        entry = repository.put_index(BACKUP, data, [CONVERSATIONS], encrypted=True)
        readme = readme_encrypted.text(BACKUP) + b"(the rest)\n"
        members = (repository.put_member(BACKUP, "README.txt", readme), manifest.members[1])
        manifest = manifest.model_copy(update={"index": entry, "members": members})
    repository.put_manifest(manifest, KEYS)
    return Archive(repository, BACKUP)


ARCHIVE = archive_of()
TAR = b"".join(ARCHIVE.stream())


def files(folder: Path) -> dict[str, bytes]:
    found = (path for path in folder.rglob("*") if path.is_file())
    return {str(path.relative_to(folder)): path.read_bytes() for path in found}


def sha256sum(folder: Path) -> None:
    subprocess.run(["sha256sum", "-c", "--quiet", "--strict", "SHA256SUMS"], cwd=folder, check=True)


@pytest.mark.usefixtures("age_program")
def test_standard_tools_open_it(tmp_path: Path) -> None:
    """tar, sha256sum, age and zstd; and the command that README.txt gives."""
    (tmp_path / "IDENTITY.txt").write_text(f"{SECRET}\n")
    (tmp_path / "backup.tar").write_bytes(TAR)
    subprocess.run(["tar", "xf", "backup.tar"], cwd=tmp_path, check=True)
    sha256sum(tmp_path)
    done = subprocess.run(
        "age -d -i IDENTITY.txt messages/00000.ndjson.zst.age | zstd -dc",
        shell=True, cwd=tmp_path, capture_output=True, check=True,
    )  # fmt: skip
    assert done.stdout == rows(0, 300)
    readme = (tmp_path / "README.txt").read_text()
    commands = [line.strip() for line in readme.splitlines() if line.strip().startswith("find ")]
    assert len(commands) == 2  # in English and in Portuguese
    subprocess.run(["sh", "-ec", commands[0]], cwd=tmp_path, check=True)
    encrypted = list(tmp_path.rglob("*.age"))
    assert len(encrypted) == 6
    for path in encrypted:
        assert path.with_suffix("").stat().st_size > 0
    subprocess.run(["zstd", "-tq", "messages/00002.ndjson.zst"], cwd=tmp_path, check=True)


@pytest.mark.parametrize("format", list(BackupFormat))
def test_extract_gives_the_files_as_they_were_before_encryption(
    tmp_path: Path, format: BackupFormat
) -> None:
    archive = archive_of(format=format)
    plain = extract(archive_of(None, format).stream(), tmp_path / "plain")
    for identity in (ALICE, BOB):
        folder = tmp_path / identity.recipient
        done = extract(archive.stream(), folder, identities=[identity], keys=KEYS)
        assert (done.signature, done.decrypted) == (Signature.SIGNED, 6)
        found = files(folder)
        assert done.files == len(found)
        assert done.bytes == sum(map(len, found.values()))
        assert not any(name.endswith(".age") for name in found)
        for name, data in files(plain.folder).items():
            if name not in ("datapackage.json", "README.txt", "SHA256SUMS"):
                assert found[name] == data, name
        assert found["index.parquet"] == INDEX.write_ipc(None).getvalue()
        assert found["datapackage.json"] == archive.stored_manifest
        sha256sum(folder)


@pytest.mark.parametrize(("identities", "error"), [((), IdentityNeeded), ((EVE,), WrongIdentity)])
def test_without_the_right_key_nothing_is_left(
    tmp_path: Path, identities: tuple[object, ...], error: type[ConvaultError]
) -> None:
    with pytest.raises(error):
        extract([TAR], tmp_path / "out", identities=identities)  # type: ignore[arg-type]
    assert list(tmp_path.iterdir()) == []


def test_damage_leaves_nothing(tmp_path: Path) -> None:
    at = TAR.index(b"age-encryption.org/v1")
    name = TAR.index(b"messages/00000.ndjson.zst.age\0")
    body = TAR.index(b"age-encryption.org/v1", name)
    end = TAR.index(b"messages/00001.ndjson.zst.age\0", name)
    damages: list[tuple[int, type[ConvaultError]]] = [
        (at + 30, DamagedHeader),
        (body + 30, DamagedHeader),
        (body + 700, IntegrityError),
        (end - 600, IntegrityError),
    ]
    for place, error in damages:
        broken = TAR[:place] + bytes([TAR[place] ^ 1]) + TAR[place + 1 :]
        with pytest.raises(error):
            extract([broken], tmp_path / "out", identities=[ALICE])
        assert list(tmp_path.iterdir()) == []


def test_a_plain_archive_asks_for_nothing(tmp_path: Path) -> None:
    plain = archive_of(None)
    (tmp_path / "plain.tar").write_bytes(b"".join(plain.stream()))
    assert manifest_of(tmp_path / "plain.tar").encryption is None
    done = extract(tmp_path / "plain.tar", tmp_path / "out")
    assert (done.signature, done.decrypted) == (Signature.UNCHECKED, 0)


def test_the_tar_is_served_by_ranges_and_never_changes() -> None:
    assert len(TAR) == ARCHIVE.size
    assert b"".join(ARCHIVE.stream()) == TAR
    for start, end in ((0, 10), (700, 5000), (len(TAR) - 2000, len(TAR))):
        assert b"".join(ARCHIVE.stream(start, end)) == TAR[start:end]
    assert ARCHIVE.etag == hashlib.sha256(ARCHIVE.stored_manifest).hexdigest()
