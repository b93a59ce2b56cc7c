"""What a manifest may say of files, how they are named in the tar, and a rekey of them. Pure, or
on a store in memory."""

from __future__ import annotations

import json
import secrets
from collections.abc import Callable
from dataclasses import replace
from hashlib import sha256
from io import BytesIO
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from convault.archive.composed import Archive
from convault.archive.extraction import extract
from convault.catalog import BackupRecord, BackupStatus
from convault.encryption.objects import unlocked
from convault.encryption.rekey import rekey
from convault.errors import IntegrityError, OptionsError, RepositoryError
from convault.files.addresses import Address
from convault.files.columns import FileColumn, file_columns, parse_paths, parse_urls
from convault.files.held import Held, held_of
from convault.files.storage import RemoteFile
from convault.manifest import Manifest
from convault.models import BackupOptions, Column, Dataset, Table, TableName
from convault.names import file_path
from convault.signing.signature import SigningKeys
from tests.encryption.keys import new_key
from tests.handmade import TAKEN, new_backup, new_repository

FILES = {("media", "a.jpg"): b"one", ("media", "B/ç"): b"two", ("other", "a.jpg"): b"one"}
Change = Callable[[dict[str, Any]], object]


def changed(change: Change) -> bytes:
    package = json.loads(new_backup(new_repository(), files=FILES).to_bytes())
    change(package["convault"])
    return json.dumps(package).encode()


HOSTILE: dict[str, Change] = {
    "climbs": lambda m: m["files"][0].update(path="../../etc/passwd"),
    "absolute": lambda m: m["files"][0].update(path="/etc/passwd"),
    "backslash": lambda m: m["files"][0].update(path="a\\b"),
    "control": lambda m: m["files"][0].update(path="a\nb"),
    "bucket climbs": lambda m: m["files"][0].update(bucket=".."),
    "bucket of two": lambda m: m["files"][0].update(bucket="a/b"),
    "no path": lambda m: m["files"][0].update(path=""),
    "missing climbs": lambda m: m["files"][3].update(path="../x"),
    "twice": lambda m: m["files"].append(m["files"][0]),
    "key": lambda m: m["files"][0].update(key="convault.json"),
    "another's key": lambda m: m["files"][0].update(key=m["files"][1]["key"]),
    "part's key": lambda m: m["files"][0].update(key=m["tables"][0]["parts"][0]["key"]),
    "size": lambda m: m["files"][0].update(plain_bytes=2**62, stored_bytes=2**62),
    "two sizes": lambda m: m["files"][0].update(plain_bytes=2, stored_bytes=2),
    "negative": lambda m: m["files"][0].update(stored_bytes=-1),
    "digest": lambda m: m["files"][0].update(sha256="0" * 63),
    "plain digest": lambda m: m["files"][0].update(plain_sha256="0" * 64),
    "digest key": lambda m: m["files"][0].update(digest_key="0" * 16),
    "header": lambda m: m["files"][0].update(content_type="a/b\r\nX: 1"),
    "object of nothing": lambda m: m["files"][3].update(key=m["files"][0]["key"]),
    "table": lambda m: m["files"][0]["referrers"][0].update(table=["public", "other"]),
    "column": lambda m: m["storage"]["columns"][0].update(table=["public", "other"]),
    "no feature": lambda m: m.update(features=[]),
    "no storage": lambda m: m.update(storage=None),
    "outcome": lambda m: m["files"][0].update(outcome="lost"),
}


@pytest.mark.parametrize("name", HOSTILE)
def test_entries_that_cannot_be_are_refused(name: str) -> None:
    with pytest.raises(RepositoryError, match="malformed"):
        Manifest.from_bytes(changed(HOSTILE[name]), where="it")


def test_the_files_are_in_the_tar_and_extracted(tmp_path: Path) -> None:
    repository = new_repository()
    manifest = new_backup(repository, files=FILES)
    repository.put_manifest(manifest)
    assert Manifest.from_bytes(manifest.to_bytes(), where="it") == manifest
    data = b"".join(Archive(repository, manifest.backup_id).stream())
    (tmp_path / "it.tar").write_bytes(data)
    extract(tmp_path / "it.tar", tmp_path / "out")
    assert (tmp_path / "out/files/media/a.jpg").read_bytes() == b"one"
    assert (tmp_path / "out/files/media/=42/=c3=a7=.file").read_bytes() == b"two"
    at = data.index(b"two")
    (tmp_path / "bad.tar").write_bytes(data[:at] + b"tvo" + data[at + 3 :])
    with pytest.raises(IntegrityError):
        extract(tmp_path / "bad.tar", tmp_path / "bad")


def test_a_rekey_encrypts_files_too(tmp_path: Path) -> None:
    repository = new_repository()
    (_, alice), (_, bob) = new_key(), new_key()
    repository.put_manifest(new_backup(repository, files=FILES))
    backup_id = repository.backup_ids()[0]
    (tmp_path / "journals").mkdir(mode=0o700)
    for identities, to in (((), alice), ((alice,), bob)):
        done = rekey(
            repository, backup_id, [to.recipient], identities=identities, keys=SigningKeys(),
            journals=tmp_path / "journals", trust=True,
        )  # fmt: skip
        assert done.changed
    manifest = repository.manifest(backup_id)
    assert len(manifest.files) == len(FILES) + 2
    opener = unlocked(manifest, [bob])
    for entry in manifest.stored_files:
        assert str(entry.key).endswith(".age")
        found = BytesIO()
        opener.file(entry, repository.store.stream(str(entry.key)), found)
        assert found.getvalue() == FILES[entry.bucket, entry.path]
    stored = repository.store.get(str(manifest.stored_files[0].key))
    for broken in (stored[:-1], stored[:-1] + bytes([stored[-1] ^ 1]), b"no age file", b""):
        with pytest.raises(IntegrityError):
            opener.file(manifest.stored_files[0], iter([broken]), BytesIO())


NAMES = st.text("aA.é=_/-0x", min_size=1, max_size=12).filter(
    lambda text: all(part not in ("", ".", "..") for part in text.split("/"))
)


@settings(max_examples=300)
@given(st.lists(NAMES, min_size=2, max_size=6, unique=True))
def test_names_in_the_tar_are_injective_and_harmless(paths: list[str]) -> None:
    names = [file_path("Media", path) for path in paths]
    assert len({name.lower() for name in names}) == len(paths)
    folders = {name.rpartition("/")[0] for name in names}
    for name in names:
        assert name.startswith("files/=4dedia/")
        assert name.isascii()
        assert not {"", ".", ".."} & set(name.split("/"))
        assert not any(folder == name or folder.startswith(f"{name}/") for folder in folders)


def test_long_names_and_names_like_those_of_parts() -> None:
    long = [file_path("b", "É" * 400 + end) for end in (".jpg", "x.jpg")]
    assert len(set(long)) == 2
    assert all(len(part) < 251 for name in long for part in name.split("/"))
    assert file_path("x", "00000.csv") == "files/x/00000=2ecsv=.file"
    assert file_path("x", "a.age") == "files/x/a=2eage=.file"
    assert file_path("x", ".env") == "files/x/=2eenv=.file"


def table(name: str, *columns: str, mask: str = "", parents: tuple[str, ...] = ()) -> Table:
    made = tuple(
        Column(c, n, "text", "text", False, "", "", "null" if c == mask else "")
        for n, c in enumerate(columns, 1)
    )
    return Table(
        TableName("public", name), len(name), "r", made, ("id",),
        tuple(TableName("public", parent) for parent in parents),
    )  # fmt: skip


def found(
    *tables: Table, paths: str = "", urls: str = "", allowed: tuple[str, ...] = ()
) -> set[str]:
    columns: tuple[FileColumn, ...] = file_columns(
        Dataset(None, tables, ()), parse_paths(paths), parse_urls(urls), allowed
    )
    return {f"{c}@{c.bucket_column or c.bucket or ''}" for c in columns}


def test_columns_are_found_by_name_or_told() -> None:
    messages = table("messages", "id", "body", "media_url")
    assert found(messages) == {"public.messages.media_url@"}
    attachments = table("message_attachments", "id", "bucket_id", "storage_path", "file_url")
    assert found(attachments) == {
        "public.message_attachments.storage_path@bucket_id",
        "public.message_attachments.file_url@",
    }
    leaf = table("attachments_2026", "id", "bucket", "path", parents=("attachments",))
    assert found(leaf) == {"public.attachments_2026.path@bucket"}
    assert found(table("attachments", "id", "path"), allowed=("one",)) == {
        "public.attachments.path@one"
    }
    told = table("docs", "id", "place", "shelf", "link")
    assert found(told, paths="docs.place@shelf", urls="docs.link") == {
        "public.docs.place@shelf", "public.docs.link@"
    }  # fmt: skip
    assert found(told, paths="docs.place@=media") == {"public.docs.place@media"}
    assert found(table("messages", "id", "media_url", mask="media_url")) == set()
    assert found(table("attachments", "id", "bucket", "path", mask="bucket")) == set()


def test_columns_that_cannot_be_found_are_told() -> None:
    with pytest.raises(OptionsError, match="no column of the backup"):
        found(table("messages", "id", "body"))
    with pytest.raises(OptionsError, match="in which bucket"):
        found(table("attachments", "id", "path"))
    with pytest.raises(OptionsError, match=r"no column public\.docs\.nowhere"):
        found(table("docs", "id", "a_url"), urls="docs.nowhere")
    for text in ("docs", "docs.place", "docs.place@", "docs.place@a@b", "a b.c@d"):
        with pytest.raises(ValueError, match=r"not `table|must name|cannot be read"):
            parse_paths(text)


def test_options() -> None:
    assert BackupOptions.parse({"includeAttachments": True, "strictAttachments": True})
    assert BackupOptions.parse({"buckets": ["media"]}).buckets == ("media",)
    for wrong in (
        {"strictAttachments": True}, {"buckets": ["a/b"]}, {"buckets": [""]}, {"buckets": "media"},
        {"includeAttachments": "yes"},
    ):  # fmt: skip
        with pytest.raises(OptionsError):
            BackupOptions.parse(wrong)


def test_one_digest_for_one_file() -> None:
    manifest = new_backup(new_repository(), files=FILES)
    keys = [entry.key for entry in manifest.stored_files]
    assert keys[0] == keys[2] == f"files/{sha256(b'one').hexdigest()}"


def test_only_a_proven_manifest_tells_what_is_held() -> None:
    """Whoever can write to the store must not get objects of their own into the next backup."""
    repository = new_repository()
    manifest = new_backup(repository, files=FILES)
    repository.put_manifest(manifest)
    committed = sha256(manifest.to_bytes()).hexdigest()
    record = BackupRecord(
        id=manifest.backup_id, status=BackupStatus.COMPLETED, options={}, created_at=TAKEN,
        updated_at=TAKEN, repository_id=repository.repository_id, manifest_sha256=committed,
    )  # fmt: skip
    project, no_keys = "https://abc.supabase.co", SigningKeys()

    def held(record: BackupRecord, project: str, keys: SigningKeys) -> Held:
        return held_of(repository, [record], project, keys)

    known = held(record, project, no_keys)
    assert set(known.entries) == set(FILES)
    remote = RemoteFile(3, '"x"', TAKEN.isoformat(), "", "image/png", "")
    address = Address("media", "a.jpg")
    assert known.same(address, remote, None) is not None
    for other in (replace(remote, size=4), replace(remote, etag='"y"'), replace(remote, etag=""),
                  replace(remote, modified="2026-01-01T00:00:00Z")):  # fmt: skip
        assert known.same(address, other, None) is None
    assert known.same(address, remote, ["age1somebody"]) is None
    assert not held(record, "https://other.supabase.co", no_keys).entries
    assert not held(record, project, SigningKeys.parse(secrets.token_hex(32))).entries
    forged = record.model_copy(update={"manifest_sha256": "0" * 64})
    assert not held(forged, project, no_keys).entries
