"""What the parts of a stack are started with, and what they refuse, without starting them all."""

from __future__ import annotations

import asyncio
import os
import re
import socket
import stat
from datetime import timedelta
from pathlib import Path

import pytest
import uvicorn
from fastapi import FastAPI
from pydantic import SecretStr
from starlette.types import Message, Receive, Scope, Send

from api.serving import is_loopback, main, with_key
from convault.errors import BusyError, ConfigurationError, PortTaken
from convault.settings import Settings
from deployments.stack import parts
from deployments.stack.guard import SameSiteOnly, sign_in_link
from deployments.stack.kept import held
from deployments.stack.ports import require_free


def test_nothing_of_the_users_own_prefect_reaches_a_part() -> None:
    given = {"PREFECT_API_URL": "https://elsewhere", "PREFECT_PROFILE": "mine", "PATH": "/bin"}
    made = parts.shared(given, Path("/home"), "http://127.0.0.1:1", "convault:x", Path("/e/.env"))
    assert made["PATH"] == "/bin"
    assert made["PREFECT_API_URL"] == "http://127.0.0.1:1/api"
    assert made["PREFECT_API_AUTH_STRING"] == "convault:x"
    assert "PREFECT_PROFILE" not in made
    assert made["CONVAULT_ENV_FILE"] == "/e/.env"


def test_the_server_is_closed_and_forgets_in_time() -> None:
    part = parts.prefect_server({}, 4200, "convault:x", database=None, history=timedelta(days=2))
    settings = part.environment
    assert settings["PREFECT_SERVER_API_CORS_ALLOWED_ORIGINS"] == "http://127.0.0.1:4200"
    assert settings["PREFECT_SERVER_API_CSRF_PROTECTION_ENABLED"] == "true"
    assert settings["PREFECT_SERVER_SERVICES_DB_VACUUM_RETENTION_PERIOD"] == "172800"
    assert settings["PREFECT_SERVER_EVENTS_RETENTION_PERIOD"] == "PT172800S"
    assert "PREFECT_API_DATABASE_CONNECTION_URL" not in settings
    assert not [word for word in part.command if "convault:x" in word]  # seen by every user


def test_the_worker_looks_for_work_every_second() -> None:
    """Prefect's own looks every 15 s; a run that was asked for is to begin within 5."""
    settings = parts.worker({}, "w").environment
    assert settings["PREFECT_WORKER_QUERY_SECONDS"] == "1"


def test_its_data_go_to_postgres_when_one_is_configured() -> None:
    settings = Settings(convault_prefect_database_url=SecretStr("postgresql://p:w@db/prefect"))
    part = parts.prefect_server(
        {}, 1, "c:x", database=settings.prefect_database_url(), history=timedelta(days=90)
    )
    url = part.environment["PREFECT_API_DATABASE_CONNECTION_URL"]
    assert url == "postgresql+asyncpg://p:w@db/prefect"
    assert "w@db" not in repr(part)
    wrong = Settings(convault_prefect_database_url=SecretStr("mysql://db/prefect"))
    with pytest.raises(ConfigurationError, match="CONVAULT_PREFECT_DATABASE_URL"):
        wrong.prefect_database_url()


def test_secrets_are_made_once_and_are_their_owners_alone(tmp_path: Path) -> None:
    with held(tmp_path / "up") as kept:
        key, new = kept.api_key()
        assert new
        assert kept.api_key() == (key, False)
        assert kept.sign_in().startswith("convault:")
        kept.api_key_file.write_text("")  # killed before it was written
        assert kept.api_key()[1]
        for path in (kept.folder, kept.api_key_file, kept.folder / "sign-in"):
            assert not stat.S_IMODE(path.stat().st_mode) & 0o077
        with pytest.raises(BusyError, match="CONVAULT_HOME"), held(tmp_path / "up"):
            pass
    with held(tmp_path / "up") as kept:
        assert not kept.api_key()[1]


def test_a_port_that_is_taken_is_told_with_what_to_do() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(PortTaken, match=rf"the API was not started: port {port} .*--port"):
            require_free("the API", port, "--port")
    require_free("the API", port, "--port")
    if os.geteuid() != 0:
        with pytest.raises(PortTaken, match="Permission denied"):
            require_free("the API", 80, "--port")


def test_a_password_in_the_link_is_no_part_that_a_server_is_sent() -> None:
    link = sign_in_link("http://127.0.0.1:4200", "convault:x?y")
    before, _, fragment = link.partition("#")
    assert before == "http://127.0.0.1:4200/convault/sign-in"
    assert fragment == "Y29udmF1bHQ6eD95"


@pytest.mark.parametrize("host", ["127.0.0.1", "127.8.8.8", "::1", "[::1]", "localhost"])
def test_without_a_key_the_api_makes_one_up_on_loopback(host: str) -> None:
    assert is_loopback(host)
    settings, key = with_key(Settings(), host)
    assert key is not None
    assert settings.convault_api_key == SecretStr(key)
    assert with_key(Settings(), host)[1] != key


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.0.2.1", "backups.school.example", ""])
def test_without_a_key_it_does_not_start_where_others_reach_it(host: str) -> None:
    with pytest.raises(ConfigurationError, match="CONVAULT_API_KEY"):
        with_key(Settings(), host)
    configured = Settings(convault_api_key=SecretStr("k"))
    assert with_key(configured, host) == (configured, None)


def test_a_key_that_was_made_up_is_printed_once_and_opens_the_api(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("DATABASE_URL", "postgresql://127.0.0.1:9/nothing")
    started: list[FastAPI] = []
    monkeypatch.setattr(uvicorn, "run", lambda app, **_: started.append(app))
    main(["--host", "127.0.0.1"])
    said = capsys.readouterr()
    [key] = re.findall(r"until the API stops: (\S+)", said.out)
    assert (said.out + said.err).count(key) == 1
    assert started[0].state.guard.holder(key, None) is not None
    with pytest.raises(SystemExit) as ended:
        main(["--host", "0.0.0.0"])
    assert ended.value.code == ConfigurationError.exit_code
    assert "CONVAULT_API_KEY" in capsys.readouterr().err
    assert len(started) == 1


@pytest.mark.parametrize(
    ("headers", "answered"),
    [
        ({"host": "127.0.0.1:4200"}, True),
        ({"host": "127.0.0.1:4200", "origin": "http://127.0.0.1:4200"}, True),
        ({"host": "127.0.0.1:4200", "origin": "https://evil.example"}, False),
        ({"host": "127.0.0.1:4200", "origin": "http://127.0.0.1:8000"}, False),
        ({"host": "evil.example:4200"}, False),
        ({"host": "127.0.0.1:4200", "sec-fetch-site": "cross-site"}, False),
        ({}, False),
    ],
)
def test_events_are_heard_and_sent_by_no_page_of_another_site(
    headers: dict[str, str], answered: bool
) -> None:
    """Over WebSockets, which CORS does not cover."""
    sent: list[Message] = []

    async def server(scope: Scope, receive: Receive, send: Send) -> None:
        await send({"type": "websocket.accept"})

    async def send(message: Message) -> None:
        sent.append(message)

    async def receive() -> Message:
        raise AssertionError("nothing is read")

    raw = [(name.encode(), value.encode()) for name, value in headers.items()]
    scope = {"type": "websocket", "path": "/api/events/out", "headers": raw}
    asyncio.run(SameSiteOnly(server, ["127.0.0.1:4200"])(scope, receive, send))
    expected = "websocket.accept" if answered else "websocket.close"
    assert [message["type"] for message in sent] == [expected]
