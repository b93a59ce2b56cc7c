"""Each way in which a source fails is one clear error, on a real server, and tells no secret."""

from __future__ import annotations

import shutil
import socket
import tempfile
import traceback
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path

import adbc_driver_postgresql.dbapi as adbc
import psycopg
import pytest

from convault.dataset.scope import Scope
from convault.embedded.server import EmbeddedPostgres
from convault.errors import (
    AuthenticationError,
    ConfigurationError,
    LockNotAvailable,
    MissingPrivilege,
    MissingTable,
    RowsHidden,
    SourceError,
    SourceUnavailable,
    UnsupportedSource,
)
from convault.models import TableName
from convault.sources.failures import translated
from convault.sources.postgres import PostgresSource
from convault.sources.refusals import require_server
from convault.sources.session import connect
from tests.databases import drop_database
from tests.sources.reading import MESSAGES, TABLES, read_all, run, source

SECRET = "canary-7f3a"

Role = Callable[..., str]


def shown(error: BaseException) -> str:
    """Everything that a log could show of an error."""
    return "".join(traceback.format_exception(error)) + repr(error) + repr(vars(error))


def failure(kind: type[SourceError], url: str, lock_timeout: float = 10) -> SourceError:
    """The error of taking a snapshot, which must be of exactly this kind."""
    with (
        pytest.raises(SourceError) as caught,
        source(url, lock_timeout=lock_timeout).snapshot(),
    ):
        pytest.fail("there was no snapshot to be had")
    assert type(caught.value) is kind, caught.value
    assert SECRET not in shown(caught.value)
    assert str(caught.value).endswith(".")
    return caught.value


@pytest.fixture(scope="module")
def guarded() -> Iterator[str]:
    """`host:port` of a server of its own, which asks for a password: the role `reader` has
    `correct`, the role `full` may have no connection."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    base = Path(tempfile.mkdtemp(prefix="cv-"))  # `nobody` can enter it, unlike pytest's own
    base.chmod(0o711)
    options = {"fsync": "off", "listen_addresses": "127.0.0.1", "port": str(port)}
    server = EmbeddedPostgres(base / "pg", options=options)
    try:
        server.start()
        admin = f"postgresql://postgres@127.0.0.1:{port}/postgres"
        run(admin, "CREATE ROLE reader LOGIN PASSWORD 'correct' SUPERUSER;" + TABLES)
        run(admin, "CREATE ROLE full LOGIN PASSWORD 'correct' CONNECTION LIMIT 0")
        server.stop()
        (server.data / "pg_hba.conf").write_text("host all all 127.0.0.1/32 scram-sha-256\n")
        server.start()
        yield f"127.0.0.1:{port}"
    finally:
        server.destroy()
        shutil.rmtree(base)


def test_the_right_password_is_taken(guarded: str) -> None:
    with source(f"postgresql://reader:correct@{guarded}/postgres").snapshot() as snapshot:
        assert len(read_all(snapshot)["messages"]) == 500
        assert snapshot.facts.host == guarded
        assert "correct" not in repr(snapshot.facts)


@pytest.mark.parametrize("user", [f"reader:{SECRET}@", f"nobody-{1}:{SECRET}@", "reader@"])
def test_a_wrong_or_missing_user_or_password(guarded: str, user: str) -> None:
    error = failure(AuthenticationError, f"postgresql://{user}{guarded}/postgres")
    assert "password" in str(error)
    assert not error.transient


def test_a_database_that_is_not_there(guarded: str) -> None:
    error = failure(SourceError, f"postgresql://reader:correct@{guarded}/nowhere")
    assert "nowhere" in str(error)
    assert not error.transient


def test_a_server_that_is_full(guarded: str) -> None:
    error = failure(SourceUnavailable, f"postgresql://full:correct@{guarded}/postgres")
    assert "too many connections" in str(error)


def test_a_server_without_encryption(guarded: str) -> None:
    url = f"postgresql://reader:{SECRET}@{guarded}/postgres?sslmode=require"
    error = failure(SourceError, url)
    assert "sslmode" in str(error)
    assert not error.transient


@pytest.mark.parametrize("host", ["127.0.0.1:1", "nowhere.invalid:5432"])
def test_a_host_that_cannot_be_reached(host: str) -> None:
    error = failure(SourceUnavailable, f"postgresql://reader:{SECRET}@{host}/postgres")
    assert error.transient
    assert "host, port and network" in str(error)


@pytest.mark.parametrize(
    "url",
    [
        f"postgresql://reader:pass@{SECRET}@127.0.0.1:5432/db",
        f"postgresql://reader:pass/{SECRET}@127.0.0.1:5432/db",
        f"postgresql://reader:12/{SECRET}@127.0.0.1:5432/db",
        f"postgresql://reader:%zz{SECRET}@127.0.0.1:5432/db",
        f"postgresql://reader:x@127.0.0.1:5432/db?{SECRET}=1",
        f"postgresql://reader:[{SECRET}@127.0.0.1/db",
        f"mysql://reader:{SECRET}@127.0.0.1/db",
    ],
)
def test_a_malformed_url_is_not_quoted(url: str) -> None:
    with pytest.raises((ConfigurationError, SourceError)) as caught:
        connect(url)
    assert SECRET not in shown(caught.value)
    if url.count("@") == 2 or "[" not in url:
        assert isinstance(caught.value, ConfigurationError)
        assert "percent-encoded" in str(caught.value)


def test_a_missing_root(database: str) -> None:
    run(database, "CREATE TABLE chats (id int)")
    error = failure(MissingTable, database)
    assert "public.chats" in str(error)
    assert error.ids == {"table": "public.conversations"}


def test_missing_messages(database: str) -> None:
    run(database, "CREATE TABLE conversations (id int); CREATE TABLE chat_message (id int)")
    assert "public.chat_message" in str(failure(MissingTable, database))


def test_messages_that_nothing_ties_to_the_root(database: str) -> None:
    run(database, "CREATE TABLE conversations (id int); CREATE TABLE messages (id int)")
    assert "no chain of foreign keys" in str(failure(MissingTable, database))


def test_other_tables_can_be_named(database: str) -> None:
    run(database, TABLES + "ALTER TABLE conversations RENAME TO chats")
    renamed = PostgresSource(
        database, scope=Scope(TableName("public", "chats"), MESSAGES), lock_timeout=5
    )
    with renamed.snapshot() as snapshot:
        assert set(read_all(snapshot)) == {"chats", "messages"}


def test_a_role_that_may_read_nothing(database: str, role: Role) -> None:
    run(database, TABLES)
    error = failure(MissingPrivilege, role(reads_all=False))
    assert "public.conversations, public.messages" in str(error)
    assert "GRANT" in str(error)


def test_a_role_that_may_read_some_tables(database: str, role: Role) -> None:
    run(database, TABLES)
    url = role(reads_all=False)
    name = url.partition("//")[2].partition("@")[0]
    run(database, f"GRANT SELECT ON conversations TO {name};"
                  f"GRANT SELECT (id, body) ON messages TO {name}")  # fmt: skip
    error = failure(MissingPrivilege, url)
    assert "public.messages" in str(error)
    assert "public.conversations" not in str(error)
    run(database, f"GRANT SELECT ON messages TO {name}")
    with source(url).snapshot() as snapshot:
        assert len(read_all(snapshot)["messages"]) == 500


def test_a_role_that_may_not_use_the_schema(database: str, role: Role) -> None:
    run(database, TABLES + "CREATE SCHEMA crm; ALTER TABLE messages SET SCHEMA crm;"
                  "GRANT SELECT ON ALL TABLES IN SCHEMA crm, public TO PUBLIC")  # fmt: skip
    url = role(reads_all=False)
    crm = PostgresSource(
        url,
        scope=Scope(TableName("public", "conversations"), TableName("crm", "messages")),
        lock_timeout=5,
    )
    with pytest.raises(MissingPrivilege, match=r"crm\.messages"), crm.snapshot():
        pytest.fail("there was no snapshot to be had")


ROW_SECURITY = TABLES + """
    ALTER TABLE messages ENABLE ROW LEVEL SECURITY;
    CREATE POLICY a_few ON messages USING (id < 10);
"""  # fmt: skip


def test_a_role_from_which_rows_are_hidden(database: str, role: Role) -> None:
    run(database, ROW_SECURITY)
    error = failure(RowsHidden, role())
    assert "public.messages" in str(error)
    assert "public.conversations" not in str(error)
    assert "BYPASSRLS" in str(error)


def test_a_role_that_row_security_does_not_bind_reads_all(database: str, role: Role) -> None:
    run(database, ROW_SECURITY)
    with source(role("BYPASSRLS")).snapshot() as snapshot:
        assert len(read_all(snapshot)["messages"]) == 500


def test_row_security_that_comes_later_is_an_error_too(database: str, role: Role) -> None:
    """The settings see to it, should the check before ever be passed."""
    run(database, ROW_SECURITY)
    with (
        closing(connect(role())) as connection,
        pytest.raises(psycopg.errors.InsufficientPrivilege, match="row-level security"),
    ):
        connection.execute("SELECT count(*) FROM public.messages")


def test_a_lock_that_cannot_be_had(database: str) -> None:
    run(database, TABLES)
    with closing(psycopg.connect(database)) as other:
        other.execute("LOCK TABLE messages IN ACCESS EXCLUSIVE MODE")
        error = failure(LockNotAvailable, database, lock_timeout=0.2)
        assert error.transient
        assert f"server process {other.info.backend_pid} (on public.messages)" in str(error)
        other.rollback()
    with source(database, lock_timeout=0.2).snapshot() as snapshot:
        assert len(read_all(snapshot)["messages"]) == 500


def test_rows_on_another_server_are_refused(database: str) -> None:
    run(
        database,
        """
        CREATE FOREIGN DATA WRAPPER elsewhere;
        CREATE SERVER far FOREIGN DATA WRAPPER elsewhere;
        CREATE TABLE conversations (id bigint PRIMARY KEY);
        CREATE TABLE messages (id bigint, c bigint REFERENCES conversations);
        CREATE FOREIGN TABLE messages_old () INHERITS (messages) SERVER far;
    """,
    )
    assert "public.messages_old" in str(failure(UnsupportedSource, database))


def test_tables_that_are_no_heap_are_refused(database: str) -> None:
    run(database, """
        CREATE ACCESS METHOD columns TYPE TABLE HANDLER heap_tableam_handler;
        CREATE TABLE conversations (id bigint PRIMARY KEY);
        CREATE TABLE messages (c bigint REFERENCES conversations) USING columns;
    """)  # fmt: skip
    assert "public.messages (columns)" in str(failure(UnsupportedSource, database))


def test_text_without_an_encoding_is_refused(cluster: EmbeddedPostgres) -> None:
    drop_database(cluster.url(), "in_ascii")
    run(cluster.url(), "CREATE DATABASE in_ascii ENCODING 'SQL_ASCII' LOCALE 'C' "
                       "TEMPLATE template0")  # fmt: skip
    try:
        run(cluster.url("in_ascii"), TABLES)
        assert "SQL_ASCII" in str(failure(UnsupportedSource, cluster.url("in_ascii")))
    finally:
        drop_database(cluster.url(), "in_ascii")


def test_servers_before_14_are_refused() -> None:
    """None runs here: the number is what libpq tells."""
    with pytest.raises(UnsupportedSource, match="Postgres 13"):
        require_server(130022, "UTF8")
    require_server(140000, "UTF8")


QUOTING = {
    "a value that does not fit": f"SELECT '{SECRET}'::int",
    "a value that is there already": "INSERT INTO messages VALUES (1, 1), (1, 1)",
    "a key that leads nowhere": "INSERT INTO messages VALUES (600, 99)",
    "what a function raises": f"DO $$BEGIN RAISE '{SECRET}'; END$$",
    "an error of its own": f"DO $$BEGIN RAISE '{SECRET}' USING ERRCODE = 'ZZ999'; END$$",
    "a detail": f"DO $$BEGIN RAISE insufficient_privilege USING DETAIL = '{SECRET}',"
    f" HINT = '{SECRET}', MESSAGE = 'no'; END$$",
}


@pytest.mark.parametrize("driver", ["psycopg", "ADBC"])
@pytest.mark.parametrize("sql", QUOTING.values(), ids=QUOTING.keys())
def test_no_value_of_a_row_leaves_the_process(database: str, driver: str, sql: str) -> None:
    run(database, TABLES + f"ALTER TABLE conversations ALTER title SET DEFAULT '{SECRET}'")
    connect_ = psycopg.connect if driver == "psycopg" else adbc.connect
    with closing(connect_(database)) as connection, closing(connection.cursor()) as cursor:
        with pytest.raises(SourceError) as caught, translated(table=MESSAGES):
            cursor.execute(sql)
        assert SECRET not in shown(caught.value)
    assert "(99)" not in str(caught.value)
    assert "(1)" not in str(caught.value)
    assert caught.value.ids == {"table": "public.messages"}


def test_a_defect_of_ours_passes_untranslated(database: str) -> None:
    with (
        closing(connect(database)) as connection,
        pytest.raises(psycopg.ProgrammingError),
        translated(),
    ):
        connection.execute("SELECT %s", ())


@pytest.mark.parametrize(
    ("words", "kind"),
    [
        ("SSL connection has been closed unexpectedly", SourceUnavailable),
        ("consuming input failed: SSL SYSCALL error: EOF detected", SourceUnavailable),
        ("connection failed: timeout expired", SourceUnavailable),
        ("connection failed: FATAL:  the database system is starting up", SourceUnavailable),
        ("connection failed: FATAL:  canceling authentication due to timeout", SourceUnavailable),
        ("connection failed: SSL error: certificate verify failed", SourceError),
        ("connection failed: FATAL:  Tenant or user not found", AuthenticationError),
        ('connection failed: FATAL:  no pg_hba.conf entry for host "::1"', AuthenticationError),
        ('connection failed: FATAL:  permission denied for database "x"', MissingPrivilege),
    ],
)
def test_words_that_no_server_here_can_be_made_to_say(words: str, kind: type[SourceError]) -> None:
    """The texts are libpq's, Postgres' and Supabase's pooler's own; there is no SQLSTATE."""
    with pytest.raises(SourceError) as caught, translated():
        raise psycopg.OperationalError(words)
    assert type(caught.value) is kind
    assert caught.value.transient == (kind is SourceUnavailable)
