"""Rows and the files that they point at: backed up, lost, and put back, on a real Storage."""

from __future__ import annotations

import json
import random
import subprocess
import tarfile
from collections.abc import Callable
from contextlib import closing
from hashlib import sha256
from io import BytesIO
from pathlib import Path

import psycopg
import pytest

from cli.main import main
from convault.archive.composed import Archive
from convault.archive.extraction import extract
from convault.comparison import compare
from convault.drill.files import file_checks
from convault.drill.report import Outcome
from convault.embedded.server import EmbeddedPostgres
from convault.errors import FilesMissing, OptionsError, RestoreError
from convault.files.restoring import put_back
from convault.names import file_path
from convault.restore import RestoreOptions, restore
from convault.verification.reading import Subset
from convault.verification.verifying import verify
from tests.encryption.keys import new_key
from tests.files.world import World, entry_of, outcomes

pytestmark = pytest.mark.xdist_group("supabase")

LARGE = random.Random(1).randbytes(7 * 1024 * 1024 + 3)
"""larger than what goes in one request"""


def test_everything_comes_back(
    world: World, cluster: EmbeddedPostgres, new_database: Callable[[EmbeddedPostgres], str],
    tmp_path: Path,
) -> None:  # fmt: skip
    files = {f"n/{n}.txt": (f"file {n}".encode(), "text/markdown") for n in range(20)}
    files |= {
        "Fotos/Ação 1.PNG": (b"\x89PNG" + bytes(999), "image/png"),
        "large": (LARGE, "video/mp4"),
        "copy of large": (LARGE, "application/pdf"),
        "empty": (b"", "text/plain"),
        "linked (1).jpg": (b"jpeg", "image/jpeg"),
        "a/b": (b"under", "text/csv"),
        "Screenshot at 10.00.00\u202fAM.png": (b"png", "image/png"),
        "\U0001f469\u200d\U0001f3eb.txt": (b"joined", "text/plain"),
    }
    for path, (data, kind) in files.items():
        world.upload(path, data, kind)
    world.attach(*files, "gone.txt", "../climbs")
    world.attach("", None)  # type: ignore[arg-type]
    world.link(world.url_of("linked (1).jpg"), 1)
    world.link(world.url_of("n/1.txt", "render/image/sign") + "?token=secret-token", 2)
    world.link("https://cdn.example.com/x.jpg?key=secret-token", 3)

    manifest, metrics = world.back_up()
    repository = world.application.installation().repository
    found = outcomes(manifest)
    assert {path for path, outcome in found.items() if outcome == "stored"} == set(files)
    assert found.keys() - files.keys() == {
        "gone.txt", "malformed: ", "other host: cdn.example.com"
    }  # fmt: skip
    assert found["gone.txt"] == "missing"
    for path, (data, kind) in files.items():
        entry = entry_of(manifest, path)
        assert (entry.content_type, entry.plain_bytes) == (kind, len(data))
        assert entry.sha256 == sha256(data).hexdigest()
        assert repository.store.get(f"files/{entry.sha256}") == data
    linked = entry_of(manifest, "linked (1).jpg").referrers
    assert [(r.table.name, r.column, r.rows) for r in linked] == [
        ("messages", "media_url", 1), ("message_attachments", "path", 1)
    ]  # fmt: skip
    assert b"secret-token" not in repository.manifest_bytes(manifest.backup_id)
    assert metrics["files"]["stored"] == len(files)
    assert metrics["files"]["read"] == len(files)
    assert metrics["files"]["objects"] == len(files) - 1, "the same bytes are stored once"
    assert metrics["files"]["new_bytes"] == metrics["files"]["bytes"]

    # Nothing is read again but what has changed.
    world.upload("n/3.txt", b"another", "text/markdown")
    files["n/3.txt"] = (b"another", "text/markdown")
    again, second = world.back_up()
    assert (second["files"]["read"], second["files"]["held"]) == (1, len(files) - 1)
    assert second["files"]["new_bytes"] == len(b"another")
    assert entry_of(manifest, "n/4.txt") == entry_of(again, "n/4.txt")

    check_tar(world, again.backup_id, {path: data for path, (data, _) in files.items()}, tmp_path)
    assert verify(world.application.installation(), subset=Subset(1, 1)).sound

    # All is lost: rows, files, the bucket.
    world.remove(files)
    with world.stack.client() as client:
        client.delete(f"/storage/v1/bucket/{world.bucket}").raise_for_status()
    target = new_database(cluster)
    installation = world.application.installation()
    put = put_back(installation.settings, repository.store, again, (), RestoreOptions(files=True))
    assert (put.put, put.buckets_made, put.not_held) == (len(files), (world.bucket,), 1)
    restore(repository, again, target)
    assert all(
        found.equal
        for found in compare(world.application.url, target, [t.name for t in again.tables])
    )
    for path, (data, kind) in files.items():
        assert world.read(path) == (data, kind)
    with closing(psycopg.connect(target, autocommit=True)) as connection:
        checks = list(file_checks(connection, again, repository.store, ()))
        assert [c.outcome for c in checks] == [Outcome.PASSED] * 3 + [Outcome.NOT_VERIFIED]
        connection.execute("UPDATE messages SET media_url = %s WHERE id = 9", (world.url_of("x"),))
        repository.store.delete(str(entry_of(again, "large").key))
        failed = [c for c in file_checks(connection, again, repository.store, ())
                  if c.outcome is Outcome.FAILED]  # fmt: skip
        assert [c.subject for c in failed] == ["public.messages.media_url", ""]


def check_tar(world: World, backup_id: object, files: dict[str, bytes], folder: Path) -> None:
    """The tar opens with standard tools, and its names tell the files."""
    archive = Archive(world.application.installation().repository, backup_id)  # type: ignore[arg-type]
    data = b"".join(archive.stream())
    assert len(data) == archive.size
    names = {file_path(world.bucket, path): content for path, content in files.items()}
    with tarfile.open(fileobj=BytesIO(data)) as tar:
        held = {member.name for member in tar if member.name.startswith("files/")}
    assert held == set(names)
    assert f"files/{world.bucket}/n/1.txt" in held
    (folder / "backup.tar").write_bytes(data)
    (folder / "unpacked").mkdir()
    subprocess.run(["tar", "xf", "../backup.tar"], cwd=folder / "unpacked", check=True)
    subprocess.run(
        ["sha256sum", "-c", "--quiet", "SHA256SUMS"], cwd=folder / "unpacked", check=True
    )
    extract(folder / "backup.tar", folder / "extracted")
    for name, content in names.items():
        assert (folder / "extracted" / name).read_bytes() == content


def test_into_another_bucket_and_over_what_is_there(world: World) -> None:
    world.upload("a.txt", b"one", "text/markdown")
    world.upload("b.txt", b"two")
    world.attach("a.txt", "b.txt")
    manifest, _ = world.back_up()
    installation = world.application.installation()

    def put(**options: object) -> dict[str, object]:
        return put_back(
            installation.settings, installation.repository.store, manifest, (),
            RestoreOptions.parse({"files": True, **options}),
        ).to_json()  # fmt: skip

    other = f"{world.bucket}-2"
    assert put(files_bucket=other, dry_run=True)["put"] == 2
    assert put(files_bucket=other)["buckets_made"] == (other,)
    assert world.read("a.txt", other) == (b"one", "text/markdown")
    world.upload("a.txt", b"new", bucket=other)
    with pytest.raises(RestoreError, match="1 of 2 files"):
        put(files_bucket=other)
    told = put(files_bucket=other, mode="skip")
    assert (told["put"], told["same"], told["skipped"]) == (0, 1, 1)
    assert world.read("a.txt", other)[0] == b"new"
    told = put(files_bucket=other, mode="overwrite")
    assert (told["put"], told["same"], told["overwritten"]) == (1, 1, 1)
    assert world.read("a.txt", other) == (b"one", "text/markdown")
    plain, _ = world.back_up(include_attachments=False)
    with pytest.raises(OptionsError, match="holds no Storage files"):
        put_back(
            installation.settings, installation.repository.store, plain, (),
            RestoreOptions(files=True),
        )  # fmt: skip


def test_a_damaged_file_is_read_again_from_storage(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("a.txt", "b.txt", "c.txt"):
        world.upload(name, name.encode() * 100)
        world.attach(name)
    manifest, _ = world.back_up()
    installation = world.application.installation()
    store = installation.repository.store
    keys = {entry.path: str(entry.key) for entry in manifest.stored_files}
    store.replace(keys["a.txt"], b"damaged" * 10)
    store.delete(keys["b.txt"])
    store.replace(keys["c.txt"], b"damaged" * 10)
    world.upload("c.txt", b"another by now")

    def repaired(*, put_back: bool) -> dict[str, str]:
        found = verify(installation, subset=Subset(1, 1), put_back=put_back)
        return {f.key: f.repair.value for f in found.findings if f.hurts or f.repair}

    assert repaired(put_back=False) == {
        keys["a.txt"]: "repairable", keys["b.txt"]: "repairable", keys["c.txt"]: "not repairable",
    }  # fmt: skip
    with monkeypatch.context() as other:
        other.setenv("SUPABASE_URL", "http://127.0.0.1:9")
        assert set(repaired(put_back=True).values()) == {"not repairable"}
    assert repaired(put_back=True) == {
        keys["a.txt"]: "repaired", keys["b.txt"]: "repaired", keys["c.txt"]: "not repairable",
    }  # fmt: skip
    for name in ("a.txt", "b.txt"):
        assert store.get(keys[name]) == name.encode() * 100
    assert repaired(put_back=True) == {keys["c.txt"]: "not repairable"}


def test_one_conversation_comes_back_with_its_files(
    world: World, cluster: EmbeddedPostgres, new_database: Callable[[EmbeddedPostgres], str],
    tmp_path: Path, capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    """Also with those that an array or JSON names."""
    names = ["own", "listed", "nested", "other", "free"]
    for name in names:
        world.upload(f"{name}.txt", name.encode())
    execute = world.application.execute
    execute("ALTER TABLE messages ADD media_urls text[], ADD files jsonb")
    chosen, others = (
        f"(SELECT min(id) FROM messages WHERE conversation_id = {number})" for number in (2, 3)
    )
    for place, text in (
        ("media_url", world.url_of("own.txt")), ("media_urls", f'{{{world.url_of("listed.txt")}}}'),
        ("files", json.dumps([{"bucket": world.bucket, "path": "nested.txt"}, "said"])),
    ):  # fmt: skip
        execute(f"UPDATE messages SET {place} = $${text}$$ WHERE id = {chosen}")
    execute(f"UPDATE messages SET media_url = $${world.url_of('other.txt')}$$ WHERE id = {others}")
    manifest, _ = world.back_up(buckets=(world.bucket,))
    assert manifest.storage is not None
    assert {(c.column, c.form, c.rows) for c in manifest.storage.columns} >= {
        ("media_url", "", 2), ("media_urls", "array", 1), ("files", "json", 1)
    }  # fmt: skip
    with psycopg.connect(world.application.url) as connection:
        checks = list(
            file_checks(connection, manifest, world.application.installation().repository.store, ())
        )
    assert {check.outcome for check in checks} == {Outcome.PASSED}

    world.remove(f"{name}.txt" for name in names)
    target = tmp_path / "target"
    target.write_text(new_database(cluster))
    target.chmod(0o600)
    words = ["restore", str(manifest.backup_id), "--into-file", str(target), "--conversation", "2",
             "--files", "--json"]  # fmt: skip
    for dry in (["--dry-run"], []):
        with pytest.raises(SystemExit) as ended:
            main([*words, *dry])
        assert not ended.value.code
        told = json.loads(capsys.readouterr().out)["files"]
        assert (told["put"], told["not_held"]) == (3, 0)
        assert world.names() == ([] if dry else ["listed.txt", "nested.txt", "own.txt"])
    with psycopg.connect(target.read_text()) as connection:
        assert connection.execute("SELECT DISTINCT conversation_id FROM messages").fetchall() == [
            (2,)
        ]


def test_what_is_missing_may_be_little(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    for n in range(19):
        world.upload(f"{n}.txt", b"%d" % n)
    world.attach(*(f"{n}.txt" for n in range(20)))
    manifest, metrics = world.back_up()
    assert (metrics["files"]["stored"], metrics["files"]["missing"]) == (19, 1)
    with pytest.raises(FilesMissing, match="1 of 20 files"):
        world.back_up(strict_attachments=True)
    world.remove(["0.txt"])
    with pytest.raises(FilesMissing, match=r"2 of public\.message_attachments\.path"):
        world.back_up()
    assert world.application.installation().repository.backup_ids() == [manifest.backup_id]
    monkeypatch.setenv("CONVAULT_FILE_MISSING_PERCENT", "10")
    object.__setattr__(world.application, "environment", {
        **world.application.environment, "CONVAULT_FILE_MISSING_PERCENT": "10"
    })  # fmt: skip
    world.back_up()


def test_filters_masks_and_buckets(world: World) -> None:
    for n in range(4):
        world.upload(f"{n}.txt", b"%d" % n)
    world.upload("alone.txt", b"no row points here")
    world.attach("0.txt", message=1)  # of conversation 2
    world.attach("1.txt", message=2)  # of conversation 3
    world.link(world.url_of("2.txt"), 1)
    world.link(world.url_of("3.txt"), 2)
    manifest, _ = world.back_up(conversation_ids=("2",))
    assert outcomes(manifest) == {"0.txt": "stored", "2.txt": "stored"}
    manifest, _ = world.back_up(mask_columns={"messages.media_url": "null"})
    assert outcomes(manifest) == {"0.txt": "stored", "1.txt": "stored"}
    manifest, _ = world.back_up(exclude_columns=("message_attachments.path",))
    assert outcomes(manifest) == {"2.txt": "stored", "3.txt": "stored"}
    manifest, _ = world.back_up(exclude_columns=("message_attachments.bucket",))
    assert outcomes(manifest) == {"2.txt": "stored", "3.txt": "stored"}
    manifest, _ = world.back_up(include_messages=False)
    assert outcomes(manifest) == {}
    manifest, metrics = world.back_up(include_attachments=False, buckets=(world.bucket,))
    assert set(outcomes(manifest)) == {"0.txt", "1.txt", "2.txt", "3.txt", "alone.txt"}
    assert metrics["files"]["new_bytes"] == len(b"no row points here")


def test_encrypted_files(world: World, tmp_path: Path) -> None:
    (_, alice), (_, bob) = new_key(), new_key()
    installation = world.application.installation()
    installation.catalog.add_recipient(alice.recipient, "office")
    world.upload("a.txt", b"in clear", "text/markdown")
    world.upload("b.txt", b"in clear")
    world.upload("large", LARGE)
    world.attach("a.txt", "b.txt", "large")
    manifest, _ = world.back_up()
    entry = entry_of(manifest, "a.txt")
    assert entry.key == f"files/{entry.sha256}.age"
    assert entry.key == entry_of(manifest, "b.txt").key
    assert entry.plain_sha256 != sha256(b"in clear").hexdigest(), "a keyed digest"
    assert all(b"in clear" not in path.read_bytes()
               for path in world.application.store.rglob("*") if path.is_file())  # fmt: skip
    again, metrics = world.back_up()
    assert metrics["files"]["read"] == 0
    assert entry_of(again, "a.txt").key == entry.key
    assert again.encryption is not None
    assert len(again.encryption.digest_keys) == 2

    data = tmp_path / "backup.tar"
    data.write_bytes(b"".join(Archive(installation.repository, again.backup_id).stream()))
    extract(data, tmp_path / "out", identities=[alice])
    assert (tmp_path / "out" / file_path(world.bucket, "a.txt")).read_bytes() == b"in clear"
    assert (tmp_path / "out" / file_path(world.bucket, "large")).read_bytes() == LARGE
    world.remove(["a.txt", "b.txt", "large"])
    put = put_back(
        installation.settings, installation.repository.store, again, [alice],
        RestoreOptions(files=True),
    )  # fmt: skip
    assert put.put == 3
    assert world.read("a.txt") == (b"in clear", "text/markdown")
    assert world.read("large")[0] == LARGE

    # A recipient who came later could not open what is held: it is read and encrypted anew.
    installation.catalog.add_recipient(bob.recipient)
    _, metrics = world.back_up()
    assert metrics["files"]["read"] == 3
