"""Storage that fails, forbids, redirects, or changes under the reader: told, and never guessed."""

from __future__ import annotations

import io
import random
import tracemalloc
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from hashlib import sha256
from pathlib import Path
from threading import Lock
from typing import Any
from urllib.parse import urlsplit

import pytest

from convault.errors import FilesError, FilesUnavailable
from convault.files.addresses import Address, Borders, hosts_of
from convault.files.columns import FileColumn
from convault.files.copying import Copier
from convault.files.gathering import gather_listed
from convault.files.held import Held
from convault.files.references import References
from convault.files.storage import FileStorage, _remote
from convault.models import TableName
from convault.project import project
from convault.repository import Repository, Stored
from convault.stores.folder import FolderStore
from convault.stores.supabase.uploads import Description
from tests.handmade import new_repository
from tests.stores.between import HASTY, Between, Fault, Request, between
from tests.supabase_stack import SupabaseStack

pytestmark = pytest.mark.xdist_group("supabase")

DATA = random.Random(3).randbytes(300_000)
Plan = Callable[[Request, int], Fault | int | None]
Through = Callable[[Plan], AbstractContextManager[tuple[Between, FileStorage]]]


@pytest.fixture(scope="module")
def bucket(supabase: SupabaseStack) -> str:
    """With the file `in/file`."""
    made = supabase.new_bucket()
    upload(supabase, made, DATA)
    return made


def upload(supabase: SupabaseStack, bucket: str, data: bytes) -> None:
    with supabase.client() as client:
        client.post(
            f"/storage/v1/object/{bucket}/in/file", content=data, headers={"x-upsert": "true"}
        ).raise_for_status()


@pytest.fixture
def through(supabase: SupabaseStack, monkeypatch: pytest.MonkeyPatch) -> Through:
    """Storage with a proxy before it."""

    @contextmanager
    def make(plan: Plan) -> Iterator[tuple[Between, FileStorage]]:
        with between(supabase.full_url, plan) as (proxy, endpoint):
            monkeypatch.setenv("SUPABASE_URL", endpoint)
            monkeypatch.setenv("SUPABASE_SERVICE_ROLE_KEY", supabase.secret_key)
            yield proxy, FileStorage(project(), HASTY)

    return make


def copy(storage: FileStorage, bucket: str) -> tuple[str, bytes]:
    """The outcome, and the bytes that were stored."""
    repository = new_repository()
    entry = Copier(storage, repository, Held()).copy(Address(bucket, "in/file")).entry
    return entry.outcome, repository.store.get(entry.key) if entry.key else b""


def reads(request: Request) -> bool:
    return request.method == "GET" and "/object/info/" not in request.path


@pytest.mark.parametrize(
    "fault", [401, Fault.FORBIDDEN, Fault.FORBIDDEN_INSIDE, Fault.NO_ROUTE, Fault.ELSEWHERE]
)
@pytest.mark.parametrize("at", [0, 1])
def test_what_is_not_a_missing_file_fails(
    fault: Fault | int, at: int, through: Through, bucket: str, supabase: SupabaseStack
) -> None:
    with through(lambda _, number: fault if number >= at else None) as (proxy, storage):
        with pytest.raises(FilesError) as caught:
            copy(storage, bucket)
        assert not caught.value.transient
        assert "in/file" not in caught.value.message
        assert supabase.secret_key not in repr(caught.value.__dict__)
        assert len(proxy.requests) == at + 1, "neither repeated nor sent elsewhere"


@pytest.mark.parametrize("fault", [Fault.BUSY, Fault.BUSY_INSIDE, Fault.DROP])
def test_a_busy_storage_is_asked_again_and_then_unavailable(
    fault: Fault, through: Through, bucket: str
) -> None:
    with through(lambda _, number: fault if number < 2 else None) as (_, storage):
        assert copy(storage, bucket) == ("stored", DATA)
    with through(lambda *_: fault) as (_, storage), pytest.raises(FilesUnavailable) as caught:
        copy(storage, bucket)
    assert caught.value.transient


def test_a_read_that_is_cut_begins_again(through: Through, bucket: str) -> None:
    cuts = iter([Fault.CUT])
    with through(lambda r, _: next(cuts, None) if reads(r) else None) as (_, storage):
        assert copy(storage, bucket) == ("stored", DATA)


def test_only_storages_own_word_makes_a_file_missing(through: Through, bucket: str) -> None:
    with through(lambda *_: None) as (_, storage):
        assert storage.look(Address(bucket, "in/nothing")) is None
        with pytest.raises(FilesError, match="no such bucket"):
            storage.look(Address("bucket-that-is-not", "in/nothing"))
        references = References(
            Borders(hosts_of(storage.url)), (), {Address("nowhere", "a"): Counter()}
        )
        with pytest.raises(FilesError, match=r"nowhere.*no such bucket"):
            gather_listed(storage, references)


def test_files_pass_through_in_pieces_and_a_few_at_a_time(
    supabase: SupabaseStack, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """There and back, with less memory than one of them has bytes."""
    monkeypatch.setenv("SUPABASE_URL", supabase.full_url)
    monkeypatch.setenv("SUPABASE_SERVICE_ROLE_KEY", supabase.secret_key)
    storage, bucket = FileStorage(project(), HASTY), supabase.new_bucket()
    files = {Address(bucket, f"{n}"): bytes([n]) * 20_000_000 for n in range(4)}
    for address, data in files.items():
        assert storage.write(address, io.BytesIO(data), Description(), replace=False)
    reading, most, lock = 0, 0, Lock()
    original = FileStorage.read

    def read(self: FileStorage, *given: Any) -> Any:
        nonlocal reading, most
        with lock:
            reading += 1
            most = max(most, reading)
        try:
            return original(self, *given)
        finally:
            with lock:
                reading -= 1

    monkeypatch.setattr(FileStorage, "read", read)
    tmp_path.chmod(0o700)
    repository = new_repository(FolderStore(tmp_path, tmp_path.as_uri()))
    tracemalloc.start()
    try:
        copied = Copier(storage, repository, Held()).copy_all(list(files), 2, lambda _: None)
        with (tmp_path / str(copied[Address(bucket, "1")].entry.key)).open("rb") as stored:
            assert storage.write(Address(bucket, "back"), stored, Description(), replace=False)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < 20_000_000
    assert 1 <= most <= 2
    back = storage.read(Address(bucket, "back"), 20_000_000, b"".join)
    assert back == files[Address(bucket, "1")]


@pytest.mark.parametrize("times", [1, 9])
def test_a_file_that_changes_while_it_is_read(
    times: int, through: Through, supabase: SupabaseStack
) -> None:
    bucket = supabase.new_bucket()
    upload(supabase, bucket, DATA)
    written: list[bytes] = [DATA]

    def plan(request: Request, _: int) -> None:
        if reads(request) and len(written) <= times:
            written.append(DATA[len(written) :])
            upload(supabase, bucket, written[-1])

    with through(plan) as (_, storage):
        outcome, data = copy(storage, bucket)
    if times == 1:
        assert (outcome, data) == ("stored", written[-1])
    else:
        assert (outcome, data) == ("changed", b"")


def test_a_file_that_goes_while_it_is_read(through: Through, supabase: SupabaseStack) -> None:
    bucket = supabase.new_bucket()
    upload(supabase, bucket, DATA)

    def plan(request: Request, _: int) -> None:
        if reads(request):
            with supabase.client() as client:
                client.request(
                    "DELETE", f"/storage/v1/object/{bucket}", json={"prefixes": ["in/file"]}
                ).raise_for_status()

    with through(plan) as (_, storage):
        assert copy(storage, bucket) == ("missing", b"")


def test_no_url_of_a_row_is_ever_fetched(
    through: Through, bucket: str, supabase: SupabaseStack
) -> None:
    """Another server, in every disguise: it sees no request, and the key goes nowhere."""
    column = FileColumn(TableName("public", "messages"), "media_url")
    with through(lambda *_: None) as (real, storage), through(lambda *_: None) as (trap, other):
        host, evil = urlsplit(storage.url).netloc, urlsplit(other.url).netloc
        path = f"storage/v1/object/public/{bucket}/in/file"
        urls = [
            f"http://{evil}/{path}", f"http://{host}@{evil}/{path}", f"http://{evil}/http://{host}",
            f"http://{host}\\@{evil}/{path}", f"//{evil}/{path}", f"http://{evil}#@{host}/{path}",
            f"http://{host}/{path}/../../../../../../redirect?to=http://{evil}",
            f"http://{host}/{path}?redirect=http://{evil}",
        ]  # fmt: skip
        references = References(Borders(hosts_of(storage.url)), (column,))
        references.add(0, ((url, None) for url in urls))
        assert list(references.files) == [Address(bucket, "in/file")]
        assert references.rows(0) == len(urls)
        gather_listed(storage, references)
        copier = Copier(storage, new_repository(), Held())
        copier.copy_all(list(references.files), 2, lambda _: None)
        assert trap.requests == []
        assert real.requests
        assert all(evil not in str(request) for request in real.requests)


def test_what_an_uploader_says_of_a_file_breaks_nothing() -> None:
    told = {
        "size": 3, "etag": '"x"', "last_modified": "2026-01-01T00:00:00Z", "version": "1",
        "content_type": "text/html\r\nX-Evil: 1", "cache_control": "ç",
        "metadata": {"a": "\ud800"},
    }  # fmt: skip
    remote = _remote(told)
    assert remote.content_type == "application/octet-stream"
    assert (remote.cache_control, remote.metadata) == ("no-cache", {})
    assert _remote({**told, "metadata": {"a": float("inf")}}).metadata == {}
    assert _remote({**told, "metadata": {"a": "b" * 9000}}).metadata == {}
    assert _remote({**told, "metadata": {"who": "me"}}).metadata == {"who": "me"}


def test_a_damaged_object_is_set_aside_when_its_file_is_stored_again() -> None:
    repository: Repository = new_repository()
    digest = sha256(b"right").hexdigest()
    repository.store.put(f"files/{digest}", b"wrong")
    assert repository.put_file(digest, io.BytesIO(b"right"), encrypted=False) is Stored.REPAIRED
    assert repository.store.get(f"files/{digest}") == b"right"
    wrong = sha256(b"wrong").hexdigest()
    assert repository.store.get(f"damaged/files/{digest}/{wrong}") == b"wrong"
    assert repository.put_file(digest, io.BytesIO(b"right"), encrypted=False) is Stored.FOUND
