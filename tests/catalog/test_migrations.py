"""supabase/migrations: applied once, in order, also beside a table that is there already."""

from __future__ import annotations

import shutil
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from uuid import uuid4

import psycopg
import pytest

from convault.catalog import migrations
from convault.catalog.base import BackupRecord, BackupStatus
from convault.catalog.locks import one_at_a_time
from convault.catalog.postgres import PostgresCatalog
from convault.embedded.server import EmbeddedPostgres
from convault.errors import BusyError, CatalogError, CatalogTooNew, ConfigurationError
from tests.patience import PATIENCE

NAMES = [path.stem for path in sorted(migrations.FOLDER.glob("*.sql"))]

AN_APPLICATIONS_TABLE = """
    CREATE TABLE public.backups (
        id uuid PRIMARY KEY, status text, file_name text, file_size bigint, url text,
        expires_at timestamptz, options jsonb, error text,
        created_at timestamptz, updated_at timestamptz)
"""


def run(url: str, *statements: str) -> list[tuple[Any, ...]]:
    with psycopg.connect(url, autocommit=True) as connection:
        cursor = connection.cursor()
        for statement in statements:
            cursor.execute(statement.encode())
        return cursor.fetchall() if cursor.description else []


def test_are_laid_out_as_the_supabase_cli_wants_them() -> None:
    assert len(NAMES) >= 3
    for name in NAMES:
        timestamp, _, rest = name.partition("_")
        assert len(timestamp) == 14
        assert timestamp.isdigit()
        assert rest


def test_are_applied_once_in_order(
    any_cluster: EmbeddedPostgres, new_database: Callable[[EmbeddedPostgres], str]
) -> None:
    catalog = PostgresCatalog(new_database(any_cluster))
    assert catalog.missing_migrations() == NAMES
    assert catalog.migrate() == NAMES
    assert catalog.missing_migrations() == []
    assert catalog.migrate() == []
    assert catalog.repository_id() is None
    assert catalog.list() == []


def test_the_table_has_the_columns_that_users_know_and_those_beside_them(
    catalog: PostgresCatalog, database: str
) -> None:
    found: dict[object, object] = dict(
        run(
            database,
            "SELECT attname, format_type(atttypid, atttypmod) FROM pg_attribute"
            " WHERE attrelid = 'public.backups'::regclass AND attnum > 0",
        )
    )
    assert found == {
        "id": "uuid",
        "status": "text",
        "requested_by": "text",
        "file_name": "text",
        "file_size": "bigint",
        "url": "text",
        "expires_at": "timestamp with time zone",
        "options": "jsonb",
        "error": "text",
        "created_at": "timestamp with time zone",
        "updated_at": "timestamp with time zone",
        "repository_id": "uuid",
        "flow_run_id": "uuid",
        "parent_id": "uuid",
        "rows": "bigint",
        "stored_bytes": "bigint",
        "metrics": "jsonb",
        "lease_expires_at": "timestamp with time zone",
        "started_at": "timestamp with time zone",
        "completed_at": "timestamp with time zone",
        "manifest_sha256": "text",
        "verified_at": "timestamp with time zone",
        "drill": "jsonb",
        "deleted_at": "timestamp with time zone",
        "pinned": "text",
        "acknowledged_at": "timestamp with time zone",
        "purged_at": "timestamp with time zone",
        "revision": "integer",
    }
    assert set(found) == set(BackupRecord.model_fields)
    with pytest.raises(psycopg.errors.CheckViolation):
        run(database, "INSERT INTO public.backups (status) VALUES ('done')")
    run(database, "INSERT INTO public.backups DEFAULT VALUES")
    (row,) = catalog.list()
    assert (row.status, row.options) == (BackupStatus.PENDING, {})


def test_a_table_that_is_there_keeps_its_rows(database: str) -> None:
    old, bare = uuid4(), uuid4()
    run(
        database,
        AN_APPLICATIONS_TABLE,
        f"INSERT INTO backups VALUES ('{old}', 'completed', 'a.zip', 12, '/a', now(),"
        " '{\"a\": 1}', NULL, '2024-01-02 00:00+00', '2024-01-03 00:00+00')",
        f"INSERT INTO backups (id, status) VALUES ('{bare}', 'pending')",
    )
    catalog = PostgresCatalog(database)
    assert catalog.migrate() == NAMES
    row = catalog.get(old)
    assert (row.status, row.file_name, row.file_size) == (BackupStatus.COMPLETED, "a.zip", 12)
    assert row.options == {"a": 1}
    assert row.created_at.isoformat() == "2024-01-02T00:00:00+00:00"
    assert row.repository_id is None
    assert catalog.get(bare).options == {}
    assert catalog.get(bare).updated_at == catalog.get(bare).created_at
    run(database, "INSERT INTO backups DEFAULT VALUES")
    assert len(catalog.list()) == 3


def test_a_table_that_is_there_without_a_key_gets_one(database: str) -> None:
    run(database, AN_APPLICATIONS_TABLE.replace("PRIMARY KEY", ""))
    catalog = PostgresCatalog(database)
    catalog.migrate()
    row = run(database, "INSERT INTO backups DEFAULT VALUES RETURNING id")[0]
    with pytest.raises(psycopg.errors.UniqueViolation):
        run(database, f"INSERT INTO backups (id) VALUES ('{row[0]}')")


@pytest.mark.parametrize("status", ["'archived-canary'", "NULL"])
def test_rows_that_cannot_be_taken_over_are_refused_and_nothing_is_changed(
    database: str, status: str
) -> None:
    run(
        database,
        AN_APPLICATIONS_TABLE,
        f"INSERT INTO backups (id, status) VALUES (gen_random_uuid(), {status})",
    )
    with pytest.raises(CatalogError, match=r"public\.backups is there already.*status") as caught:
        PostgresCatalog(database).migrate()
    assert "canary" not in str(caught.value)
    columns = run(
        database,
        "SELECT count(*) FROM pg_attribute"
        " WHERE attrelid = 'public.backups'::regclass AND attnum > 0",
    )
    assert columns == [(10,)]
    assert run(database, "SELECT name FROM convault_migrations") == [(NAMES[0],)]


@pytest.fixture
def web_roles(cluster: EmbeddedPostgres) -> Iterator[None]:
    """The roles of Supabase's Data API."""
    run(cluster.url(), "CREATE ROLE anon NOLOGIN", "CREATE ROLE authenticated NOLOGIN")
    yield
    run(cluster.url(), "DROP ROLE anon", "DROP ROLE authenticated")


@pytest.mark.usefixtures("web_roles")
@pytest.mark.parametrize("there", [False, True], ids=["new table", "table that was there"])
def test_nobody_reads_the_tables_over_the_data_api(database: str, there: bool) -> None:
    everyone = "anon, authenticated"
    run(
        database,
        # As older Supabase projects have it.
        f"ALTER DEFAULT PRIVILEGES IN SCHEMA public GRANT ALL ON TABLES TO {everyone}, PUBLIC",
        *([AN_APPLICATIONS_TABLE] if there else []),
    )
    PostgresCatalog(database).migrate()
    tables = (
        "backups", "backup_objects", "backup_recipients", "backup_repositories",
        "backup_verify_turns", "backup_copies", "convault_migrations",
    )  # fmt: skip
    for table in tables:
        for role in ("anon", "authenticated", "public"):
            rights = run(
                database,
                f"SELECT has_table_privilege('{role}', 'public.{table}', p)"
                " FROM unnest('{SELECT,INSERT,UPDATE,DELETE,TRUNCATE}'::text[]) p",
            )
            # Who signed in may ask, and is shown what the policies let through: see
            # test_data_api_rights.py.
            asks = role == "authenticated" and table != "convault_migrations"
            assert rights == [(asks,), *[(False,)] * 4], (table, role)
    secured = run(
        database,
        "SELECT count(*) FROM pg_class WHERE relrowsecurity AND relname IN"
        f" {tables} AND relnamespace = 'public'::regnamespace",
    )
    assert secured == [(7,)]


def test_many_at_once_apply_each_file_once(database: str) -> None:
    start = threading.Barrier(4)

    def migrate(_: int) -> list[str]:
        start.wait()
        return PostgresCatalog(database).migrate()

    with ThreadPoolExecutor(4) as pool:
        applied = [name for names in pool.map(migrate, range(4)) for name in names]
    assert applied == NAMES


def test_waits_for_another_one_and_says_when_that_does_not_end(database: str) -> None:
    name = "migration of the catalog"
    with (
        one_at_a_time(database, name),
        pytest.raises(BusyError, match="Another migration"),
        one_at_a_time(database, name, seconds=0.2),
    ):
        pass
    with one_at_a_time(database, name, seconds=PATIENCE):  # a session ends when the server may
        pass


def test_are_harmless_where_the_supabase_cli_applied_them_before(database: str) -> None:
    for path in sorted(migrations.FOLDER.glob("*.sql")):
        run(database, path.read_text())
    run(database, "INSERT INTO public.backups DEFAULT VALUES")
    catalog = PostgresCatalog(database)
    assert catalog.migrate() == NAMES
    assert len(catalog.list()) == 1


def test_a_file_whose_text_changed_is_applied_again(database: str, tmp_path: Path) -> None:
    folder = tmp_path / "migrations"
    shutil.copytree(migrations.FOLDER, folder)
    assert migrations.migrate(database, folder) == NAMES
    changed = folder / f"{NAMES[1]}.sql"
    changed.write_text(changed.read_text() + "\nSELECT 1;\n")
    assert migrations.migrate(database, folder) == [NAMES[1]]
    assert migrations.migrate(database, folder) == []


def test_an_install_without_the_files_is_refused(database: str, tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match=r"no SQL files.*pip install -e"):
        migrations.migrate(database, tmp_path)


@pytest.fixture
def weak_role(cluster: EmbeddedPostgres, database: str) -> Iterator[str]:
    """URL of `database` for a role that may create nothing in `public`."""
    name = f"weak_{uuid4().hex[:8]}"
    run(cluster.url(), f"CREATE ROLE {name} LOGIN")
    yield database.replace("postgres@", f"{name}@")
    run(database, f"DROP OWNED BY {name}")
    run(cluster.url(), f"DROP ROLE {name}")


def test_a_role_that_may_not_create_tables_is_told_so(weak_role: str) -> None:
    with pytest.raises(CatalogError, match="GRANT CREATE ON SCHEMA public") as caught:
        PostgresCatalog(weak_role).migrate()
    assert not caught.value.transient


def test_rows_that_row_security_hides_are_an_error(
    catalog: PostgresCatalog, database: str, weak_role: str
) -> None:
    catalog.add(
        BackupRecord(
            id=uuid4(),
            status=BackupStatus.COMPLETED,
            options={},
            created_at=datetime.now(UTC),
            updated_at=datetime.now(UTC),
        )
    )
    run(database, "GRANT ALL ON ALL TABLES IN SCHEMA public TO PUBLIC")
    with pytest.raises(CatalogError, match="must own"):
        PostgresCatalog(weak_role).list()


def test_a_catalog_of_a_newer_version_is_refused_and_left_alone(database: str) -> None:
    catalog = PostgresCatalog(database)
    catalog.migrate()
    run(
        database,
        "INSERT INTO public.convault_migrations (name, sha256) VALUES ('20990101000000_new', 'x')",
    )
    for use in (catalog.migrate, catalog.missing_migrations):
        with pytest.raises(CatalogTooNew, match=r"newer version.*20990101000000_new"):
            use()
    run(database, "DELETE FROM public.convault_migrations WHERE name = '20990101000000_new'")
    assert catalog.migrate() == []
