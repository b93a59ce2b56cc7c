"""Every error is a problem, and none of them tells what is inside."""

from __future__ import annotations

import logging
from collections.abc import Iterator

import httpx
import pytest
from fastapi import FastAPI

from api.app import create_app
from api.problems import install, places
from convault.catalog import open_catalog
from convault.errors import BusyError, ConvaultError
from convault.settings import Settings
from tests.serving import KEY, PATH, client_of, problem, served

# Put together, so that a line of this file in a stack does not hold them.
ROW_VALUE = "-".join(["row", "value"])
PASSWORD = "-".join(["secret", "password"])


def test_an_unknown_path_is_404(client: httpx.Client) -> None:
    problem(client.get("/api/nothing"), 404, "not-found")


def test_there_are_no_redirects(client: httpx.Client) -> None:
    problem(client.get(PATH + "/"), 404, "not-found")


@pytest.mark.parametrize(
    ("method", "path", "allowed"),
    [
        ("DELETE", "", "GET, POST"),
        ("PUT", "/init", "POST"),
        ("GET", "/cleanup", "POST"),
        ("DELETE", "/cleanup", "POST"),
        ("DELETE", "/metrics", "GET"),
        ("DELETE", "/scheduler", "POST"),
        ("PATCH", "/scheduler/status", "GET"),
        ("DELETE", "/scheduler/toggle", "POST"),
        ("POST", "/verify", "GET"),
        ("DELETE", "/audit", "GET"),
    ],
)
def test_a_method_that_a_fixed_path_has_not_is_405(
    client: httpx.Client, method: str, path: str, allowed: str
) -> None:
    """It is not taken for the id of a backup, or of a schedule."""
    answer = client.request(method, PATH + path)
    problem(answer, 405, "method-not-allowed")
    assert answer.headers["allow"] == allowed


@pytest.mark.parametrize("limit", ["0", "1001", "many", "-1", "1.5", ""])
def test_a_wrong_parameter_is_422_and_named(client: httpx.Client, limit: str) -> None:
    body = problem(client.get(PATH, params={"limit": limit}), 422, "invalid-request")
    assert "limit" in str(body["detail"])
    errors = body["errors"]
    assert isinstance(errors, list)
    assert [error["field"] for error in errors] == ["limit"]


def test_unknown_parameters_are_fine(client: httpx.Client) -> None:
    assert client.get(PATH, params={"utm_source": "mail"}).status_code == 200


def test_a_catalog_that_is_down_is_503(closed_port: int, database: str) -> None:
    settings = Settings(
        database_url=database,
        convault_catalog_url=f"postgresql://u:{PASSWORD}@127.0.0.1:{closed_port}/catalog",
        convault_api_key=KEY,
    )
    with served(create_app(settings)) as url, client_of(url) as client:
        for answer in (client.get(PATH), client.post(PATH)):
            problem(answer, 503, "catalog-unavailable")
            assert int(answer.headers["retry-after"]) > 0
            assert PASSWORD not in answer.text
        assert client.get("/healthz").json() == {"status": "alive"}


def test_a_catalog_without_init_is_refused_with_the_remedy(database: str) -> None:
    settings = Settings(database_url=database, convault_api_key=KEY)
    with served(create_app(settings)) as url, client_of(url) as client:
        for _ in range(2):
            assert "convault init" in str(problem(client.post(PATH), 500, "catalog")["error"])
            open_catalog(database).migrate()  # tables, and still no repository


@pytest.fixture
def broken() -> Iterator[httpx.Client]:
    """An application whose routes fail in ways that ours do not."""
    app = FastAPI()
    install(app)

    @app.get("/unexpected")
    def unexpected() -> None:
        try:
            raise ValueError(f"Key (phone)=({ROW_VALUE}) already exists.")
        except ValueError as error:
            raise RuntimeError(f"password={PASSWORD}") from error

    @app.get("/busy")
    def busy() -> None:
        raise BusyError("Another run holds the lease: try again later.", backup="7")

    @app.get("/own")
    def own() -> None:
        raise ConvaultError("Something of ours.")

    with served(app) as url, client_of(url) as client:
        yield client


def test_an_unexpected_error_tells_a_reference_and_nothing_else(
    broken: httpx.Client, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.DEBUG):
        answer = broken.get("/unexpected")
    body = problem(answer, 500, "unexpected")
    [record] = [record for record in caplog.records if record.levelno >= logging.ERROR]
    assert str(body["reference"]) in record.getMessage()
    assert "builtins.RuntimeError" in caplog.text
    assert "builtins.ValueError" in caplog.text
    assert "in unexpected" in caplog.text
    for text in (answer.text, caplog.text):
        assert ROW_VALUE not in text
        assert PASSWORD not in text
    assert "Traceback" not in answer.text
    assert "RuntimeError" not in answer.text


def test_an_error_of_ours_has_its_status_code_and_message(broken: httpx.Client) -> None:
    answer = broken.get("/busy")
    body = problem(answer, 409, "busy")
    assert body["error"] == "Another run holds the lease: try again later."
    assert "retry-after" in answer.headers
    answer = broken.get("/own")
    problem(answer, 500, "error")
    assert "retry-after" not in answer.headers


def test_places_have_no_messages() -> None:
    try:
        try:
            raise KeyError(ROW_VALUE)
        except KeyError as error:
            raise LookupError(ROW_VALUE) from error
    except LookupError as error:
        text = "".join(places(error))
    assert ROW_VALUE not in text
    assert "builtins.LookupError" in text
    assert "builtins.KeyError" in text
    assert "test_places_have_no_messages" in text
