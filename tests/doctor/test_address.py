"""Where a database URL leads. What the resolver says is made up: no name is looked up here."""

from __future__ import annotations

import socket

import pytest

from convault.doctor.address import Address, Resolved, judge, parse, project_of, resolve
from convault.errors import ConfigurationError

REF = "abcdefghijklmnopqrst"
DIRECT = f"db.{REF}.supabase.co"
POOLER = "aws-0-eu-central-1.pooler.supabase.com"
SIX = Resolved(("2a05:d014::1",), True)
SIX_WITHOUT_A_WAY = Resolved(("2a05:d014::1",), False)
FOUR = Resolved(("3.65.151.229",), True)
NOTHING = Resolved((), False)


def judged(host: str, resolved: Resolved, port: int = 5432, user: str = "postgres") -> list[str]:
    return [
        f"{found.state} | {found.name} | {found.found} | {found.remedy}"
        for found in judge("source", Address(host, port, user), resolved)
    ]


def test_an_ipv6_only_host_without_a_way_names_the_pooler_and_its_user() -> None:
    (found,) = judged(DIRECT, SIX_WITHOUT_A_WAY, user="convault_reader")
    assert found.startswith("red | source | ")
    assert "IPv6 addresses only" in found
    assert "aws-<n>-<region>.pooler.supabase.com, port 5432" in found
    assert f"user convault_reader.{REF}" in found


def test_an_ipv6_only_host_that_can_be_reached_is_amber() -> None:
    (found,) = judged(DIRECT, SIX)
    assert found.startswith("amber")
    assert f"postgres.{REF}" in found


def test_another_host_with_ipv6_only_is_no_matter_of_supabase() -> None:
    assert judged("db.example.org", SIX) == ["ok | source | db.example.org resolves | "]
    (found,) = judged("db.example.org", SIX_WITHOUT_A_WAY)
    assert "pooler" not in found
    assert found.startswith("red")


@pytest.mark.parametrize("host", [DIRECT, POOLER])
def test_a_host_that_does_not_resolve_is_a_paused_project(host: str) -> None:
    user = f"postgres.{REF}"
    (found,) = judged(host, NOTHING, user=user)
    assert found.startswith("red")
    assert "paused" in found
    assert "restore it" in found
    (other,) = judged("db.example.org", NOTHING)
    assert other.startswith("red")
    assert "paused" not in other


def test_without_a_name_server_nothing_is_said_of_the_project() -> None:
    (found,) = judged(DIRECT, Resolved((), False, silent=True))
    assert "no name server answers" in found
    assert "paused" not in found


@pytest.mark.parametrize(("host", "user"), [(DIRECT, "postgres"), (POOLER, f"postgres.{REF}")])
def test_the_port_of_the_transaction_pooler_is_red(host: str, user: str) -> None:
    _, found = judged(host, FOUR, port=6543, user=user)
    assert found.startswith("red | source: port")
    assert "port 5432 of the session pooler" in found
    assert f"postgres.{REF}" in found


def test_that_port_means_nothing_elsewhere() -> None:
    assert judged("db.example.org", FOUR, port=6543)[1:] == []


def test_the_pooler_wants_the_project_in_the_user() -> None:
    _, found = judged(POOLER, FOUR, user="reader")
    assert found.startswith("red | source: user")
    assert "reader.<project>" in found
    assert judged(POOLER, FOUR, user=f"reader.{REF}") == [f"ok | source | {POOLER} resolves | "]


def test_what_a_url_says() -> None:
    address = parse(f"postgresql://postgres.{REF}:pass%40word@{POOLER.upper()}:6543/postgres")
    assert address == Address(POOLER, 6543, f"postgres.{REF}", "postgres")
    assert address.project == REF
    assert "word" not in repr(address)
    assert parse(f"postgresql://postgres@{DIRECT}/postgres").project == REF
    assert parse("postgresql://x.abcdefghijklmnopqrst@db.example.org/postgres").project is None
    assert parse("postgresql:///app").host == ""
    with pytest.raises(ConfigurationError) as caught:
        parse("postgresql://u:hunter@2@h/d")
    assert "hunter" not in caught.value.message


def test_projects_by_the_host_of_their_api() -> None:
    assert project_of(f"{REF}.supabase.co") == REF
    assert project_of(f"{REF}.storage.supabase.co") == REF
    assert project_of("backups.example.org") is None
    assert project_of(None) is None


def test_the_resolver_is_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        found = resolve("localhost", port)
    assert found is not None
    assert found.routes
    assert {"127.0.0.1"} <= set(found.addresses)
    assert resolve("/var/run/postgresql", 5432) is None

    def fails(number: int) -> None:
        def ask(*_: object, **__: object) -> None:
            raise socket.gaierror(number, "")

        monkeypatch.setattr(socket, "getaddrinfo", ask)

    fails(socket.EAI_NONAME)
    assert resolve("db.example.org", 5432) == Resolved((), False)
    fails(socket.EAI_AGAIN)
    assert resolve("db.example.org", 5432) == Resolved((), False, silent=True)


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        (f"postgresql://postgres@{DIRECT}/postgres",
         f"postgresql://postgres.{REF}@{POOLER}:5432/postgres", True),
        (f"postgresql://postgres@{DIRECT}/a", f"postgresql://postgres@{DIRECT}/b", False),
        ("postgresql://a@localhost/app", "postgresql://b:x@127.0.0.1:5432/app", True),
        ("postgresql://a@[::1]/app", "postgresql:///app", True),
        ("postgresql://app@localhost", "postgresql://b@localhost/app", True),
        ("postgresql://a@localhost/app", "postgresql://a@localhost:5433/app", False),
        ("postgresql://a@DB.example.org/app", "postgresql://a@db.example.org/app", True),
        ("postgresql://a@db.example.org/app", "postgresql://a@localhost/app", False),
    ],
)  # fmt: skip
def test_one_database_has_several_addresses(one: str, other: str, same: bool) -> None:
    assert parse(one).is_same_database(parse(other)) is same
