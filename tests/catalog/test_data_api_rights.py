"""Who sees and writes what over the Data API, with tokens of each kind, and in Postgres itself.

@supabase/lite grants everything on every table to all three roles when it first sees row security,
which Supabase does not: over it, the policies alone keep them apart, and where Supabase refuses, it
shows no rows. So what is granted is looked at in a database that lite does not know.
"""

from __future__ import annotations

import json
import secrets
import time
from collections.abc import Iterator
from typing import Any
from uuid import uuid4

import httpx
import jwt
import psycopg
import pytest

from convault.catalog import migrations
from convault.catalog.base import AuditEntry, Catalog, CopyRecord
from convault.catalog.postgres import PostgresCatalog
from convault.catalog.supabase import SupabaseCatalog
from convault.incidents import Kind, Notice
from convault.project import Project
from tests.databases import drop_database
from tests.patience import PATIENCE
from tests.supabase_stack import SupabaseStack

pytestmark = pytest.mark.xdist_group("supabase")

HIDDEN = ("backup_audit", "backup_leases", "convault_migrations")
SEEN = (
    "backups", "backup_objects", "backup_recipients", "backup_repositories", "backup_schedules",
    "backup_verify_turns", "backup_copies", "backup_incidents",
)  # fmt: skip
OPERATORS: list[dict[str, Any]] = [
    {"app_metadata": {"convault_role": "operator"}},
    {"app_metadata": {"convault_role": "admin"}},
]
NO_OPERATORS: list[dict[str, Any]] = [
    {},
    {"app_metadata": {"convault_role": "other"}, "user_metadata": {"convault_role": "admin"}},
    {"user_metadata": {"convault_role": "operator"}},
    {"convault_role": "operator"},
    {"app_metadata": "operator"},
    {"app_metadata": {"convault_role": ["operator"]}},
    {"app_metadata": None},
]


@pytest.fixture
def rows(data_api: Project, catalog_supabase: SupabaseStack) -> None:
    """One in each table."""
    fill(SupabaseCatalog(data_api), catalog_supabase.database_url)


def fill(catalog: Catalog, url: str) -> None:
    """Put a row into each table."""
    repository_id = uuid4()
    catalog.register_repository(repository_id, uuid4(), "file:///x")
    catalog.add_recipient("age1" + "q" * 58)
    catalog.record_read(repository_id, {"a": True})
    catalog.set_turn(repository_id, "", 3, 1)
    catalog.audit(AuditEntry(actor="me", origin="cli", action="pin", result="done"))
    catalog.save_copy(CopyRecord(id=uuid4(), repository_id=repository_id, name="x", url="x"))
    catalog.open_incident(Notice(Kind.AGED, "", "x", "x"), catalog.now())
    catalog.begin(uuid4(), {}).__exit__(None, None, None)
    with psycopg.connect(url) as connection:
        connection.execute(
            "INSERT INTO public.backup_leases VALUES ('x', NULL, 1, now()) ON CONFLICT DO NOTHING"
        )
        connection.execute(
            "INSERT INTO public.backup_schedules (id, schedule) VALUES (%s, 'daily')", [uuid4()]
        )


@pytest.fixture(scope="module")
def apart(catalog_supabase: SupabaseStack) -> Iterator[str]:
    """URL of a database with the catalog, beside the one that lite knows, where the roles are."""
    name = f"apart_{secrets.token_hex(4)}"
    with psycopg.connect(catalog_supabase.database_url, autocommit=True) as connection:
        connection.execute(f"CREATE DATABASE {name} TEMPLATE template0".encode())
        url = catalog_supabase.database_url.replace("/catalog?", f"/{name}?")
        with psycopg.connect(url, autocommit=True) as there:
            # As Supabase projects had it.
            for kind in ("TABLES", "FUNCTIONS"):
                there.execute(
                    f"ALTER DEFAULT PRIVILEGES IN SCHEMA public GRANT ALL ON {kind}"
                    " TO anon, authenticated, service_role".encode()
                )
        catalog = PostgresCatalog(url)
        catalog.migrate()
        fill(catalog, url)
        yield url
        drop_database(catalog_supabase.database_url, name)


def token(catalog_supabase: SupabaseStack, claims: dict[str, Any]) -> str:
    """As the project's Auth signs it. @supabase/lite's own Auth puts no `app_metadata` into its
    tokens, so tokens that need claims are signed here, with the project's secret."""
    now = int(time.time())
    usual = {"sub": str(uuid4()), "aud": "authenticated", "role": "authenticated",
             "iat": now, "exp": now + 600}  # fmt: skip
    return jwt.encode({**usual, **claims}, catalog_supabase.jwt_secret, algorithm="HS256")


def signed_in(catalog_supabase: SupabaseStack) -> str:
    """The token of somebody who signed up at the Auth server, and calls themselves an operator."""
    with catalog_supabase.client(catalog_supabase.publishable_key) as client:
        answer = client.post(
            "/auth/v1/signup",
            json={
                "email": f"{secrets.token_hex(6)}@example.org",
                "password": secrets.token_hex(12),
                "data": {"convault_role": "admin"},
            },
        ).raise_for_status()
    return str(answer.json()["access_token"])


def client(catalog_supabase: SupabaseStack, bearer: str | None) -> httpx.Client:
    headers = {"apikey": catalog_supabase.publishable_key}
    if bearer is not None:
        headers["Authorization"] = f"Bearer {bearer}"
    return httpx.Client(
        base_url=f"{catalog_supabase.url}/rest/v1", headers=headers, timeout=PATIENCE
    )


def seen(answer: httpx.Response) -> int:
    """How many rows; none where it was refused."""
    if answer.status_code in (401, 403):
        return 0
    return len(answer.raise_for_status().json())


def written(asking: httpx.Client) -> list[bool]:
    """Which kinds of writing were done to `backups`, and whether a function ran."""
    answers = [
        asking.post("/backups", json={"id": str(uuid4())},
                    headers={"Prefer": "return=representation"}),
        asking.patch("/backups?status=eq.processing", json={"error": "x"},
                     headers={"Prefer": "return=representation"}),
        asking.delete("/backups?status=eq.processing",
                      headers={"Prefer": "return=representation"}),
        asking.post("/rpc/convault_abandoned", json={}),
    ]  # fmt: skip
    return [answer.is_success and (n == 3 or seen(answer) > 0) for n, answer in enumerate(answers)]


@pytest.mark.usefixtures("rows")
def test_nobody_and_users_see_nothing_operators_read_and_the_service_key_writes(
    catalog_supabase: SupabaseStack,
) -> None:
    nobody = [None, catalog_supabase.legacy_key("anon"), signed_in(catalog_supabase)]
    for bearer in (*nobody, *(token(catalog_supabase, claims) for claims in NO_OPERATORS)):
        with client(catalog_supabase, bearer) as asking:
            for table in SEEN + HIDDEN:
                assert seen(asking.get(f"/{table}")) == 0
            assert written(asking) == [False] * 4
    for claims in OPERATORS:
        with client(catalog_supabase, token(catalog_supabase, claims)) as asking:
            assert {seen(asking.get(f"/{table}")) for table in SEEN} == {1}
            assert {seen(asking.get(f"/{table}")) for table in HIDDEN} == {0}
            assert written(asking) == [False] * 4
    forged = jwt.encode({"role": "service_role", "exp": int(time.time()) + 60}, "x" * 32)
    with client(catalog_supabase, forged) as asking:
        assert seen(asking.get("/backups")) == 0
    # lite's gateway takes no key of the older kind as `apikey`; as the bearer's token it does.
    for service in (
        catalog_supabase.client(),
        client(catalog_supabase, catalog_supabase.legacy_key()),
    ):
        with service as asking:
            asking.base_url = f"{catalog_supabase.url}/rest/v1"
            fill(PostgresCatalog(catalog_supabase.database_url), catalog_supabase.database_url)
            assert [t for t in SEEN + HIDDEN if not seen(asking.get(f"/{t}"))] == []
            assert written(asking) == [True] * 4


@pytest.mark.parametrize(
    ("role", "claims", "sees"),
    [
        ("anon", {}, False),
        *(("authenticated", claims, False) for claims in NO_OPERATORS),
        *(("authenticated", claims, True) for claims in OPERATORS),
        ("authenticated", None, False),
        ("service_role", {}, True),
    ],
)
def test_postgres_itself_keeps_them_apart(
    apart: str, role: str, claims: dict[str, Any] | None, sees: bool
) -> None:
    with psycopg.connect(apart) as connection:
        if claims is not None:
            text = json.dumps({"role": role, **claims})
            connection.execute("SELECT set_config('request.jwt.claims', %s, true)", [text])
        connection.execute(f"SET LOCAL ROLE {role}".encode())
        for table in SEEN:
            query = f"SELECT count(*) FROM public.{table}".encode()
            if role == "anon":
                with (
                    pytest.raises(psycopg.errors.InsufficientPrivilege),
                    connection.transaction(),
                ):
                    connection.execute(query)
            else:
                assert connection.execute(query).fetchone() == (int(sees),)
        if role != "service_role":
            for statement in ("DELETE FROM public.backups", "SELECT FROM public.backup_leases"):
                with (
                    pytest.raises(psycopg.errors.InsufficientPrivilege),
                    connection.transaction(),
                ):
                    connection.execute(statement.encode())


def test_every_table_and_function_of_the_migrations_has_its_rights(apart: str) -> None:
    with psycopg.connect(apart) as connection:
        tables = connection.execute(
            "SELECT relname, relrowsecurity,"
            " has_table_privilege('anon', oid, 'SELECT,INSERT,UPDATE,DELETE,TRUNCATE,REFERENCES'),"
            " has_table_privilege('authenticated', oid, 'INSERT,UPDATE,DELETE,TRUNCATE'),"
            " has_table_privilege('authenticated', oid, 'SELECT'),"
            " has_table_privilege('service_role', oid, 'INSERT') FROM pg_class"
            " WHERE relkind = 'r' AND relnamespace = 'public'::regnamespace"
            " AND relname ~ '^(backup|convault_)' ORDER BY 1"
        ).fetchall()
        assert tables == [
            (name, True, False, False, name in SEEN, True) for name in sorted(SEEN + HIDDEN)
        ], "a table that a migration made is not in *_rights.sql"
        functions = connection.execute(
            "SELECT proname, prosecdef, proconfig, has_function_privilege('anon', oid, 'EXECUTE'),"
            " has_function_privilege('authenticated', oid, 'EXECUTE'),"
            " has_function_privilege('service_role', oid, 'EXECUTE') FROM pg_proc"
            " WHERE pronamespace = 'public'::regnamespace AND proname ~ '^(backup|convault_)'"
        ).fetchall()
    assert len(functions) == 19
    for name, definer, settings, anon, authenticated, service in functions:
        assert (definer, anon, authenticated, service) == (False, False, False, True), name
        assert settings == ['search_path=""'], name


def test_roles_that_come_later_get_their_rights_from_the_next_init(apart: str) -> None:
    catalog = PostgresCatalog(apart)
    with psycopg.connect(apart, autocommit=True) as connection:
        # As if they had come since: what a role without rights looks like.
        connection.execute("REVOKE ALL ON ALL TABLES IN SCHEMA public FROM service_role")
        allowed = "SELECT has_table_privilege('service_role', 'public.backups', 'UPDATE')"
        assert connection.execute(allowed).fetchone() == (False,)
        assert catalog.migrate() == []
        assert connection.execute(allowed).fetchone() == (True,)
        # A file that is applied again takes rights away, and they come back behind it.
        name = next(m.name for m in migrations.migrations() if m.name.endswith("_backups"))
        connection.execute("DELETE FROM public.convault_migrations WHERE name = %s", [name])
        assert catalog.migrate() == [name]
        reads = "SELECT has_table_privilege('authenticated', 'public.backups', 'SELECT')"
        assert connection.execute(reads).fetchone() == (True,)
