"""What a folder needs beyond the protocol: modes, fsync, killed writes, disks that come and go."""

from __future__ import annotations

import os
import shutil
import stat
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from convault.errors import ConfigurationError, ObjectConflict, StoreError
from convault.stores.folder import STAGED, FolderStore
from tests.patience import PATIENCE


@pytest.fixture
def root(tmp_path: Path) -> Path:
    folder = tmp_path / "store"
    folder.mkdir(0o700)
    return folder


@pytest.fixture
def store(root: Path) -> FolderStore:
    return FolderStore(root, f"file://{root}")


@pytest.fixture(params=[0o000, 0o022, 0o077, 0o177], ids=oct)
def umask(request: pytest.FixtureRequest) -> Iterator[None]:
    before = os.umask(request.param)
    yield
    os.umask(before)


@pytest.mark.usefixtures("umask")
def test_files_are_0600_and_folders_0700_whatever_the_umask(tmp_path: Path) -> None:
    store = FolderStore.create(tmp_path / "new", "file:///new")
    store.put("a/b/c", b"1")
    store.put("top", b"1")
    modes = {p.name: stat.S_IMODE(p.stat().st_mode) for p in (tmp_path / "new").rglob("*")}
    assert modes == {"a": 0o700, "b": 0o700, "c": 0o600, "top": 0o600}
    assert stat.S_IMODE((tmp_path / "new").stat().st_mode) == 0o700


def test_create_takes_over_an_empty_folder_but_not_the_mode_of_a_full_one(tmp_path: Path) -> None:
    empty, full = tmp_path / "empty", tmp_path / "full"
    for folder in (empty, full):
        folder.mkdir()
        folder.chmod(0o755)
    (full / "lost+found").mkdir()
    FolderStore.create(empty, "file:///empty")
    FolderStore.create(full, "file:///full")
    assert stat.S_IMODE(empty.stat().st_mode) == 0o700
    assert stat.S_IMODE(full.stat().st_mode) == 0o755


def test_nothing_is_visible_before_its_bytes_and_nothing_returns_before_its_name_is_on_disk(
    store: FolderStore, root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    target = root / "data" / "messages" / "object"
    synced: list[tuple[str, bool]] = []
    real = os.fsync

    def fsync(descriptor: int) -> None:
        real(descriptor)
        path = Path(f"/proc/self/fd/{descriptor}").resolve()
        synced.append((str(path.relative_to(root)).partition(STAGED)[0], target.exists()))

    monkeypatch.setattr(os, "fsync", fsync)
    store.put("data/messages/object", b"1")
    assert synced == [
        (".", False),  # the entry of data/
        ("data", False),  # the entry of messages/
        ("data/messages/object", False),  # the bytes, under the name of a staged file
        ("data/messages", True),  # the name
    ]
    synced.clear()
    # Somebody else wrote it and may have been killed before the last step.
    FolderStore(root, "file:///again").put("data/messages/object", b"1")
    assert synced[-1] == ("data/messages", True)


def test_what_killed_writes_left_is_no_object(store: FolderStore, root: Path) -> None:
    store.put("a/b", b"1")
    for name in ("b#1", f"b{STAGED}0123456789abcdef", f"c{STAGED}0123456789abcdef#1"):
        (root / "a" / name).write_bytes(b"half")
    (root / "á").write_bytes(b"somebody's")
    assert [info.key for info in store.list()] == ["a/b"]
    assert store.put("a/c", b"1") is True


def test_writes_leave_nothing_behind(store: FolderStore, root: Path) -> None:
    store.put("a/b", b"1")
    store.put("a/b", b"1")
    with pytest.raises(ObjectConflict):
        store.put("a/b", b"22")
    assert sorted(path.name for path in root.rglob("*")) == ["a", "b"]


def test_a_folder_in_the_place_of_an_object_is_a_conflict(store: FolderStore) -> None:
    store.put("a/b/c", b"1")
    with pytest.raises(ObjectConflict, match="is no object"):
        store.put("a/b", b"1")
    with pytest.raises(StoreError, match="Not a directory"):
        store.put("a/b/c/d", b"1")


def every_call(store: FolderStore) -> list[object]:
    return [
        lambda: store.put("a/new", b"1"),
        lambda: store.get("a/b"),
        lambda: store.head("a/b"),
        lambda: store.stream("a/b"),
        lambda: list(store.list()),
        lambda: store.delete("a/b"),
        store.flush,
    ]


@pytest.mark.parametrize("replaced", [False, True], ids=["gone", "another folder"])
def test_an_unmounted_disk_is_neither_empty_nor_filled(
    store: FolderStore, root: Path, replaced: bool
) -> None:
    store.put("a/b", b"1")
    aside = root.rename(root.parent / "aside")
    if replaced:
        root.mkdir()
    for call in every_call(store):
        with pytest.raises(StoreError, match="is not the one that was opened") as caught:
            call()  # type: ignore[operator]
        assert type(caught.value) is StoreError, "not ObjectMissing"
    assert not root.exists() or list(root.iterdir()) == []
    if root.exists():
        root.rmdir()
    aside.rename(root)
    assert store.get("a/b") == b"1"


def test_a_disk_unmounted_within_a_listing_is_an_error(store: FolderStore, root: Path) -> None:
    store.put("a", b"1")
    store.put("b", b"1")
    listing = store.list()
    next(listing)
    shutil.rmtree(root)
    with pytest.raises(StoreError, match="is not the one"):
        list(listing)


def test_an_object_that_shrinks_while_it_is_read_is_an_error(
    store: FolderStore, root: Path
) -> None:
    store.put("object", bytes(9 * 1024 * 1024))
    for left in (5 * 1024 * 1024, 0):
        pieces = store.stream("object", 0, 9 * 1024 * 1024)
        next(pieces)
        os.truncate(root / "object", left)
        with pytest.raises(StoreError):
            list(pieces)
        os.truncate(root / "object", 9 * 1024 * 1024)


def test_the_folder_must_exist(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"")
    for path in (tmp_path / "missing", tmp_path / "file"):
        with pytest.raises(ConfigurationError, match=r"mount it.*convault init"):
            FolderStore(path, "file:///missing")
    assert not (tmp_path / "missing").exists()
    with pytest.raises(ConfigurationError, match="mounted"):
        FolderStore.create(tmp_path / "missing" / "below", "file:///missing/below")
    with pytest.raises(ConfigurationError):
        FolderStore.create(tmp_path / "file", "file:///file")


CHILD = """
import os, resource, signal, sys
from pathlib import Path
from convault.errors import StoreError
from convault.stores.folder import FolderStore
store = FolderStore(Path(sys.argv[1]), "file:///store")
store.put("a/before", b"1")
{limit}
try:
    store.put("a/object", bytes(1_000_000))
except StoreError as error:
    print(type(error).__name__, error)
"""


def in_a_child(root: Path, limit: str) -> str:
    done = subprocess.run(
        [sys.executable, "-c", CHILD.format(limit=limit), str(root)],
        capture_output=True,
        text=True,
        check=True,
        timeout=PATIENCE,
    )
    return done.stdout


def test_a_write_that_fails_half_way_leaves_nothing(root: Path) -> None:
    # A limit on the size of files is the one full disk that needs no privilege to make.
    message = in_a_child(
        root,
        "signal.signal(signal.SIGXFSZ, signal.SIG_IGN);"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (500_000, 500_000))",
    )
    assert message.startswith("StoreError While storing a/object")
    assert "File too large" in message
    assert sorted(path.name for path in root.rglob("*")) == ["a", "before"]


def test_a_folder_that_may_not_be_written_says_so() -> None:
    # Root may write everywhere, so as root the child becomes somebody else; he could not even reach
    # pytest's folders.
    with tempfile.TemporaryDirectory() as folder:
        message = in_a_child(
            Path(folder),
            "os.chmod(sys.argv[1] + '/a', 0o500);"
            "os.geteuid() or (os.chown(sys.argv[1], 65534, 65534), os.setuid(65534))",
        )
        (Path(folder) / "a").chmod(0o700)
    assert message.startswith("StoreError While storing a/object")
    assert "Permission denied" in message
    assert "Give the user that runs Convault the right" in message


REACHING = """
import os, sys
from pathlib import Path
from convault.stores.folder import FolderStore
os.chmod(sys.argv[1], 0)
os.geteuid() or os.setuid(65534)
FolderStore(Path(sys.argv[1], "store"), "file:///there")
"""


def test_a_folder_that_may_not_be_reached_says_so() -> None:
    """As that of another user: whether it exists cannot be told."""
    with tempfile.TemporaryDirectory() as folder:
        (private := Path(folder) / "private").mkdir()
        ended = subprocess.run(
            [sys.executable, "-c", REACHING, str(private)],
            check=False, capture_output=True, text=True,
        )  # fmt: skip
        private.chmod(0o700)
    assert ended.stderr.splitlines()[-1].startswith("convault.errors.")
