"""The whole examination, against a real Postgres and a real Supabase."""

from __future__ import annotations

import json
import secrets
from collections.abc import Callable, Iterator
from datetime import timedelta
from pathlib import Path

import psycopg
import pytest
from fastapi import FastAPI, Response

from convault.doctor import clocks
from convault.doctor.examination import examine
from convault.doctor.finding import Finding, State
from convault.embedded.server import EmbeddedPostgres
from convault.installation import initialise
from convault.settings import load_settings
from convault.stores import open_store
from tests.databases import drop_database
from tests.doctor.pooler import transaction_pooler
from tests.flows.application import ROWS, SCHEMA
from tests.patience import PATIENCE
from tests.serving import served
from tests.supabase_stack import SupabaseStack

pytestmark = pytest.mark.xdist_group("supabase")

GREEN = {
    "settings", "source address", "source session", "server version", "statement timeouts",
    "clock of the database", "tables", "catalog", "service key", "Supabase project", "bucket",
    "clock of the project", "repository", "store", "temporary files", "quota", "signing key",
}  # fmt: skip


@pytest.fixture(scope="module")
def database_url(cluster: EmbeddedPostgres) -> Iterator[str]:
    name = f"test_{secrets.token_hex(6)}"
    with psycopg.connect(cluster.url(), autocommit=True) as connection:
        connection.execute(f"CREATE DATABASE {name} TEMPLATE template0")
    with (
        psycopg.connect(cluster.url(name)) as connection,
        psycopg.ClientCursor(connection) as cursor,
    ):
        cursor.execute(SCHEMA)
        cursor.execute(ROWS, {"conversations": 3, "messages": 10})
    yield cluster.url(name)
    drop_database(cluster.url(), name)


@pytest.fixture
def environment(
    database_url: str, supabase: SupabaseStack, monkeypatch: pytest.MonkeyPatch
) -> Callable[..., None]:
    """Set variables; at first those of a bucket that nobody has."""

    def put(**variables: str | None) -> None:
        for name, value in variables.items():
            if value is None:
                monkeypatch.delenv(name)
            else:
                monkeypatch.setenv(name, value)

    for module in ("api", "clocks"):  # no part is red because the machine stood still
        monkeypatch.setattr(f"convault.doctor.{module}.TIMEOUT", PATIENCE)
    put(
        DATABASE_URL=database_url,
        SUPABASE_URL=supabase.url,
        SUPABASE_SERVICE_ROLE_KEY=supabase.secret_key,
        CONVAULT_STORE_URL=f"supabase://bucket-{secrets.token_hex(6)}/convault",
        CONVAULT_SIGNING_KEY=secrets.token_hex(32),
        CONVAULT_STORE_QUOTA="900MB",
    )
    return put


def named(findings: list[Finding], name: str) -> Finding:
    (found,) = (finding for finding in findings if finding.name == name)
    return found


def test_what_is_set_up_is_green_and_a_probe_leaves_nothing(
    environment: Callable[..., None], supabase: SupabaseStack
) -> None:
    before = examine()
    assert named(before, "bucket").remedy == "Run `convault init`, which makes it, private."

    initialise(load_settings(), new_repository=True)
    findings = examine(probe=True)
    assert {finding.name for finding in findings if finding.state is State.OK} >= GREEN, findings
    assert [finding for finding in findings if finding.state is State.RED] == []
    home = named(findings, "another place")
    assert home.state is State.AMBER, "both are on this machine"
    clock = clocks.ask(supabase.url)
    assert clock is not None
    assert abs(clock.ahead) < timedelta(seconds=10)
    store = open_store(load_settings().store_url())
    assert [info.key for info in store.list()] == ["convault.json"]
    shown = json.dumps([finding.to_json() for finding in findings])
    for secret in (supabase.secret_key, load_settings().signing.ids[0][::-1]):
        assert secret not in shown


def test_a_copy_counts_once_it_holds_the_newest_backup(
    environment: Callable[..., None], tmp_path: Path
) -> None:
    copy = tmp_path / "copy"
    copy.mkdir(mode=0o700)
    environment(CONVAULT_STORE_MIRROR_URL=copy.as_uri())
    initialise(load_settings(), new_repository=True)
    found = named(examine(), "another place")
    assert found.state is State.AMBER
    assert "the copy in mirror does not hold the newest backup" in found.found


def test_keys_that_the_server_refuses(
    environment: Callable[..., None], supabase: SupabaseStack
) -> None:
    environment(SUPABASE_SERVICE_ROLE_KEY=f"sb_secret_{secrets.token_hex(16)}")
    findings = examine()
    project = named(findings, "Supabase project")
    assert project.state is State.RED, findings
    assert "refuses the key" in project.found
    assert named(findings, "repository").state is State.NOT_CHECKED


@pytest.mark.parametrize(
    ("bucket", "words"),
    [({"public": True}, "is public"), ({"file_size_limit": 1024 * 1024}, "at most 1048576")],
    ids=["public", "small"],
)
def test_a_bucket_that_is_not_fit(
    bucket: dict[str, object], words: str, environment: Callable[..., None],
    supabase: SupabaseStack,
) -> None:  # fmt: skip
    environment(CONVAULT_STORE_URL=f"supabase://{supabase.new_bucket(**bucket)}/convault")
    found = named(examine(), "bucket")
    assert found.state is State.RED
    assert words in found.found


def test_a_paused_project_is_not_waited_for(environment: Callable[..., None]) -> None:
    app = FastAPI(openapi_url=None)
    asked: list[str] = []

    def paused(path: str) -> Response:
        asked.append(path)
        return Response("", 540)

    app.add_api_route("/{path:path}", paused, methods=["GET", "POST"])
    with served(app) as url:
        environment(SUPABASE_URL=url)
        found = named(examine(), "Supabase project")
    assert found.state is State.RED
    assert "paused" in found.found
    assert len(asked) == 1


@pytest.fixture
def role(database_url: str) -> Iterator[Callable[..., str]]:
    """Make a role that may log in; gives the URL of the database for it."""
    made: list[str] = []

    def make(*statements: str) -> str:
        name = f"role_{secrets.token_hex(6)}"
        with psycopg.connect(database_url, autocommit=True) as connection:
            connection.execute(f"CREATE ROLE {name} LOGIN")
            made.append(name)
            for statement in statements:
                connection.execute(statement.format(role=name).encode())
        return database_url.replace("//postgres@", f"//{name}@")

    yield make
    with psycopg.connect(database_url, autocommit=True) as connection:
        connection.execute("ALTER TABLE conversations DISABLE ROW LEVEL SECURITY")
        for name in made:
            connection.execute(f"DROP OWNED BY {name} CASCADE")
            connection.execute(f"DROP ROLE {name}")


def test_a_pooler_in_transaction_mode(environment: Callable[..., None], database_url: str) -> None:
    with transaction_pooler(database_url) as url:
        findings = source_of(url, environment)
    assert named(findings, "source session").state is State.RED
    assert named(findings, "server version").state is State.OK


def source_of(url: str, environment: Callable[..., None]) -> list[Finding]:
    environment(DATABASE_URL=url, CONVAULT_STORE_URL="", SUPABASE_SERVICE_ROLE_KEY="")
    return examine()


def test_a_role_without_rights(role: Callable[..., str], environment: Callable[..., None]) -> None:
    found = named(source_of(role(), environment), "tables")
    assert found.state is State.RED
    assert "may not read public.channels, public.conversations" in found.found
    assert "GRANT it SELECT" in found.remedy


def test_a_role_under_row_security(
    role: Callable[..., str], environment: Callable[..., None]
) -> None:
    url = role(
        "GRANT pg_read_all_data TO {role}", "ALTER TABLE conversations ENABLE ROW LEVEL SECURITY"
    )
    found = named(source_of(url, environment), "tables")
    assert found.state is State.RED
    assert "Row security hides rows of public.conversations" in found.found
    assert "BYPASSRLS" in found.remedy


def test_a_timeout_of_the_role_is_overridden(
    role: Callable[..., str], environment: Callable[..., None]
) -> None:
    url = role(
        "GRANT pg_read_all_data TO {role}", "ALTER ROLE {role} SET statement_timeout = '2min'"
    )
    found = named(source_of(url, environment), "statement timeouts")
    assert found.state is State.OK
    assert found.found == (
        "statement_timeout = 2min (set on the role); Convault's session overrides it"
    )


def test_a_wrong_password_or_database(environment: Callable[..., None], database_url: str) -> None:
    gone = database_url.replace("/test_", "/no_")
    findings = source_of(gone, environment)
    assert named(findings, "source").state is State.RED
    assert named(findings, "tables").state is State.NOT_CHECKED


def test_without_a_database_its_url_is_asked_for(environment: Callable[..., None]) -> None:
    findings = examine_without(environment)
    assert named(findings, "source address").state is State.NOT_CHECKED
    missing = named(findings, "tables")
    assert missing.state is State.RED
    assert "DATABASE_URL" in missing.found
    assert named(findings, "catalog").state is State.RED


def examine_without(environment: Callable[..., None]) -> list[Finding]:
    environment(DATABASE_URL=None, SUPABASE_URL=None, SUPABASE_SERVICE_ROLE_KEY=None)
    return examine()


def test_a_database_that_init_has_not_seen(environment: Callable[..., None], database: str) -> None:
    findings = source_of(database, environment)
    assert named(findings, "catalog").remedy == "Run `convault init`."
    missing = named(findings, "tables")
    assert missing.state is State.RED
    assert "conversations" in missing.found


def test_room_in_a_folder(environment: Callable[..., None], tmp_path: Path) -> None:
    folder = tmp_path / "store"
    environment(CONVAULT_STORE_URL=folder.as_uri(), CONVAULT_STORE_QUOTA="100 B")
    initialise(load_settings(), new_repository=True)
    findings = examine()
    assert named(findings, "space").state is State.OK
    assert named(findings, "another place").state is State.OK
    full = named(findings, "quota")
    assert full.state is State.RED
    assert "no backup fits" in full.found


def test_settings_that_cannot_be_used(
    environment: Callable[..., None], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / ".env").write_text("DATABASE_URL=postgresql://u:hunter2@h/d\n")
    (tmp_path / ".env").chmod(0o644)
    settings, rest = examine()
    assert settings.state is State.RED
    assert "chmod 600" in settings.remedy
    assert rest.state is State.NOT_CHECKED
    assert "hunter2" not in settings.found + settings.remedy
