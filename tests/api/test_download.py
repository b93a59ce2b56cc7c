"""A backup's tar over HTTP: by a link or a key, whole or in ranges, and never a wrong byte."""

from __future__ import annotations

import io
import logging
import tarfile
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from pathlib import Path
from urllib.parse import urlsplit
from uuid import UUID, uuid4

import httpx
import pytest

from api.access_log import WithoutQuery
from api.links import DEFAULT_SECONDS
from api.routes import downloads
from convault.archive.composed import Archive
from convault.catalog.base import BackupRecord, BackupStatus, Catalog
from convault.installation import open_installation
from convault.settings import Settings
from tests.handmade import BACKUP, new_backup
from tests.serving import PATH, client_of, problem

NOW = datetime.now(UTC)


@pytest.fixture(scope="module")
def tar(settings: Settings) -> bytes:
    """The tar of a backup by that id, which lies in the store."""
    repository = open_installation(settings).repository
    repository.put_manifest(new_backup(repository), settings.signing)
    return b"".join(Archive(repository, BACKUP).stream())


@pytest.fixture
def row(catalog: Catalog, tar: bytes) -> BackupRecord:
    return catalog.add(record(BACKUP, BackupStatus.COMPLETED))


def record(backup_id: UUID, status: BackupStatus) -> BackupRecord:
    return BackupRecord(id=backup_id, status=status, options={}, created_at=NOW, updated_at=NOW)


@pytest.fixture
def link(client: httpx.Client, row: BackupRecord) -> str:
    """The path and query of a link."""
    found: str = client.get(f"{PATH}/{row.id}").json()["url"]
    return found


@pytest.fixture
def stranger(url: str) -> Iterator[httpx.Client]:
    with client_of(url, key=None) as client:
        yield client


def test_a_link_gives_the_tar_to_whoever_has_it(
    stranger: httpx.Client, link: str, tar: bytes
) -> None:
    answer = stranger.get(link)
    assert answer.status_code == 200
    assert answer.content == tar
    headers = answer.headers
    assert headers["content-length"] == str(len(tar))
    assert headers["content-type"] == "application/x-tar"
    assert headers["cache-control"] == "no-store"
    assert headers["referrer-policy"] == "no-referrer"
    assert headers["accept-ranges"] == "bytes"
    assert headers["content-disposition"] == f'attachment; filename="backup_{BACKUP}.tar"'
    with tarfile.open(fileobj=io.BytesIO(answer.content)) as archive:
        files = {member.name: archive.extractfile(member) for member in archive}
    sums = files["SHA256SUMS"].read().decode().splitlines()  # type: ignore[union-attr]
    assert len(sums) == len(files) - 1


def test_each_link_is_written_into_the_audit(
    client: httpx.Client, catalog: Catalog, row: BackupRecord
) -> None:
    told = [client.get(f"{PATH}/{row.id}").json() for _ in range(2)]
    assert told[0]["url"].partition("?")[0] == told[1]["url"].partition("?")[0]
    newest, before = catalog.audited(2)
    for entry, shown in ((before, told[0]), (newest, told[1])):
        assert (entry.actor, entry.origin) == ("CONVAULT_API_KEY", "api 127.0.0.1")
        assert (entry.action, entry.backup_id, entry.result) == ("link", row.id, "done")
        until = datetime.fromisoformat(shown["expires_at"])
        assert datetime.fromisoformat(entry.detail.removeprefix("holds until ")) == until
        assert shown["url"].partition("token=")[2] not in str(entry)


def test_refusals_are_not_kept_by_anybody(stranger: httpx.Client, link: str) -> None:
    for answer in (stranger.get(link + "x"), stranger.get("/nowhere"), stranger.get(PATH)):
        assert answer.headers["cache-control"] == "no-store"


def test_head_says_the_same_and_sends_nothing(stranger: httpx.Client, link: str) -> None:
    whole, head = stranger.get(link), stranger.head(link, headers={"Range": "bytes=0-9"})
    assert (head.status_code, head.content) == (200, b"")
    assert "content-range" not in head.headers
    for name in ("content-length", "etag", "content-type", "content-disposition", "accept-ranges"):
        assert head.headers[name] == whole.headers[name]


def test_a_key_that_may_download_needs_no_link(
    client: httpx.Client, stranger: httpx.Client, row: BackupRecord, tar: bytes
) -> None:
    assert client.get(f"{PATH}/{row.id}/download").content == tar
    problem(stranger.get(f"{PATH}/{row.id}/download"), 401, "unauthorized")


@pytest.mark.parametrize(
    "asked", [(0, 0), (0, 511), (511, 513), (700, 5000), (5, None), (None, 9), (None, 10**9)]
)
def test_ranges(
    stranger: httpx.Client, link: str, tar: bytes, asked: tuple[int | None, int | None]
) -> None:
    first, last = asked
    header = f"bytes={'' if first is None else first}-{'' if last is None else last}"
    answer = stranger.get(link, headers={"Range": header})
    if first is None:
        start, stop = max(0, len(tar) - (last or 0)), len(tar)
    else:
        start, stop = first, len(tar) if last is None else last + 1
    assert answer.status_code == 206
    assert answer.content == tar[start:stop]
    assert answer.headers["content-range"] == f"bytes {start}-{stop - 1}/{len(tar)}"
    assert answer.headers["content-length"] == str(stop - start)


def test_a_download_that_broke_off_goes_on(stranger: httpx.Client, link: str, tar: bytes) -> None:
    half = stranger.get(link, headers={"Range": "bytes=0-6999"})
    etag = half.headers["etag"]
    rest = stranger.get(link, headers={"Range": "bytes=7000-", "If-Range": etag})
    assert (rest.status_code, half.content + rest.content) == (206, tar)
    other = stranger.get(link, headers={"Range": "bytes=7000-", "If-Range": '"something else"'})
    assert (other.status_code, other.content) == (200, tar)


def test_behind_the_end_is_416(stranger: httpx.Client, link: str, tar: bytes) -> None:
    answer = stranger.get(link, headers={"Range": f"bytes={len(tar)}-"})
    problem(answer, 416, "range-unsatisfiable")
    assert answer.headers["content-range"] == f"bytes */{len(tar)}"


def test_what_is_no_range_is_ignored(stranger: httpx.Client, link: str, tar: bytes) -> None:
    many = "bytes=" + ",".join(f"{n}-{n}" for n in range(0, 400, 2))
    for header in ("bytes=9-2", "bytes=0-1,4-5", many, "lines=1-2"):
        answer = stranger.get(link, headers={"Range": header})
        assert (answer.status_code, answer.content) == (200, tar)


def test_a_link_is_for_one_backup_unaltered_and_not_over(
    stranger: httpx.Client, catalog: Catalog, link: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    other = catalog.add(record(uuid4(), BackupStatus.COMPLETED))
    parts = urlsplit(link)
    problem(stranger.get(f"{PATH}/{other.id}/download?{parts.query}"), 403, "forbidden")
    problem(stranger.get(link[:-5] + "AAAAA"), 403, "forbidden")
    body = problem(stranger.get(f"{parts.path}?token=x"), 403, "forbidden")
    assert "fresh link" in str(body["detail"])
    later = datetime.now(UTC) + timedelta(seconds=DEFAULT_SECONDS)
    monkeypatch.setattr(downloads, "now", lambda: later)
    problem(stranger.get(link), 403, "forbidden")


def test_a_link_holds_as_long_as_it_says(client: httpx.Client, row: BackupRecord) -> None:
    before = datetime.now(UTC)
    usual = client.get(f"{PATH}/{row.id}")
    assert usual.headers["cache-control"] == "no-store"
    until = datetime.fromisoformat(usual.json()["expires_at"])
    assert timedelta(seconds=890) < until - before < timedelta(seconds=960)
    day = client.get(f"{PATH}/{row.id}", params={"expires_in": 86400}).json()["expires_at"]
    assert datetime.fromisoformat(day) - before > timedelta(hours=23)
    for wrong in ("0", "86401", "soon"):
        answer = client.get(f"{PATH}/{row.id}", params={"expires_in": wrong})
        problem(answer, 422, "invalid-request")


def test_no_tar_before_the_backup_is_complete(client: httpx.Client, catalog: Catalog) -> None:
    waiting = catalog.add(record(uuid4(), BackupStatus.PENDING))
    shown = client.get(f"{PATH}/{waiting.id}").json()
    assert shown["url"] is None
    assert shown["expires_at"] is None
    problem(client.get(f"{PATH}/{waiting.id}/download"), 409, "busy")


def test_no_such_backup(client: httpx.Client) -> None:
    nobody = uuid4()
    problem(client.get(f"{PATH}/{nobody}"), 404, "not-found")
    problem(client.get(f"{PATH}/{nobody}/download"), 404, "not-found")
    problem(client.get(f"{PATH}/1"), 422, "invalid-request")
    problem(client.get(f"{PATH}/1/download"), 422, "invalid-request")


def test_an_object_that_is_damaged_never_passes_for_whole(
    settings: Settings, client: httpx.Client, row: BackupRecord, tar: bytes
) -> None:
    store = Path(urlsplit(settings.store_url()).path)
    part = next(path for path in sorted((store / "data").rglob("*.zst")))
    whole = part.read_bytes()
    part.chmod(0o600)
    try:
        part.write_bytes(bytes([whole[0] ^ 1]) + whole[1:])
        with pytest.raises(httpx.RemoteProtocolError):
            client.get(f"{PATH}/{row.id}/download")
        part.unlink()
        with pytest.raises(httpx.RemoteProtocolError):
            client.get(f"{PATH}/{row.id}/download")
    finally:
        part.write_bytes(whole)
    assert client.get(f"{PATH}/{row.id}/download").content == tar


def test_many_at_once(url: str, link: str, tar: bytes) -> None:
    def fetch(_: int) -> bytes:
        with client_of(url, key=None) as each:
            return each.get(link).content

    with ThreadPoolExecutor(20) as pool:
        assert set(pool.map(fetch, range(40))) == {tar}


def test_the_access_log_holds_no_token() -> None:
    logger = logging.getLogger("uvicorn.access")
    assert any(isinstance(present, WithoutQuery) for present in logger.filters)
    logged = logging.LogRecord(
        "uvicorn.access", logging.INFO, "", 0, '%s - "%s %s HTTP/%s" %d',
        ("127.0.0.1:1", "GET", "/api/x/download?token=hunter2", "1.1", 200), None,
    )  # fmt: skip
    for present in logger.filters:
        assert present.filter(logged)  # type: ignore[union-attr]
    assert logged.getMessage() == '127.0.0.1:1 - "GET /api/x/download HTTP/1.1" 200'
