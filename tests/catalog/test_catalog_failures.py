"""Trouble with the catalog's database: one clear error each, without secrets and row values."""

from __future__ import annotations

import traceback
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from uuid import uuid4

import psycopg
import pytest

from convault.catalog import open_catalog
from convault.catalog.base import BackupRecord, BackupStatus
from convault.catalog.postgres import PostgresCatalog
from convault.embedded.server import EmbeddedPostgres
from convault.errors import CatalogError, CatalogUnavailable, ConfigurationError
from tests.canaries import marker
from tests.catalog.test_lease import locks_are

SECRET = marker("secret")
VALUE = marker("value")


def shown(error: BaseException) -> str:
    """Everything of an error that a log would hold."""
    return "".join(traceback.format_exception(error)) + repr(error) + str(vars(error))


def pending() -> BackupRecord:
    return BackupRecord(
        id=uuid4(),
        status=BackupStatus.PENDING,
        options={"a": VALUE},
        created_at=datetime.now(UTC),
        updated_at=datetime.now(UTC),
    )


@pytest.mark.parametrize(
    "table",
    ["nothing", "CREATE TABLE backups (id uuid PRIMARY KEY, status text)"],
    ids=["no table", "an application's table"],
)
def test_a_catalog_without_its_tables_asks_for_init(database: str, table: str) -> None:
    if table != "nothing":
        with psycopg.connect(database) as connection:
            connection.execute(table.encode())
    catalog = open_catalog(database)
    for call in (catalog.list, catalog.repository_id, lambda: catalog.begin(uuid4(), {})):
        with pytest.raises(CatalogError, match="convault init") as caught:
            call()
        assert not caught.value.transient


def test_a_server_that_is_not_there_may_come_back(tmp_path: Path) -> None:
    url = f"postgresql://postgres:{SECRET}@/postgres?host={tmp_path}"
    with pytest.raises(CatalogUnavailable, match="nothing listens") as caught:
        PostgresCatalog(url, attempts=1).list()
    assert SECRET not in shown(caught.value)
    with pytest.raises(CatalogUnavailable):
        PostgresCatalog(url).begin(uuid4(), {})


@pytest.mark.parametrize(
    "url",
    [
        f"postgresql://user:{SECRET}@host:notaport/db",
        f"postgresql://user:pass%zz{SECRET}@host/db",
        f"postgresql://user@host/db?password={SECRET}&nonsense={SECRET}",
        f"mysql://user:{SECRET}@host/db",
        f"user={SECRET}",
        SECRET,
    ],
    ids=["port", "escape", "unknown words", "other scheme", "words", "no url"],
)
def test_a_url_that_cannot_be_read_is_refused_unseen(url: str) -> None:
    with pytest.raises((ConfigurationError, CatalogError)) as caught:
        PostgresCatalog(url, attempts=1).list()
    assert SECRET not in shown(caught.value)


def test_a_password_with_an_at_sign_shows_nowhere() -> None:
    # libpq takes what follows the first @ for a host, and says so.
    with pytest.raises(CatalogError) as caught:
        PostgresCatalog(f"postgresql://user:p@{SECRET}.invalid:5/db", attempts=1).list()
    assert SECRET not in shown(caught.value)


@pytest.fixture
def user_with_password(cluster: EmbeddedPostgres) -> Iterator[str]:
    """A user that the cluster asks for a password."""
    name = f"user_{uuid4().hex[:8]}"
    rules = cluster.data / "pg_hba.conf"
    before = rules.read_text()
    rules.write_text(f"local all {name} scram-sha-256\n{before}")
    with psycopg.connect(cluster.url(), autocommit=True) as connection:
        connection.execute(f"CREATE ROLE {name} LOGIN PASSWORD 'right'".encode())
        connection.execute("SELECT pg_reload_conf()")
        yield name
        connection.execute(f"DROP ROLE {name}".encode())
        rules.write_text(before)
        connection.execute("SELECT pg_reload_conf()")


def test_a_wrong_password_is_not_worth_another_try(
    cluster: EmbeddedPostgres, user_with_password: str
) -> None:
    url = cluster.url(user=f"{user_with_password}:{SECRET}")
    with pytest.raises(CatalogError, match="refuses the user or the password") as caught:
        open_catalog(url).list()
    assert not caught.value.transient
    assert SECRET not in shown(caught.value)


@pytest.mark.parametrize(
    ("user", "database", "reason"),
    [("postgres", "no_such", "no such database"), ("no_such", "postgres", "no such user")],
)
def test_a_name_that_is_not_there_is_said(
    cluster: EmbeddedPostgres, user: str, database: str, reason: str
) -> None:
    with pytest.raises(CatalogError, match=reason) as caught:
        open_catalog(cluster.url(database, user=user)).list()
    assert not caught.value.transient


def test_what_a_trigger_says_of_a_row_stays_inside(catalog: PostgresCatalog, database: str) -> None:
    with psycopg.connect(database) as connection:
        connection.execute(
            """
            CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS $$
            BEGIN
                RAISE EXCEPTION 'row %', NEW USING DETAIL = NEW.options, HINT = NEW.options;
            END $$;
            CREATE TRIGGER refuse BEFORE INSERT ON public.backups FOR EACH ROW
                EXECUTE FUNCTION refuse()
            """
        )
    with pytest.raises(CatalogError, match="SQLSTATE P0001") as caught:
        catalog.add(pending())
    assert VALUE not in shown(caught.value)
    assert not caught.value.transient


def breaks_off(database: str, *, times: int, event: str) -> None:
    """Let the server end the session of the first `times` statements that write the table."""
    with psycopg.connect(database) as connection:
        connection.execute(
            f"""
            CREATE SEQUENCE broken_off;
            CREATE FUNCTION break_off() RETURNS trigger LANGUAGE plpgsql AS $$
            BEGIN
                IF nextval('public.broken_off') <= {times} THEN
                    PERFORM pg_terminate_backend(pg_backend_pid());
                    PERFORM pg_sleep(10);
                END IF;
                RETURN NEW;
            END $$;
            CREATE TRIGGER break_off BEFORE {event} ON public.backups FOR EACH ROW
                EXECUTE FUNCTION break_off()
            """.encode()
        )


def test_a_lost_connection_is_made_again(catalog: PostgresCatalog, database: str) -> None:
    breaks_off(database, times=2, event="INSERT")
    record = pending()
    assert open_catalog(database).add(record).id == record.id
    assert len(catalog.list()) == 1


def test_a_connection_that_stays_lost_is_said(catalog: PostgresCatalog, database: str) -> None:
    breaks_off(database, times=1, event="INSERT")
    with pytest.raises(CatalogUnavailable) as caught:
        catalog.add(pending())
    assert caught.value.transient
    assert catalog.list() == []


def test_begin_may_be_repeated_after_a_lost_connection(
    catalog: PostgresCatalog, database: str
) -> None:
    breaks_off(database, times=1, event="INSERT")
    backup_id = uuid4()
    with pytest.raises(CatalogUnavailable):
        catalog.begin(backup_id, {})
    locks_are(0, database)  # the server tells that a session ends before it has ended
    with catalog.begin(backup_id, {}) as lease:
        lease.check()
