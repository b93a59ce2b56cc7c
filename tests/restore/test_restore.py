"""A backup into an empty database is the source again, in rows and in rules."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import psycopg
import pytest

from convault.comparison import compare
from convault.embedded.server import EmbeddedPostgres
from convault.errors import RestoreError
from convault.models import Statement, TableName
from convault.progress import Progress, listening
from convault.repository import Repository
from convault.restore import restore
from tests.restore.builder import back_up
from tests.restore.conftest import Backup
from tests.restore.tables import PARTS, fill

MESSAGES_NEW = TableName("public", "messages_new")


def _names(backup: Backup) -> list[TableName]:
    return [table.name for table in backup.manifest.tables]


def test_every_row_of_every_table_comes_back(
    any_cluster: EmbeddedPostgres,
    new_database: Callable[[EmbeddedPostgres], str],
    repository: Repository,
) -> None:
    source, target = new_database(any_cluster), new_database(any_cluster)
    fill(source)
    manifest = back_up(repository, source)
    assert sum(len(table.parts) for table in manifest.tables) >= PARTS
    result = restore(repository, manifest, target)
    compared = compare(source, target, [table.name for table in manifest.tables])
    assert [c.table for c in compared if not c.equal] == []
    assert {c.table: c.rows_in_both for c in compared} == result.rows
    assert sum(result.rows.values()) == manifest.rows > 3000
    assert result.left_out == ()
    assert result.seconds > 0


@pytest.mark.parametrize("level", [0, 1, 19])
def test_every_level_comes_back(
    level: int, database: str, target: str, repository: Repository
) -> None:
    fill(database)
    manifest = back_up(repository, database, level=level)
    restore(repository, manifest, target)
    compared = compare(database, target, [table.name for table in manifest.tables])
    assert all(c.equal for c in compared)


def test_a_backup_of_the_restored_has_the_same_rows_and_the_same_schema(
    backup: Backup, target: str
) -> None:
    restore(backup.repository, backup.manifest, target)
    again = back_up(backup.repository, target)
    assert again.statements == backup.manifest.statements
    for table, as_before in zip(again.tables, backup.manifest.tables, strict=True):
        assert (table.name, table.rows) == (as_before.name, as_before.rows)


def test_a_default_whose_function_reads_a_table_of_the_backup_comes_back(
    any_cluster: EmbeddedPostgres,
    new_database: Callable[[EmbeddedPostgres], str],
    repository: Repository,
) -> None:
    """The function is made before the table that its body, a mere text to Postgres, names."""
    source, target = new_database(any_cluster), new_database(any_cluster)
    fill(source)
    with psycopg.connect(source) as connection:
        connection.execute(
            "CREATE FUNCTION public.next_place() RETURNS bigint LANGUAGE sql AS"
            " 'SELECT count(*) FROM public.messages'"
        )
        connection.execute(
            "ALTER TABLE public.messages ADD COLUMN place bigint DEFAULT public.next_place()"
        )
    manifest = back_up(repository, source)
    restore(repository, manifest, target)
    assert all(c.equal for c in compare(source, target, [t.name for t in manifest.tables]))
    with psycopg.connect(target) as connection:
        assert (
            connection.execute("SELECT public.next_place()").fetchone()
            == connection.execute("SELECT count(*) FROM public.messages").fetchone()
        )


def test_rules_and_sequences_hold_afterwards(backup: Backup, target: str) -> None:
    restore(backup.repository, backup.manifest, target)
    with psycopg.connect(target, autocommit=True) as connection:
        with pytest.raises(psycopg.errors.ForeignKeyViolation):
            connection.execute("INSERT INTO public.messages (conversation_id, sent_at)"
                               " VALUES (99999, now())")  # fmt: skip
        with pytest.raises(psycopg.errors.UniqueViolation):
            connection.execute("INSERT INTO public.channels VALUES (3, 'e-mail')")
        new = "INSERT INTO public.{} RETURNING id"
        rows = (
            connection.execute(new.format("conversations (channel_id) VALUES (1)")).fetchone(),
            connection.execute(
                new.format("messages (conversation_id, sent_at) VALUES (1, now())")
            ).fetchone(),
        )
    assert rows[0] == (51,)
    assert rows[1] is not None
    assert rows[1][0] > 4000


def test_rows_of_partitions_and_children_lie_where_they_lay(backup: Backup, target: str) -> None:
    result = restore(backup.repository, backup.manifest, target)
    counts = {name.name: rows for name, rows in result.rows.items()}
    assert counts["messages"] == 0
    assert counts["messages_old"] > 0
    assert counts["messages_new"] > 0
    assert (counts["notes"], counts["long_notes"]) == (20, 20)


def test_partitions_by_the_hash_of_an_enum_come_back(
    any_cluster: EmbeddedPostgres,
    new_database: Callable[[EmbeddedPostgres], str],
    repository: Repository,
) -> None:
    """Its values are hashed by their oids, which are others in the target."""
    source, target = new_database(any_cluster), new_database(any_cluster)
    with psycopg.connect(source) as connection:
        connection.execute(b"""
            CREATE TYPE public.mood AS ENUM ('a', 'b', 'c', 'd', 'e', 'f', 'g', 'h', 'i', 'j');
            CREATE TABLE public.conversations (id int PRIMARY KEY);
            INSERT INTO public.conversations VALUES (1);
            CREATE TABLE public.messages (id int, mood public.mood, year int, conversation int
                REFERENCES public.conversations) PARTITION BY RANGE (year);
            CREATE TABLE public.old PARTITION OF public.messages FOR VALUES FROM (0) TO (2000);
            CREATE TABLE public.new PARTITION OF public.messages FOR VALUES FROM (2000) TO (3000)
                PARTITION BY HASH (mood);
            CREATE TABLE public.new_0 PARTITION OF public.new
                FOR VALUES WITH (MODULUS 3, REMAINDER 0);
            CREATE TABLE public.new_1 (conversation int, year int, mood public.mood, id int);
            ALTER TABLE public.new ATTACH PARTITION public.new_1
                FOR VALUES WITH (MODULUS 3, REMAINDER 1);
            CREATE TABLE public.new_2 PARTITION OF public.new
                FOR VALUES WITH (MODULUS 3, REMAINDER 2);
            INSERT INTO public.messages SELECT n, (enum_range(NULL::public.mood))[1 + n % 10],
                1990 + n % 20, 1 FROM generate_series(1, 200) n;
        """)
        before = connection.execute("SELECT * FROM messages ORDER BY id").fetchall()
    manifest = back_up(repository, source)
    result = restore(repository, manifest, target)
    assert sum(result.rows.values()) == 201
    assert result.rows[TableName("public", "old")] == 100
    with psycopg.connect(target) as connection:
        assert connection.execute("SELECT * FROM messages ORDER BY id").fetchall() == before


def test_progress_is_told_in_rows(backup: Backup, target: str) -> None:
    events: list[Progress] = []
    with listening(events.append):
        restore(backup.repository, backup.manifest, target)
    loads = [event for event in events if event.step == "load"]
    assert [e.done for e in loads] == sorted(e.done for e in loads)
    assert (loads[-1].done, loads[-1].total) == (backup.manifest.rows, backup.manifest.rows)
    assert {"public.messages_old", "public.messages_new"} <= {event.subject for event in loads}


def _with(backup: Backup, *statements: Statement) -> Backup:
    manifest = backup.manifest.model_copy(
        update={"statements": (*backup.manifest.statements, *statements)}
    )
    return replace(backup, manifest=manifest)


OUTSIDE = [
    ("auth.users", "CREATE SCHEMA auth; CREATE TABLE auth.users (id int)"),
    ("auth.Us ers", 'CREATE SCHEMA auth; CREATE TABLE auth."Us ers" (id int)'),
    ("auth.uid()", "CREATE SCHEMA auth; CREATE FUNCTION auth.uid() RETURNS int RETURN 1"),
    ("auth.level", "CREATE SCHEMA auth; CREATE TYPE auth.level AS ENUM ('a')"),
]


@pytest.mark.parametrize(("needed", "made_by"), OUTSIDE)
@pytest.mark.parametrize("there", [True, False])
def test_what_needs_something_outside_runs_only_where_that_is(
    backup: Backup, target: str, needed: str, made_by: str, there: bool
) -> None:
    extra = [
        Statement("table", f"public.extra_{after}", f"CREATE TABLE public.extra_{after} ()", after,
                  (needed,))
        for after in (False, True)
    ]  # fmt: skip
    if there:
        with psycopg.connect(target, autocommit=True) as connection:
            connection.execute(made_by.encode())
    changed = _with(backup, *extra)
    result = restore(changed.repository, changed.manifest, target)
    assert result.left_out == (() if there else tuple(extra))
    with psycopg.connect(target) as connection:
        row = connection.execute(
            "SELECT count(*) FROM pg_class WHERE relname IN ('extra_false', 'extra_true')"
        ).fetchone()
    assert row == ((2,) if there else (0,))


def test_before_postgres_16_the_upper_half_of_char_is_refused_rather_than_changed(
    any_cluster: EmbeddedPostgres,
    new_database: Callable[[EmbeddedPostgres], str],
    repository: Repository,
) -> None:
    source, target = new_database(any_cluster), new_database(any_cluster)
    with psycopg.connect(source) as connection:
        connection.execute('CREATE TABLE public.conversations (id int PRIMARY KEY, c "char")')
        connection.execute("CREATE TABLE public.messages"
                           " (id int REFERENCES public.conversations, body text)")  # fmt: skip
        connection.execute("INSERT INTO public.conversations VALUES (1, '\\'), (2, ''), (3, 'x')")
        connection.execute("""INSERT INTO public.messages VALUES (1, '"c":"\\303"')""")
    restore(repository, back_up(repository, source), target)

    with psycopg.connect(source) as connection:
        connection.execute('INSERT INTO public.conversations VALUES (4, (-61)::"char")')
        version = connection.info.server_version
    manifest, target = back_up(repository, source), new_database(any_cluster)
    if version >= 160000:
        restore(repository, manifest, target)
        assert all(c.equal for c in compare(source, target, [t.name for t in manifest.tables]))
    else:
        with pytest.raises(RestoreError, match=r'"c" of conversations .* Postgres 16'):
            restore(repository, manifest, target)
