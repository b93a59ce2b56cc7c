"""Channels and the dead man's switch, on real sockets: what arrives, what fails, what is told."""

from __future__ import annotations

import logging
import threading
import urllib.request
from collections.abc import Iterator
from datetime import UTC, datetime
from functools import partial
from uuid import UUID, uuid4

import pytest

from convault.errors import ConfigurationError
from convault.incidents import Incident, Kind
from convault.notify import apart, channels, ping
from convault.notify.channels import Channel, usable_channels
from convault.notify.message import of_incidents, of_test
from convault.notify.ping import Ping, address_of
from convault.notify.telling import send
from convault.settings import Settings
from tests.notify.receivers import (
    PATIENTLY,
    Mailbox,
    Receiver,
    http_receiver,
    patient,
    smtp_receiver,
)
from tests.patience import PATIENCE

RUN = UUID("0c0ffee0-0000-4000-8000-000000000001")
SECRET = "t0ken-that-nobody-may-see"


@pytest.fixture(autouse=True)
def patience(monkeypatch: pytest.MonkeyPatch) -> None:
    patient(monkeypatch)


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    with http_receiver() as made:
        yield made


@pytest.fixture
def mailbox() -> Iterator[Mailbox]:
    with smtp_receiver() as made:
        yield made


def through(*urls: str) -> list[Channel]:
    return list(channels.channels(Settings(convault_notify_urls=" ".join(urls))))


def webhook(receiver: Receiver, path: str = f"/{SECRET}") -> str:
    return receiver.apprise(path)


def test_a_message_arrives_by_http_and_by_mail(receiver: Receiver, mailbox: Mailbox) -> None:
    mail = (
        f"mailto://127.0.0.1:{mailbox.port}?from=convault@example.org&to=a@example.org&{PATIENTLY}"
    )
    both = through(webhook(receiver), mail)
    assert [channel.label for channel in both] == ["1 json", "2 mailto"]
    message = of_test("school")
    assert send(dict.fromkeys(both, message)) == {}
    assert receiver.titles == ["a test"]
    [(subject, text)] = mailbox.mails
    assert subject == "Convault (school): a test"
    assert "convault notify --test" in text


def test_one_that_fails_does_not_keep_the_others_back(
    receiver: Receiver, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    receiver.status = 500
    with http_receiver() as good:
        asked = through(
            webhook(receiver), f"json://127.0.0.1:9/nobody-listens?{PATIENTLY}", webhook(good),
            f"mailto://user:{SECRET}@127.0.0.1:9?from=a@example.org&{PATIENTLY}",
        )  # fmt: skip
        failures = send({channel: of_test("x") for channel in asked})
        assert good.titles == ["a test"]
    assert failures == dict.fromkeys(("1 json", "2 json", "4 mailto"), "the message was not taken")
    assert SECRET not in caplog.text
    assert SECRET not in repr(asked)


def test_a_channel_that_drips_is_given_up(
    receiver: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("convault.notify.telling.SECONDS", 0.5)
    [channel] = through(webhook(receiver))
    receiver.hold = threading.Event()
    failures = send({channel: of_test("x")})
    # Ten in a second. Seconds would count those in which the machine stands still.
    assert receiver.drips < 50
    assert failures == {"1 json": "no answer within 0.5 s"}
    receiver.hold.set()


def test_whatever_a_call_raises_is_told_by_its_name(caplog: pytest.LogCaptureFixture) -> None:
    def fail() -> None:
        raise ValueError(SECRET)

    def refuse() -> None:
        raise apart.Refused("HTTP 404")

    def well() -> None:
        logging.getLogger("apprise").warning(SECRET)

    assert apart.each([fail, refuse, well], PATIENCE) == ["ValueError", "HTTP 404", ""]
    assert apart.each([], PATIENCE) == []
    logging.getLogger("apprise").warning("somebody else's")
    assert SECRET not in caplog.text
    assert "somebody else's" in caplog.text


def test_a_url_that_is_none_is_named_by_its_place(caplog: pytest.LogCaptureFixture) -> None:
    for wrong in (SECRET, f"nosuch://{SECRET}", f"slack://{SECRET}", "://x", "json://"):
        settings = Settings(convault_notify_urls=f"json://127.0.0.1 {wrong}")
        with pytest.raises(ConfigurationError, match="URL 2 of CONVAULT_NOTIFY_URLS") as caught:
            channels.channels(settings)
        assert SECRET not in str(caught.value)
        good, told = usable_channels(settings)
        assert [channel.label for channel in good] == ["1 json"]
        assert len(told) == 1
    assert SECRET not in caplog.text
    assert SECRET not in repr(settings)


def test_urls_with_commas_in_them() -> None:
    found = through(
        "mailto://u:p@example.org?to=a@example.org,b@example.org,json://h/x,\njsons://h"
    )
    assert [channel.label for channel in found] == ["1 mailto", "2 json", "3 jsons"]
    assert channels.channels(Settings()) == ()
    assert channels.channels(Settings(convault_notify_urls=" ")) == ()


def incident(kind: Kind, title: str, *, over: bool = False) -> Incident:
    at = datetime(2026, 3, 10, 12, tzinfo=UTC)
    return Incident(
        id=uuid4(), kind=kind, title=title, detail="Do this.", opened_at=at,
        recovered_at=at.replace(hour=13) if over else None,
    )  # fmt: skip


def test_one_message_tells_of_all() -> None:
    failed = incident(Kind.FAILED, "A backup failed")
    over = incident(Kind.OVERDUE, "nightly is overdue", over=True)
    one = of_incidents([failed], "school")
    assert (one.title, one.bad) == ("Convault (school): A backup failed", True)
    assert one.body == "A backup failed.\nDo this.\nNoticed 2026-03-10 12:00 UTC."
    end = of_incidents([over], "school")
    assert (end.title, end.bad) == ("Convault (school): Over: nightly is overdue", False)
    assert end.body.endswith("From 2026-03-10 12:00 UTC to 2026-03-10 13:00 UTC.")
    both = of_incidents([over, failed, failed], "school")
    assert (both.title, both.bad) == ("Convault (school): 2 things are wrong, one is over", True)
    assert both.body.startswith("A backup failed.")
    many = of_incidents([incident(Kind.SHRUNK, "t" * 900, over=n > 20) for n in range(40)], "x")
    assert len(many.body) < 4096
    assert "And 32 more" in many.body


def test_signals_of_the_dead_mans_switch(receiver: Receiver) -> None:
    switch = Ping.of(Settings(convault_ping_url=f"{receiver.url}/{SECRET}"), RUN)
    assert [switch.send("start"), switch.send("success"), switch.send("fail", "source")] == [""] * 3
    assert receiver.paths == [
        f"/{SECRET}/start?rid={RUN}", f"/{SECRET}?rid={RUN}", f"/{SECRET}/fail?rid={RUN}",
    ]  # fmt: skip
    assert receiver.bodies == ["", "", "source"]
    assert SECRET not in repr(switch)
    assert Ping.of(Settings(), RUN).send("start") == ""


def test_a_switch_that_does_not_answer(
    receiver: Receiver, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    switch = Ping.of(Settings(convault_ping_url=f"{receiver.url}/{SECRET}"), RUN)
    receiver.status = 404
    assert switch.send("start") == "HTTP 404"
    receiver.status, receiver.hold = 200, threading.Event()
    with monkeypatch.context() as hasty:
        # It drips: none of its bytes is late, however slow the machine is.
        ask = partial(urllib.request.urlopen, timeout=PATIENCE)
        hasty.setattr(urllib.request, "urlopen", lambda request, timeout: ask(request))
        hasty.setattr(ping, "SECONDS", 0.5)
        assert switch.send("start") == "no answer within 0.5 s"
        receiver.hold.set()
    nobody = Ping.of(Settings(convault_ping_url="http://127.0.0.1:9/"), RUN)
    assert nobody.send("fail") == "URLError"
    assert SECRET not in caplog.text


def test_where_signals_go() -> None:
    assert (
        address_of("https://hc-ping.com/x/", "fail", RUN) == f"https://hc-ping.com/x/fail?rid={RUN}"
    )
    assert address_of("https://h/p?key=1", "success", RUN) == f"https://h/p?key=1&rid={RUN}"


@pytest.mark.parametrize("url", ["ftp://x/y", "file:///etc/passwd", "hc-ping.com/x", "https:///x"])
def test_a_ping_url_that_is_none(url: str) -> None:
    with pytest.raises(ValueError, match="not an address such as") as caught:
        Settings(convault_ping_url=url)
    assert url not in str(caught.value)
