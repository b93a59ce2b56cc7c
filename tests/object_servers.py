"""Real object stores on 127.0.0.1, each a process of its own: moto and rclone.

Neither does all that Amazon does, so both are used: moto honours `If-None-Match` and ranges but
checks no signatures; rclone checks signatures and keeps files on disk, but ignores `If-None-Match`
and answers a range with status 200, which is how servers without ranges answer.
"""

from __future__ import annotations

import secrets
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path

import boto3
import pytest

from tests.patience import PATIENCE
from tests.prefect_server import free_port

BIN = Path(sys.executable).parent


@dataclass(frozen=True)
class ObjectServer:
    """A running server that speaks S3."""

    name: str
    endpoint: str
    access_key: str
    secret_key: str

    def new_bucket(self) -> str:
        """Make a bucket, with a client that is not ours."""
        bucket = f"bucket-{secrets.token_hex(6)}"
        with closing(self.client()) as client:
            client.create_bucket(Bucket=bucket)
        return bucket

    def url(self, bucket: str, prefix: str = "", *, endpoint: str | None = None) -> str:
        """Of a store there."""
        return f"s3://{bucket}/{prefix}?endpoint={endpoint or self.endpoint}"

    @property
    def environment(self) -> dict[str, str]:
        """The credentials, as they are usually given."""
        return {
            "AWS_ACCESS_KEY_ID": self.access_key,
            "AWS_SECRET_ACCESS_KEY": self.secret_key,
            "AWS_REGION": "us-east-1",
        }

    def client(self):
        """Amazon's own client."""
        return boto3.client(
            "s3", endpoint_url=self.endpoint, region_name="us-east-1",
            aws_access_key_id=self.access_key, aws_secret_access_key=self.secret_key,
        )  # fmt: skip


@contextmanager
def running(
    arguments: Sequence[str | Path],
    port: int,
    folder: Path,
    environment: Mapping[str, str] | None = None,
) -> Iterator[None]:
    """Run a server until the block ends; it answers on `port` when the block begins. `folder` is
    its own and is removed; `environment` takes the place of this process's."""
    with (folder / "output").open("wb") as output:
        process = subprocess.Popen(
            arguments, cwd=folder, env=environment, stdin=subprocess.DEVNULL, stdout=output,
            stderr=output,
        )  # fmt: skip
    try:
        deadline = time.monotonic() + PATIENCE
        while True:
            assert process.poll() is None, (folder / "output").read_text()
            assert time.monotonic() < deadline, (folder / "output").read_text()
            try:
                socket.create_connection(("127.0.0.1", port), timeout=1).close()
                break
            except OSError:
                time.sleep(0.05)
        yield
    finally:
        process.kill()
        process.wait()
        shutil.rmtree(folder)


def _folder() -> Path:
    return Path(tempfile.mkdtemp(prefix="cv-objects-"))


@pytest.fixture(scope="session")
def moto() -> Iterator[ObjectServer]:
    """moto's S3, in its own process."""
    port = free_port()
    with running([BIN / "moto_server", "-H", "127.0.0.1", "-p", str(port)], port, _folder()):
        yield ObjectServer("moto", f"http://127.0.0.1:{port}", "anybody", "not-checked")


@pytest.fixture(scope="session")
def rclone() -> Iterator[ObjectServer]:
    """`rclone serve s3` on a folder."""
    key, secret = f"AK{secrets.token_hex(8).upper()}", secrets.token_hex(20)
    with _rclone("--auth-key", f"{key},{secret}") as endpoint:
        yield ObjectServer("rclone", endpoint, key, secret)


@pytest.fixture(scope="session")
def open_rclone() -> Iterator[ObjectServer]:
    """The same, for everybody: what obstore sends to Google is not signed as Amazon wants it."""
    with _rclone() as endpoint:
        yield ObjectServer("open rclone", endpoint, "anybody", "not-checked")


@contextmanager
def _rclone(*more: str) -> Iterator[str]:
    port, folder = free_port(), _folder()
    (folder / "data").mkdir()
    address = f"127.0.0.1:{port}"
    arguments = [BIN / "rclone", "serve", "s3", "--config", "/dev/null", "--addr", address, *more]
    with running([*arguments, folder / "data"], port, folder):
        yield f"http://{address}"


@pytest.fixture(params=["moto", "rclone"])
def object_server(request: pytest.FixtureRequest) -> ObjectServer:
    """Each of the two."""
    server: ObjectServer = request.getfixturevalue(request.param)
    return server


@pytest.fixture
def bucket_url(object_server: ObjectServer, monkeypatch: pytest.MonkeyPatch) -> str:
    """URL of an empty store on each of the two; the environment holds the credentials."""
    for name, value in object_server.environment.items():
        monkeypatch.setenv(name, value)
    return object_server.url(object_server.new_bucket(), "back/ups")
