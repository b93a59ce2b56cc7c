"""What follows from what was found: no server is asked here."""

from __future__ import annotations

import re
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import uuid4

import pytest

from convault.catalog.base import BackupRecord, BackupStatus, CopyRecord, Recipient
from convault.copies import lags
from convault.doctor import api, clocks, copies, elsewhere, keys, runs, server, space
from convault.doctor.address import Resolved
from convault.doctor.api import Answered
from convault.doctor.clocks import Clock
from convault.doctor.elsewhere import Copy, Home
from convault.doctor.finding import Finding, State, of_error, ok, red, require_healthy
from convault.doctor.server import Server
from convault.errors import ConfigurationError, NotHealthy

NOW = datetime(2026, 1, 31, 12, tzinfo=UTC)
REF = "abcdefghijklmnopqrst"
HOST = f"{REF}.supabase.co"
RESOLVED = Resolved(("104.18.0.1",), True)
MIB = 2**20
SERVER = Server(
    version=170002, encoding="UTF8", role="convault_reader", superuser=False,
    bypasses_row_security=True,
    configured={"statement_timeout": "0"}, effective={"statement_timeout": "0"}, origins={},
    clock=Clock(timedelta(), timedelta()), database_bytes=1,
)  # fmt: skip


def told(finding: Finding) -> str:
    return f"{finding.state.value} | {finding.found} | {finding.remedy}"


@pytest.mark.parametrize(
    ("resolved", "answered", "words"),
    [
        (Resolved((), False), None, "red .* paused or deleted.* Open it in the dashboard"),
        (Resolved((), False, silent=True), None, "red .* no name server"),
        (RESOLVED, Answered(540), "red .* paused .540.*restore"),
        (RESOLVED, Answered(None), "red .* does not answer"),
        (RESOLVED, Answered(401), "red .* refuses the key.*SUPABASE_SERVICE_ROLE_KEY"),
        (RESOLVED, Answered(403), "red .* refuses the key"),
        (RESOLVED, Answered(402), "red .* restricted.*Billing"),
        (RESOLVED, Answered(503), "red .* status 503.*Try again"),
        (RESOLVED, Answered(404, "stranger"), "red .* not Supabase Storage.*SUPABASE_URL"),
        (RESOLVED, Answered(302, "other"), "red .* not Supabase Storage"),
        (RESOLVED, Answered(404, "no-bucket"), "ok .* takes the key"),
        (RESOLVED, Answered(200), "ok "),
        (None, Answered(200), "ok "),
    ],
    ids=str,
)
def test_what_a_project_answers(
    resolved: Resolved | None, answered: Answered | None, words: str
) -> None:
    text = told(api.judge_answer(HOST, resolved, answered)).replace("(status 540)", ".540.")
    assert_matches(words, text)


@pytest.mark.parametrize(
    ("bucket", "words"),
    [
        (None, "red .* no bucket backups.*convault init"),
        ({"public": True}, "red .* is public.*Make it private"),
        ({}, "red .* is public"),
        ({"public": False, "file_size_limit": 16 * MIB}, "red .* 16777216 bytes.*at most 15728640"),
        ({"public": False, "file_size_limit": 1000}, "red .* Raise the bucket's limit"),
        ({"public": False, "file_size_limit": 33 * MIB}, "ok .* private"),
        ({"public": False, "file_size_limit": None}, "ok .* as large as the project allows"),
        ({"public": False, "allowed_mime_types": ["image/png"]}, "red .* octet-stream"),
    ],
    ids=str,
)
def test_what_a_bucket_is(bucket: dict[str, Any] | None, words: str) -> None:
    answered = Answered(200 if bucket is not None else 404, bucket=bucket)
    assert_matches(words, told(api.judge_bucket("backups", answered, 32 * MIB)))


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"version": 130011}, "red .* Postgres 13.*14 and newer"),
        ({"version": 140000}, "ok .* Postgres 14"),
        ({"encoding": "SQL_ASCII"}, "red .* SQL_ASCII.*UTF8"),
    ],
    ids=str,
)
def test_how_old_a_server_is(change: dict[str, Any], words: str) -> None:
    assert_matches(words, told(server.judge_version(replace(SERVER, **change))))


def test_timeouts() -> None:
    limited = replace(
        SERVER, configured={"statement_timeout": "2min"}, origins={"statement_timeout": "role"}
    )
    assert_matches(
        r"ok .* 2min \(set on the role\); .* overrides", told(server.judge_timeouts(limited))
    )
    left = replace(limited, effective={"statement_timeout": "2min"})
    assert_matches(
        'red .* 2min holds .*ALTER ROLE "convault_reader" SET statement_timeout = 0',
        told(server.judge_timeouts(left)),
    )
    assert told(server.judge_timeouts(SERVER)) == "ok | none | "


def test_the_role() -> None:
    assert_matches("ok .* bypasses", told(server.judge_role(SERVER)))
    plain = replace(SERVER, bypasses_row_security=False)
    assert_matches("ok .* under row security where", told(server.judge_role(plain)))
    assert_matches("amber .* superuser", told(server.judge_role(replace(SERVER, superuser=True))))


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (None, "not checked .* none on PATH"),
        ("pg_dump (PostgreSQL) 15.6 (Debian 15.6-0+deb12u1)", "amber .* 15 .* Postgres 17.*"),
        ("pg_dump (PostgreSQL) 17.2", "ok .* 17"),
        ("pg_dump (PostgreSQL) 18beta1", "ok .* 18"),
        ("something", "not checked"),
    ],
)
def test_pg_dump(text: str | None, words: str) -> None:
    assert_matches(words, told(server.judge_pg_dump(text, SERVER.version)))


def test_clocks() -> None:
    second = timedelta(seconds=1)
    for ahead, give, state in (
        (9, 0, "ok"), (-9, 0, "ok"), (11, 2, "ok"), (11, 0, "amber"), (-30, 1, "amber"),
        (301, 0, "red"), (-4000, 5, "red"),
    ):  # fmt: skip
        found = clocks.judge("clock", "the database", Clock(ahead * second, give * second))
        assert found.state == state, found
        assert ("behind" in found.found) == (ahead < 0 and state != "ok")
    assert clocks.judge("clock", "the store", None).state is State.NOT_CHECKED


def test_the_clock_of_an_http_server() -> None:
    after = NOW + timedelta(seconds=2)
    clock = clocks.from_date_header("Sat, 31 Jan 2026 12:01:00 GMT", NOW, after)
    assert clock == Clock(timedelta(seconds=59.5), timedelta(seconds=1.5))
    assert clocks.from_date_header(None, NOW, after) is None
    assert clocks.from_date_header("yesterday", NOW, after) is None


def test_room() -> None:
    for free, state in ((99, "red"), (100, "amber"), (299, "amber"), (300, "ok")):
        assert space.judge_free("space", free, 100, whose="file:///x").state == state
    assert space.judge_temporary("/tmp", 2**20).state is State.AMBER
    assert space.judge_temporary("/tmp", 2**30).state is State.OK
    for used, state in ((0, "ok"), (800, "ok"), (801, "amber"), (1000, "red"), (2000, "red")):
        assert space.judge_quota(used, 1000, 200).state == state


def test_the_store_beside_the_source_is_amber_until_there_is_a_copy() -> None:
    source, other = Home(REF, "db"), Home("zzzzzzzzzzzzzzzzzzzz", "x")
    assert told(elsewhere.judge([source], None, [])).startswith("ok | the store is in no Supabase")
    assert elsewhere.judge([source], other, []).state is State.OK
    here = Home(REF, HOST)
    alone = elsewhere.judge([source], here, [])
    assert_matches("amber .* deletes both .*CONVAULT_STORE_<NAME>_URL", told(alone))
    inside = Copy("copy", apart=False, complete=True)
    assert elsewhere.judge([source], here, [inside]).state is State.AMBER
    behind = Copy("disk", apart=True, complete=False)
    assert_matches("amber .* disk does not hold", told(elsewhere.judge([source], here, [behind])))
    whole = Copy("disk", apart=True, complete=True)
    assert_matches("ok .* disk elsewhere", told(elsewhere.judge([source], here, [behind, whole])))


@pytest.mark.parametrize(
    ("url", "home"),
    [
        ("file:///srv/convault", None),
        ("s3://backups/convault?region=eu-central-1", None),
        ("s3://b/c?endpoint=https://s3.example.org", None),
        (f"s3://b/c?endpoint=https://{REF}.supabase.co/storage/v1/s3", Home(REF, HOST)),
        (f"s3://b?endpoint=https://{REF}.storage.supabase.co/storage/v1/s3",
         Home(REF, f"{REF}.storage.supabase.co")),
        ("supabase://backups", Home("zzzzzzzzzzzzzzzzzzzz", "zzzzzzzzzzzzzzzzzzzz.supabase.co")),
    ],
    ids=str,
)  # fmt: skip
def test_which_project_a_store_is_in(url: str, home: Home | None) -> None:
    supabase = "https://zzzzzzzzzzzzzzzzzzzz.supabase.co"
    assert elsewhere.home_of_store(url, supabase, None) == home


def test_a_server_of_ones_own_is_known_by_its_host() -> None:
    database = elsewhere.home_of_database("postgresql://u:p@supabase.example.org:5432/postgres")
    assert database.is_of(elsewhere.home_of_project("https://supabase.example.org"))
    assert not database.is_of(elsewhere.home_of_project("https://backups.example.org"))
    here = elsewhere.home_of_database("postgresql://u@/app?host=/var/run/postgresql")
    assert here.is_of(elsewhere.home_of_project("http://127.0.0.1:54321"))


def recipient(*, active: bool) -> Recipient:
    return Recipient(public_key="age1a", added_at=NOW, retired_at=None if active else NOW)


def test_encryption() -> None:
    active, retired = recipient(active=True), recipient(active=False)
    assert keys.judge_encryption("auto", [active, retired]).state is State.OK
    assert_matches("amber .* no recipient", told(keys.judge_encryption("auto", [])))
    assert_matches("amber .* off", told(keys.judge_encryption("off", [active])))
    assert_matches("red .* required.*keys new", told(keys.judge_encryption("required", [])))
    assert_matches("red .* earlier backups", told(keys.judge_encryption("auto", [retired])))


def test_the_identity_belongs_to_a_recipient() -> None:
    active = [recipient(active=True)]
    assert keys.judge_identity(None, active).state is State.NOT_CHECKED
    assert keys.judge_identity(["age1a"], active).state is State.OK
    assert_matches("red .* none of the active", told(keys.judge_identity(["age1b"], active)))


def test_signing() -> None:
    assert_matches("amber .* convault init", told(keys.judge_signing(())))
    assert_matches("ok .* abcd", told(keys.judge_signing(("abcd", "older"))))


@pytest.mark.parametrize(
    ("answered", "words"),
    [
        (runs.Answered(None), "red .* no Prefect server"),
        (runs.Answered(401), "red .* PREFECT_API_AUTH_STRING"),
        (runs.Answered(200, 401), "red .* sign-in"),
        (runs.Answered(404), "red .* ends in /api"),
        (runs.Answered(200, 404), "amber .* prefect deploy --all"),
        (runs.Answered(200, 500), "red .* status 500"),
        (runs.Answered(200, 200), "ok .* backup/conversations"),
    ],
    ids=str,
)
def test_prefect(answered: runs.Answered, words: str) -> None:
    where = runs.Server("http://user:hunter2@127.0.0.1:4200/api", {"Authorization": "hunter2"})
    found = told(runs.judge(where, answered))
    assert_matches(words, found)
    assert "hunter2" not in found + repr(where)
    assert runs.judge(None, None).state is State.NOT_CHECKED


def test_an_error_is_a_finding_with_its_remedy() -> None:
    found = of_error("source", ConfigurationError("It is not set. Set it. Then try again."))
    assert told(found) == "red | It is not set | Set it. Then try again."


def test_only_red_ends_badly() -> None:
    require_healthy(
        [ok("a", ""), Finding("b", State.AMBER, ""), Finding("c", State.NOT_CHECKED, "")]
    )
    with pytest.raises(NotHealthy, match="2 checks are red: b, c") as caught:
        require_healthy([ok("a", ""), red("b", "", ""), red("c", "", "")])
    assert caught.value.exit_code == 95


def assert_matches(words: str, text: str) -> None:
    """`words` are a state, ` .* `, and a pattern of what is said somewhere."""
    state, _, said = words.partition(" .* ")
    assert text.startswith(f"{state.strip()} | "), text
    assert re.search(said, text, re.DOTALL), text


def test_copies_are_red_when_they_are_behind_and_amber_when_they_were_never_made() -> None:
    now, repository = datetime.now(UTC), uuid4()
    record = CopyRecord(id=uuid4(), repository_id=repository, name="far", url="", succeeded_at=now)
    row = BackupRecord(
        id=uuid4(), status=BackupStatus.COMPLETED, options={}, repository_id=repository,
        created_at=now - timedelta(days=2), updated_at=now,
    )  # fmt: skip

    def judged(rows: list[BackupRecord], *known: CopyRecord) -> str:
        return told(copies.judge(lags(["far"], known, rows, now, repository)))

    assert_matches("ok .* holds every backup", judged([], record))
    assert_matches("red .* lacks 1 backups, the oldest for 48.0 h", judged([row], record))
    assert_matches("amber .* never complete", judged([row]))
    failed = record.model_copy(update={"error": "it is full"})
    assert_matches("amber .* it is full", judged([], failed))
