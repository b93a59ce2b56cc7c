"""Rows by REST, against a real Data API: the same rows as by SQL, and what is told of changes."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any
from urllib.parse import unquote
from uuid import uuid4

import psycopg
import pytest
from psycopg import sql

from convault.dataset.filters import Filters
from convault.dataset.scope import Scope
from convault.embedded.server import EmbeddedPostgres
from convault.errors import (
    AuthenticationError,
    ConvaultError,
    IncompleteBackup,
    MissingTable,
    OptionsError,
    RowsHidden,
    SourceUnavailable,
    UnsupportedSource,
)
from convault.files.addresses import Address, Borders
from convault.files.references import References
from convault.files.wanted import FilesWanted
from convault.manifest import Manifest
from convault.models import BackupFormat, BackupOptions, Range, TableName
from convault.project import Project
from convault.readme.text import text
from convault.repository import Repository
from convault.restore import RestoreOptions, restore
from convault.sources.base import Snapshot, Source
from convault.sources.postgres import PostgresSource
from convault.sources.rest import RestSource, asking
from convault.sources.rest.snapshot import RestSnapshot
from convault.stores import open_store
from tasks.chunk import ranges_of
from tasks.find_files import find_files, note_files
from tasks.load import Load
from tests.filters import tickets
from tests.formats.type_examples import EXAMPLES, RANGES, TAKES_NO_TEXT, WITH_MODIFIERS
from tests.restore.builder import back_up
from tests.restore.except_all import differences
from tests.soak import count
from tests.stores.between import Fault, Request, between
from tests.supabase_stack import SupabaseStack, another_project

pytestmark = pytest.mark.xdist_group("supabase")

NewDatabase = Callable[[EmbeddedPostgres], str]
ODD = ["b,c", 'd"e', "f(g)", "h.i", "", "ção 😀", "k\\l", "m:n", "null", "o%p", "q+r", "s&t",
       "u*v", "w x", "in.(1)", '"', "\\", "and(a.eq.1)", "\n", " ", "=", "#",
       "a/b", "..", "'"]  # fmt: skip
"""Keys that a URL, or PostgREST, could take for something else."""

SQL = """
DROP SCHEMA public CASCADE; CREATE SCHEMA public;
CREATE TYPE public.mood AS ENUM ('sad', 'it''s ok', '😀');
CREATE TABLE public.channels (id smallint PRIMARY KEY, name character(5));
INSERT INTO public.channels VALUES (1, 'ab'), (2, NULL), (3, 'other');
CREATE TABLE public.conversations (id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    channel_id smallint REFERENCES public.channels, mood public.mood,
    created_at timestamptz NOT NULL);
INSERT INTO public.conversations (channel_id, mood, created_at)
    SELECT 1 + n % 2, (enum_range(NULL::public.mood))[1 + n % 3], '2026-01-01Z'::timestamptz
    + n * interval '1 h' FROM generate_series(1, 60) n;
CREATE TABLE public.messages (id uuid PRIMARY KEY, of bigint REFERENCES public.conversations,
    body text, price numeric(10, 2), seen boolean, "a b,.(:) ção" text DEFAULT 'ç');
INSERT INTO public.messages SELECT md5(n::text)::uuid, 1 + n % 60,
    repeat('olá "você"', n % 9), n / 7.0, n % 3 = 0 FROM generate_series(1, 2500) n;
CREATE TABLE public.attachments (message uuid REFERENCES public.messages, n numeric,
    at timestamptz, path text, PRIMARY KEY (message, n, at));
INSERT INTO public.attachments SELECT md5((1 + n % 300)::text)::uuid, n / 3.0,
    '1999-12-31 23:59:59.123456Z'::timestamptz + n * interval '1.000001 s', 'p'
    FROM generate_series(1, 900) n;
CREATE VIEW public.seen AS SELECT * FROM public.messages WHERE seen;
CREATE TABLE public.apart (id integer PRIMARY KEY);
ALTER TABLE public.messages ENABLE ROW LEVEL SECURITY;
"""
KEYS = {
    "text": ODD,
    "character varying": ODD,
    "uuid": [str(uuid4()) for _ in range(30)],
    "boolean": ["true", "false"],
    "bigint": ["-9223372036854775808", "9223372036854775807", "0", "-1", "10", "9"],
    "numeric": ["NaN", "-Infinity", "Infinity", "1.10", "1e-30", "1e30", "-0.5", "9", "10"],
    "timestamp with time zone": ["infinity", "-infinity", "0044-03-15 00:00:00+00 BC",
                                 "2026-01-01 00:00:00.000001+00", "2026-01-01 05:30:00+05:30",
                                 "294276-12-31 23:59:59.999999+00"],
    "date": ["infinity", "0044-03-15 BC", "2024-02-29", "5874897-12-31"],
    "double precision": ["NaN", "-Infinity", "5e-324", "0.1", "-0.5", "1e300"],
    "bytea": ["\\x", "\\x00ff", "\\x5c22"],
    "public.mood": ["sad", "it's ok", "😀"],
    "inet": ["10.0.0.1/8", "::1", "10.0.0.1"],
    "interval": ["1 day", "24:00:01", "-00:00:01"],
    "character(3)": ["", "a", "a,b", "ab\"" ],
}  # fmt: skip
"""of tables whose primary key is of that type"""


def _array(value: str, type_: str) -> str:
    element = '"' + value.replace("\\", "\\\\").replace('"', '\\"') + '"'
    return "{" + (";" if type_ == "box" else ",").join([element, "NULL", element]) + "}"


GRANTS = (
    b"GRANT USAGE ON SCHEMA public TO service_role, anon, authenticated;"
    b"GRANT SELECT ON ALL TABLES IN SCHEMA public TO service_role, anon"
)


def _make(connection: psycopg.Connection) -> None:
    connection.execute(SQL.encode())


def _fill(url: str) -> None:
    with psycopg.connect(url, autocommit=True) as connection:
        _make(connection)
        tickets.make(connection)
        # This Postgres is built without libxml.
        examples = {t: v for t, v in (EXAMPLES | RANGES | WITH_MODIFIERS).items()
                    if t not in TAKES_NO_TEXT and t != "xml"}  # fmt: skip
        listed = list(examples.items())
        for number in range(0, len(listed), 25):
            some = listed[number : number + 25]
            columns = ", ".join(f"v{n} {t}, a{n} {t}[]" for n, (t, _) in enumerate(some))
            table = f"public.types_{number}"
            connection.execute(
                f"CREATE TABLE {table} (id integer PRIMARY KEY, of bigint REFERENCES"
                f" public.conversations, {columns})".encode()
            )
            for row in range(max(len(values) for _, values in some)):
                values = [v[row] if row < len(v) else None for _, v in some]
                pairs: list[Any] = []
                for (type_, _), value in zip(some, values, strict=True):
                    pairs += [value, None if value is None else _array(value, type_)]
                casts = [c for t, _ in some for c in (f"%s::{t}", f"%s::{t}[]")]
                connection.execute(
                    f"INSERT INTO {table} VALUES ({row}, 1, {', '.join(casts)})".encode(), pairs
                )
        for number, (type_, values) in enumerate(KEYS.items()):
            name = f"public.key_{number}"
            connection.execute(
                f"CREATE TABLE {name} (k {type_} PRIMARY KEY, of bigint REFERENCES"
                " public.conversations)".encode()
            )
            with connection.cursor() as cursor:
                cursor.executemany(
                    f"INSERT INTO {name} SELECT %s::{type_}, 1".encode(),
                    [(value,) for value in values],
                )
        # lite reads no comma in a value within `and` within `or`; PostgREST does.
        types = [t for t in KEYS if t not in ("character(3)", "character varying", "text")]
        types.append("text")
        connection.execute(
            sql.SQL(
                "CREATE TABLE public.key_of_all ({}, of bigint REFERENCES public.conversations,"
                " PRIMARY KEY ({}))"
            ).format(
                sql.SQL(", ").join(
                    sql.SQL("{} " + t).format(sql.Identifier(f"k{n}")) for n, t in enumerate(types)
                ),
                sql.SQL(", ").join(sql.Identifier(f"k{n}") for n in range(len(types))),
            )
        )
        with connection.cursor() as cursor:
            # Every value beside the first of the others: many rows are equal in the first columns.
            cursor.executemany(
                "INSERT INTO public.key_of_all SELECT "
                + ", ".join(f"%s::{t}" for t in types) + ", 1 ON CONFLICT DO NOTHING",
                [[v if t == type_ else KEYS[t][0] for t in types]
                 for type_ in types for v in KEYS[type_]],
            )  # fmt: skip
        connection.execute(
            'CREATE TABLE public.key_words ("and" text, "or" integer, "not" boolean, "order" text,'
            ' "select" bigint REFERENCES public.conversations, "limit" text,'
            ' PRIMARY KEY ("and", "or", "not", "order"));'
            "INSERT INTO public.key_words SELECT 'a' || n % 3, n / 40, n % 2 = 0, 'o' || n, 1"
            " FROM generate_series(1, 90) n"
        )
        connection.execute(GRANTS)


@pytest.fixture(scope="module")
def whole(supabase: SupabaseStack, node_packages: Path) -> Iterator[SupabaseStack]:
    """A project with the tables of `SQL`, one for all types, and one for each kind of key."""
    with another_project(supabase, node_packages, "whole", _fill) as stack:
        yield stack


@pytest.fixture(scope="module")
def project(supabase: SupabaseStack, node_packages: Path) -> Iterator[SupabaseStack]:
    """A project with the tables of `SQL`, which tests change."""

    def prepare(url: str) -> None:
        with psycopg.connect(url, autocommit=True) as connection:
            _make(connection)
            connection.execute(GRANTS)

    with another_project(supabase, node_packages, "rows", prepare) as stack:
        yield stack


@pytest.fixture
def filled(project: SupabaseStack) -> SupabaseStack:
    """The same, as some test left it."""
    return project


@pytest.fixture
def changing(filled: SupabaseStack) -> Iterator[psycopg.Connection]:
    """Changes the rows, which are made anew for it."""
    with psycopg.connect(filled.database_url, autocommit=True) as connection:
        _make(connection)
        connection.execute(GRANTS)
        yield connection


CONVERSATIONS = TableName("public", "conversations")
MESSAGES = TableName("public", "messages")
SCOPE = Scope(CONVERSATIONS, MESSAGES)


def source(stack: SupabaseStack, key: str | None = None, scope: Scope = SCOPE) -> RestSource:
    key = key or stack.secret_key
    headers = {"apikey": key} if key.startswith("sb_") else {
        "apikey": key, "Authorization": f"Bearer {key}"}  # fmt: skip
    return RestSource(Project(stack.full_url, headers), scope=scope)


def backed_up(stack: SupabaseStack, **more: Any) -> tuple[Repository, Manifest]:
    repository = Repository.create(open_store(f"memory://{uuid4().hex}"))
    return repository, back_up(repository, "", source=source(stack), **more)


def test_the_rows_are_those_that_sql_reads(
    whole: SupabaseStack, cluster: EmbeddedPostgres, new_database: NewDatabase
) -> None:
    by_sql = Repository.create(open_store(f"memory://{uuid4().hex}"))
    one = back_up(by_sql, whole.database_url)
    by_rest, other = backed_up(whole, format=BackupFormat.PARQUET)
    assert {t.name: t.rows for t in one.tables} == {t.name: t.rows for t in other.tables}
    assert {t.name: t.primary_key for t in one.tables} == {
        t.name: t.primary_key for t in other.tables
    }
    theirs = {table.name: table.digest for table in one.tables}
    ours = {t.name: t.digest for t in other.tables if t.digest is not None}
    assert ours == {name: theirs[name] for name in ours}
    assert {"messages", "conversations", "key_0"} <= {name.name for name in ours}
    assert f"key_{list(KEYS).index('inet')}" not in {name.name for name in ours}
    left, right = new_database(cluster), new_database(cluster)
    restore(by_sql, one, left)
    restore(by_rest, other, right)
    names = [table.name for table in one.tables]
    assert len(names) > 20
    assert differences(left, right, names) == {}
    assert differences(whole.database_url, right, names) == {}

    assert (other.consistency, other.features) == ("per-page", ("per-page",))
    for table in other.tables:
        assert table.reading is not None
        assert table.reading.counted_before == table.reading.counted_after == table.rows
        assert table.reading.first_page_at <= table.reading.last_page_at
        assert (table.reading.late, table.reading.gone, table.reading.missing) == (0, 0, ())
    assert any("policies" in what for what in other.lacks)
    assert other.index is not None
    assert one.index is not None
    assert sorted(other.index.tables) == sorted(one.index.tables)


def keys_read(source: Source) -> dict[str, list[str]]:
    """The first column of every row, by table, and what is told of the filter."""
    with source.snapshot() as snapshot:
        found = {name: sorted(map(str, keys)) for name, keys in read_all(snapshot).items()}
        for table in snapshot.dataset.tables:
            assert snapshot.count(table) == len(found.get(table.name.name, []))
        assert snapshot.selection is not None
        found["matching"] = [str(snapshot.selection)]
        found["told"] = [w for w in snapshot.warnings if "asked for by id" in w]
    return found


@pytest.mark.timeout(1500)
@pytest.mark.soak
@pytest.mark.parametrize(
    ("url_bytes", "number"), [(asking.URL_BYTES, count(5, 100)), (150, count(2, 20))]
)
def test_filters_select_what_they_select_by_sql(
    whole: SupabaseStack, url_bytes: int, number: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With room for a few keys in a URL there are many requests, which find the same."""
    monkeypatch.setattr(asking, "URL_BYTES", url_bytes)
    monkeypatch.setattr(asking.batches, "__defaults__", (url_bytes, 100))
    for options in tickets.options(whole.database_url, number, seed=url_bytes + number):
        scope = tickets.wanted(options)
        by_rest = keys_read(source(whole, scope=scope))
        by_sql = keys_read(PostgresSource(whole.database_url, scope=scope, lock_timeout=10))
        assert by_rest == by_sql, options


def pointed_at(source: Source) -> References:
    """What rows point at, gathered as a backup does."""
    own = Address("backups", "convault")
    wanted = FilesWanted(
        Project("https://abc.supabase.co", {}), Borders(("abc.supabase.co",), (), own),
        True, (), (), (), 5.0, 1,
    )  # fmt: skip
    with source.snapshot() as taken:
        noted = note_files(Load("", taken), Load("", wanted))
        read_all(taken)
        found = find_files.fn(Load("", taken), noted)
    assert found is not None
    return found.content


@pytest.mark.parametrize("options", [{}, {"status": ["open", "(x)"]}])
def test_rows_point_at_the_same_files(whole: SupabaseStack, options: dict[str, Any]) -> None:
    scope = replace(tickets.wanted(options), include_attachments=True)
    by_sql = pointed_at(PostgresSource(whole.database_url, scope=scope, lock_timeout=10))
    by_rest = pointed_at(source(whole, scope=scope))
    assert by_rest.columns == by_sql.columns
    assert by_rest.files == by_sql.files
    assert by_rest.elsewhere == by_sql.elsewhere
    assert Address("media", "a b.txt") in by_rest.files
    assert len(by_rest.files) > 5


def test_a_filtered_backup_restores_and_says_how_it_was_selected(
    whole: SupabaseStack, cluster: EmbeddedPostgres, new_database: NewDatabase
) -> None:
    scope = tickets.wanted({"status": ["open"], "startDate": "2026-01-05"})
    by_sql = Repository.create(open_store(f"memory://{uuid4().hex}"))
    by_rest = Repository.create(open_store(f"memory://{uuid4().hex}"))
    one = back_up(by_sql, whole.database_url, scope=scope)
    other = back_up(by_rest, "", source=source(whole, scope=scope))
    assert other.selection == one.selection
    assert other.selection is not None
    assert other.selection.conversations > 0
    left, right = new_database(cluster), new_database(cluster)
    restore(by_sql, one, left)
    restore(by_rest, other, right)
    assert differences(left, right, [table.name for table in one.tables]) == {}
    for table in other.tables:
        assert table.reading is not None
        assert table.reading.late == table.reading.gone == 0
        assert table.reading.counted_before == table.reading.counted_after == table.rows


@pytest.mark.parametrize(
    ("options", "why"),
    [
        ({"conversationIds": [str(uuid4()), "x"]}, r"conversationIds: value 2 of 2 is no uuid"),
        ({"channelIds": ["1", "99999"]}, r"channelIds: value 2 of 2 is no smallint"),
        ({"participantIds": ["nobody"]}, r"participantIds: the value is no integer"),
        ({"status": "open", "maskColumns": {"tickets.status": "null"}}, "is masked"),
    ],
)
def test_a_value_that_no_column_can_hold_is_refused(
    whole: SupabaseStack, options: dict[str, Any], why: str
) -> None:
    with pytest.raises(OptionsError, match=why) as refused:
        source(whole, scope=tickets.wanted(options)).check()
    assert "99999" not in str(refused.value)


def test_rows_go_into_tables_that_are_there(
    filled: SupabaseStack,
    changing: psycopg.Connection,
    cluster: EmbeddedPostgres,
    new_database: NewDatabase,
) -> None:
    """Which have everything that REST does not tell; and one conversation is found by the index."""
    repository, manifest = backed_up(filled)
    target = new_database(cluster)
    by_sql = Repository.create(open_store(f"memory://{uuid4().hex}"))
    restore(by_sql, back_up(by_sql, filled.database_url), target)
    names = [table.name for table in manifest.tables]
    with psycopg.connect(target) as connection:
        connection.execute("DELETE FROM attachments; DELETE FROM messages WHERE of = 7")
    options = RestoreOptions(conversations=("7",), mode="skip")
    restore(repository, manifest, target, options)
    chosen = "SELECT count(*) FROM attachments a JOIN messages m ON m.id = a.message WHERE of = 7"
    with psycopg.connect(target) as one, psycopg.connect(filled.database_url) as other:
        assert one.execute(chosen).fetchone() == other.execute(chosen).fetchone() != (0,)
    assert differences(filled.database_url, target, [MESSAGES]) == {}
    assert names


def test_only_a_key_that_sees_all_rows_is_taken(
    filled: SupabaseStack, changing: psycopg.Connection
) -> None:
    source(filled).check()
    source(filled, filled.legacy_key()).check()
    for key in (filled.publishable_key, filled.legacy_key("anon"),
                filled.legacy_key("authenticated")):  # fmt: skip
        with pytest.raises(RowsHidden, match="row security") as refused:
            source(filled, key).check()
        assert key not in str(refused.value)
    for wrong in ("sb_secret_wrong", filled.legacy_key()[:-4] + "AAAA"):
        with pytest.raises(AuthenticationError), source(filled, wrong).snapshot():
            pass


def test_what_cannot_be_is_refused_by_name(
    filled: SupabaseStack, changing: psycopg.Connection
) -> None:
    with pytest.raises(OptionsError, match=r"includeUsers .*DATABASE_URL"):
        source(filled, scope=replace(SCOPE, include_users=True)).check()
    with pytest.raises(OptionsError, match="hash"):
        source(filled, scope=replace(SCOPE, mask_columns=(("messages.body", "hash"),))).check()
    changing.execute(
        "CREATE TABLE public.no_key (of bigint REFERENCES public.conversations, t text NOT NULL);"
        "GRANT SELECT ON public.no_key TO service_role"
    )
    with pytest.raises(UnsupportedSource, match=r"public\.no_key has no primary key"):
        source(filled).check()
    source(filled, scope=replace(SCOPE, exclude_tables=("no_key",))).check()
    changing.execute("REVOKE ALL ON public.messages FROM service_role")
    with pytest.raises(MissingTable, match="GRANT SELECT"):
        source(filled).check()


def read_all(
    snapshot: Snapshot, after: Callable[[str], object] = lambda _: None
) -> dict[str, list[Any]]:
    """All keys, by table; `after` is told of each table that was read, and then of "late"."""
    found: dict[str, list[Any]] = {}

    def read(range_: Range) -> None:
        if snapshot.pages(range_) != 0:
            for batch in snapshot.read(range_):
                found.setdefault(range_.table.name, []).extend(batch.column(0).to_pylist())

    for table in snapshot.dataset.tables:
        for range_ in ranges_of(table, snapshot, 16):
            read(range_)
        after(table.name.name)
    while late := snapshot.late():
        for range_ in late:
            read(range_)
        after("late")
    return found


def test_rows_that_come_and_go_while_pages_are_read(
    filled: SupabaseStack, changing: psycopg.Connection
) -> None:
    first = "00000000-0000-0000-0000-000000000001"

    def change(what: str) -> None:
        if what == "messages":
            # Behind the pages: a conversation with its message; and one that was read goes.
            changing.execute(
                "INSERT INTO channels VALUES (9, 'new');"
                "INSERT INTO conversations (id, channel_id, created_at) OVERRIDING SYSTEM VALUE"
                " VALUES (-5, 9, now());"
                f"INSERT INTO messages VALUES ('{first}', -5, 'late');"
                "DELETE FROM messages WHERE of = 60"
                " AND id NOT IN (SELECT message FROM attachments);"
                "UPDATE messages SET body = 'changed' WHERE of = 3"
            )

    with source(filled).snapshot() as snapshot:
        found = read_all(snapshot, change)
        assert first in found["messages"]
        assert -5 in found["conversations"]
        assert 9 in found["channels"]
        assert all(len(set(keys)) == len(keys) for name, keys in found.items()
                   if name in ("messages", "conversations", "channels"))  # fmt: skip
        assert snapshot.count(snapshot.dataset.table(MESSAGES)) == len(found["messages"]) == 2501
        read = snapshot.readings()[MESSAGES]
        (still_there,) = changing.execute("SELECT count(*) FROM messages").fetchone() or ()
        assert (read.counted_before, read.counted_after, read.late) == (2500, still_there, 1)
        assert read.gone == 2501 - still_there > 0
        assert any("deleted by now" in warning for warning in snapshot.warnings)


def test_a_row_that_is_referred_to_and_gone_is_told(
    filled: SupabaseStack, changing: psycopg.Connection, cluster: EmbeddedPostgres,
    new_database: NewDatabase, monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    """A conversation comes in behind its page; its message is read; then both are gone."""
    ending = threading.Event()

    def change(what: str) -> None:
        if what == "conversations":
            changing.execute(
                "INSERT INTO conversations (id, created_at) OVERRIDING SYSTEM VALUE"
                " VALUES (-7, now());"
                "INSERT INTO messages VALUES ('00000000-0000-0000-0000-000000000002', -7, 'x')"
            )
        elif what == "messages":
            ending.set()

    original = RestSnapshot.late

    def late(self: RestSnapshot) -> Any:
        found = original(self)
        if ending.is_set():
            ending.clear()
            changing.execute("DELETE FROM messages WHERE of = -7")
            changing.execute("DELETE FROM conversations WHERE id = -7")
        return found

    reading = RestSnapshot.read

    def read(self: RestSnapshot, range_: Range, *, skip_rows: int = 0) -> Any:
        yield from reading(self, range_, skip_rows=skip_rows)
        change(range_.table.name)

    monkeypatch.setattr(RestSnapshot, "late", late)
    monkeypatch.setattr(RestSnapshot, "read", read)
    repository, manifest = backed_up(filled)
    table = next(t for t in manifest.tables if t.name == MESSAGES)
    assert table.reading is not None
    (gap,) = table.reading.missing
    assert (gap.columns, gap.references, gap.values) == (("of",), CONVERSATIONS, 1)
    target = new_database(cluster)
    restore(repository, manifest, target)  # the foreign key is made for new rows only
    with psycopg.connect(target) as connection:
        assert connection.execute("SELECT body FROM messages WHERE of = -7").fetchall() == [("x",)]
    monkeypatch.undo()
    with source(filled).snapshot() as snapshot:
        read_all(snapshot)
        told = text(manifest.backup_id, manifest.created_at, snapshot.dataset, BackupOptions(),
                    None, {MESSAGES: replace(snapshot.readings()[MESSAGES])}).decode()  # fmt: skip
    assert "PAGE BY PAGE" in told
    assert "PÁGINA POR PÁGINA" in told


def test_what_changes_while_a_filter_is_followed(
    filled: SupabaseStack, changing: psycopg.Connection
) -> None:
    """What belongs to a conversation is asked for when that was read; what it refers to, later."""
    added = str(uuid4())
    changing.execute("INSERT INTO channels VALUES (9); UPDATE conversations SET channel_id = 9"
                     " WHERE id = 5")  # fmt: skip

    def change(what: str) -> None:
        if what == "conversations":
            changing.execute(
                f"INSERT INTO messages VALUES ('{added}', 5, 'meanwhile');"
                "UPDATE conversations SET channel_id = 1 WHERE id = 5;"
                "DELETE FROM channels WHERE id = 9"
            )

    scope = replace(SCOPE, filters=Filters(conversation_ids=("5", "6", "77")))
    with source(filled, scope=scope).snapshot() as snapshot:
        found = read_all(snapshot, change)
        assert sorted(found["conversations"]) == [5, 6]
        assert added in found["messages"]
        assert found["channels"] == [1], "of conversation 6"
        (gap,) = snapshot.readings()[CONVERSATIONS].missing
        assert (gap.columns, gap.values) == (("channel_id",), 1)
        assert any("lead nowhere" in warning for warning in snapshot.warnings)
        assert any("1 of the 3" in warning for warning in snapshot.warnings)
        foreign = [s for s in snapshot.statements if s.kind == "foreign key"]
        assert sum(s.sql.endswith("NOT VALID") for s in foreign) == 1


def test_rows_that_are_counted_and_not_shown_are_no_backup(
    filled: SupabaseStack, changing: psycopg.Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    with source(filled).snapshot() as snapshot:
        api = snapshot._api
        count = api.count
        monkeypatch.setattr(api, "count", lambda *a: count(*a) + 1)
        with pytest.raises(IncompleteBackup, match="nothing says why"):
            read_all(snapshot)


def is_page(request: Request, table: str = "") -> bool:
    return f"/rest/v1/{table}" in request.path and "order=" in request.path


def test_pages_that_fail_are_asked_for_again_and_no_row_is_lost_or_doubled(
    filled: SupabaseStack, changing: psycopg.Connection
) -> None:
    """Large rows among them, of which fewer are asked for."""
    large = 10 * 1024 * 1024
    changing.execute(
        "UPDATE messages SET body = repeat('x', %s) WHERE id IN"
        " (SELECT id FROM messages ORDER BY id OFFSET 5 LIMIT 4)", (large,),
    )  # fmt: skip
    faults: list[Fault | int] = [
        Fault.TOO_MANY, Fault.BUSY, Fault.DROP, Fault.CUT, Fault.LOST, 500, 429,
    ]  # fmt: skip
    asked: list[str] = []

    def plan(request: Request, _: int) -> Fault | int | None:
        """The first try of every other page goes wrong, each in another way."""
        if not is_page(request) or request.path in asked:
            return None
        asked.append(request.path)
        return faults.pop(0) if faults and len(asked) % 2 else None

    began = time.monotonic()
    with between(filled.full_url, plan) as (proxy, endpoint):
        with source(replace(filled, full_url=endpoint)).snapshot() as snapshot:
            found = read_all(snapshot)
        tried = [request.path for request in proxy.requests if is_page(request)]
    assert faults == []
    assert not any("offset=" in path for path in tried), "pages begin behind a key"
    assert all("_c0:id::text" in unquote(path) for path in tried if "/channels" in path)
    assert len(tried) == len(set(tried)) + 7
    assert time.monotonic() - began >= 1, "it was asked to wait so long"
    shrunk = [path for path in tried if "/messages" in path and "limit=2&" in path + "&"]
    assert shrunk, "20 rows are more than a page may have"
    for table in ("channels", "conversations", "messages"):
        rows = changing.execute(f"SELECT id FROM {table} ORDER BY id".encode()).fetchall()
        assert [str(key) for key in found[table]] == [str(key) for (key,) in rows]
    (attachments,) = changing.execute("SELECT count(*) FROM attachments").fetchone() or ()
    assert len(found["attachments"]) == attachments
    assert all(read.late == read.gone == 0 for read in snapshot.readings().values())


@pytest.mark.parametrize("fault", [400, Fault.FORBIDDEN, Fault.NO_ROUTE, Fault.ELSEWHERE])
@pytest.mark.usefixtures("changing")
def test_a_page_that_is_refused_is_asked_for_once(
    filled: SupabaseStack, fault: Fault | int
) -> None:
    def plan(request: Request, _: int) -> Fault | int | None:
        return fault if is_page(request, "messages") else None

    with between(filled.full_url, plan) as (proxy, endpoint):
        with (
            pytest.raises(ConvaultError) as caught,
            source(replace(filled, full_url=endpoint)).snapshot() as snapshot,
        ):
            read_all(snapshot)
        asked = [request for request in proxy.requests if is_page(request, "messages")]
    assert len(asked) == 1, caught.value.message
    assert not isinstance(caught.value, SourceUnavailable)
    assert filled.secret_key not in caught.value.message
