"""What `POST` makes of bodies that are no options. None of them leaves a row."""

from __future__ import annotations

import json
import socket
from collections.abc import Iterator
from urllib.parse import urlsplit

import httpx
import pytest

from api.body import MAX_BODY_BYTES
from convault.catalog.base import Catalog
from tests.patience import PATIENCE
from tests.serving import KEY, PATH, problem

JSON = {"Content-Type": "application/json"}


@pytest.fixture(autouse=True)
def _no_row(catalog: Catalog) -> Iterator[None]:
    yield
    assert catalog.list() == []


@pytest.mark.parametrize(
    "body",
    [
        b"{",
        b"{'a': 1}",
        b'{"compressionLevel": 3} and more',
        b'{"compressionLevel": NaN}',
        b'{"compressionLevel": Infinity}',
        b'{"format": "\xff"}',
        b'{"format": "\\ud800"}',
        b"\xef\xbb\xbf{}",
        "{}".encode("utf-16"),
        b"[" * 60_000,
        b" ",
        b"secret-in-a-body",
    ],
    ids=lambda body: repr(body[:30]),
)
def test_malformed_json_is_400_and_is_not_quoted(client: httpx.Client, body: bytes) -> None:
    answer = client.post(PATH, content=body, headers=JSON)
    problem(answer, 400, "malformed-body")
    assert "secret" not in answer.text


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({"compressionLevel": 23}, "compressionLevel"),
        ({"compression_level": -1}, "compression_level"),
        ({"compressionLevel": "high"}, "compressionLevel"),
        ({"compressionLevel": None}, "compressionLevel"),
        ({"format": "xlsx"}, "format"),
        ({"includeMessages": "no"}, "includeMessages"),
        ({"nope": 1}, "nope"),
        ({"compressionLevel": 3, "compression_level": 9}, "compression_level"),
        ({"compressionLevel": 10**30}, "compressionLevel"),
        ({"conversationIds": ["a\0b"]}, "conversationIds"),
        ({"startDate": "2026-02-30"}, "startDate"),
        ([], "options"),
        ("json", "options"),
        (None, "options"),
        (3, "options"),
    ],
    ids=str,
)
def test_impossible_options_are_422_and_named(
    client: httpx.Client, body: object, field: str
) -> None:
    answer = client.post(PATH, content=json.dumps(body), headers=JSON)
    detail = problem(answer, 422, "options")["detail"]
    assert field in str(detail)


def test_every_wrong_field_is_named(client: httpx.Client) -> None:
    answer = client.post(PATH, json={"compressionLevel": 23, "format": "xlsx", "nope": 1})
    detail = str(problem(answer, 422, "options")["detail"])
    assert all(name in detail for name in ("compressionLevel", "format", "nope"))


@pytest.mark.parametrize(
    "content_type",
    ["application/x-www-form-urlencoded", "text/plain", "application/jsonp", "multipart/json", ""],
)
def test_any_other_content_type_is_415(client: httpx.Client, content_type: str) -> None:
    answer = client.post(PATH, content=b"{}", headers={"Content-Type": content_type})
    problem(answer, 415, "unsupported-media-type")
    assert answer.headers["accept"] == "application/json"


def test_a_body_without_content_type_is_415(client: httpx.Client) -> None:
    problem(client.post(PATH, content=b"{}"), 415, "unsupported-media-type")


def test_a_body_that_is_too_large_is_413(client: httpx.Client) -> None:
    body = b'{"nope": "' + b"x" * MAX_BODY_BYTES + b'"}'
    problem(client.post(PATH, content=body, headers=JSON), 413, "body-too-large")


def test_the_largest_body_is_read(client: httpx.Client) -> None:
    body = b'{"nope": 1}'.ljust(MAX_BODY_BYTES)
    problem(client.post(PATH, content=body, headers=JSON), 422, "options")


def connected(url: str) -> socket.socket:
    address = urlsplit(url)
    return socket.create_connection((address.hostname or "", address.port or 0), PATIENCE)


def test_a_body_of_unknown_size_is_bounded_too(url: str) -> None:
    """Chunked, and never ending: the answer comes before the body does."""
    with connected(url) as connection:
        connection.sendall(
            f"POST {PATH} HTTP/1.1\r\nHost: localhost\r\nX-API-Key: {KEY}\r\n"
            "Content-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\n".encode()
        )
        for _ in range(MAX_BODY_BYTES // 4096):
            connection.sendall(b"1000\r\n" + b" " * 4096 + b"\r\n")
        # One byte too many, in one piece: what came after the answer would reset the connection.
        connection.sendall(b"1\r\n \r\n")
        answer = b""
        while piece := connection.recv(65536):
            answer += piece
    assert answer.startswith(b"HTTP/1.1 413 ")
    assert b'"code":"body-too-large"' in answer


def test_an_announced_size_is_enough_to_refuse(url: str) -> None:
    with connected(url) as connection:
        connection.sendall(
            f"POST {PATH} HTTP/1.1\r\nHost: localhost\r\nX-API-Key: {KEY}\r\n"
            f"Content-Type: application/json\r\nContent-Length: {10**12}\r\n\r\n".encode()
        )
        answer = b""
        while piece := connection.recv(65536):
            answer += piece
    assert answer.startswith(b"HTTP/1.1 413 ")
