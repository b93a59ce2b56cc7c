"""excludeTables: what is left out, what goes with it, and what a restore makes of the rest."""

from __future__ import annotations

from dataclasses import replace

import psycopg
import pytest

from convault.dataset.exclusion import leave_out, matching
from convault.dataset.omissions import in_lines, left_out
from convault.dataset.tables import Relation, close_over
from convault.errors import OptionsError
from convault.models import Absence, BackupFormat, ForeignKey, TableName
from tests.sensitive.school import carried_over, fill, names, rows, scope, source

AUDITS = TableName("public", "audits")
DETAILS = TableName("public", "audit_details")


@pytest.mark.parametrize("format", list(BackupFormat))
def test_an_excluded_table_and_what_hangs_on_it_alone_are_gone(
    school: str, target: str, format: BackupFormat
) -> None:
    manifest, result = carried_over(school, target, scope(tables=["audits"]), format)
    assert names(manifest) == {
        "public.channels", "crm.contacts", "public.conversations", "public.messages",
        "public.messages_old", "public.messages_new", "public.ratings",
    }  # fmt: skip
    assert set(manifest.absent) == {
        Absence(AUDITS, None, "excluded"),
        Absence(DETAILS, None, "unreachable"),
    }
    for table in ("ratings", "messages", "conversations"):
        query = f"SELECT t::text FROM public.{table} t ORDER BY 1"
        assert rows(target, query) == rows(school, query)
    assert rows(target, "SELECT to_regclass('public.audits')") == [(None,)]
    assert [(s.kind, s.needs) for s in result.left_out] == [("foreign key", ("public.audits",))]


def test_a_key_into_an_excluded_table_comes_back_where_that_is(school: str, target: str) -> None:
    """The target must be empty, but the table may lie in a schema that is not the backup's."""
    with psycopg.connect(school, autocommit=True) as connection:
        connection.execute("CREATE TABLE auth_audits (id integer PRIMARY KEY)")
        connection.execute("INSERT INTO auth_audits SELECT generate_series(1, 24)")
        connection.execute("CREATE SCHEMA storage")
        connection.execute("ALTER TABLE auth_audits SET SCHEMA storage")
        connection.execute(
            "ALTER TABLE ratings ADD FOREIGN KEY (audit_id) REFERENCES storage.auth_audits"
        )
    with psycopg.connect(target, autocommit=True) as connection:
        connection.execute("CREATE SCHEMA storage")
        connection.execute("CREATE TABLE storage.auth_audits (id integer PRIMARY KEY)")
        connection.execute("INSERT INTO storage.auth_audits SELECT generate_series(1, 24)")
    _, result = carried_over(school, target, scope(tables=["audits"]))
    assert [s.needs for s in result.left_out] == [("public.audits",)]
    assert not result.faults
    keys = "SELECT confrelid::regclass::text FROM pg_constraint WHERE contype = 'f' AND conrelid ="
    keys += " 'public.ratings'::regclass ORDER BY 1"
    assert rows(target, keys) == [("conversations",), ("storage.auth_audits",)]


def test_it_is_told(school: str) -> None:
    with source(school, scope(tables=["audits"])).snapshot() as snapshot:
        assert "public.audit_details is left out as well" in " ".join(snapshot.warnings)
        assert AUDITS not in snapshot.not_included
        assert in_lines(left_out(snapshot.dataset)) == (
            "left out: table public.audits, as asked for",
            "left out: table public.audit_details, which belongs to the backup only through what "
            "was left out",
        )


def test_a_pattern_stands_for_several_tables_and_a_tree_goes_whole(
    database: str, target: str
) -> None:
    fill(
        database,
        """
        CREATE TABLE notes (conversation_id integer REFERENCES conversations, note text);
        CREATE TABLE long_notes (more text, FOREIGN KEY (conversation_id)
            REFERENCES conversations) INHERITS (notes);
        INSERT INTO long_notes VALUES (1, 'canarynote', 'x');
        """,
    )
    manifest, _ = carried_over(database, target, scope(tables=["audit*", "public.notes"]))
    assert not {n for n in names(manifest) if "audit" in n or "notes" in n}
    assert {str(a.table) for a in manifest.absent if a.reason == "excluded"} == {
        "public.audits", "public.audit_details", "public.notes", "public.long_notes",
    }  # fmt: skip


@pytest.mark.parametrize(
    ("pattern", "words"),
    [
        ("conversations", ["starts from", "CONVAULT_ROOT_TABLE"]),
        ("messages", ["no messages", "includeMessages false"]),
        ("public.*", ["starts from"]),
        ("messages_old", ["is a partition of public.messages"]),
        ("audit", ["no table of this database is called audit", "public.audits"]),
        ("contacts", ["no table", "crm.contacts"]),
        ("zzz", ["no table of this database is called zzz"]),
    ],
)
def test_what_cannot_be_left_out_is_refused_with_the_remedy(
    school: str, pattern: str, words: list[str]
) -> None:
    with pytest.raises(OptionsError) as refused:
        source(school, scope(tables=[pattern])).check()
    for word in words:
        assert word in refused.value.message


def test_messages_that_hang_on_an_excluded_table_are_not_lost_silently(database: str) -> None:
    with psycopg.connect(database, autocommit=True) as connection:
        connection.execute(
            """
            CREATE TABLE conversations (id integer PRIMARY KEY);
            CREATE TABLE threads (id integer PRIMARY KEY, c integer REFERENCES conversations);
            CREATE TABLE messages (id integer PRIMARY KEY, t integer REFERENCES threads);
            """
        )
    with pytest.raises(OptionsError, match="messages belongs to the backup only through"):
        source(database, scope(tables=["threads"])).check()


def test_messages_may_be_excluded_where_none_are_wanted(school: str) -> None:
    asked = replace(scope(tables=["audits", "messages"]), include_messages=False)
    with source(school, asked).snapshot() as snapshot:
        assert {(a.name, a.reason) for a in snapshot.dataset.absent} == {
            ("public.messages", "excluded"),
            ("public.audits", "excluded"),
            ("public.audit_details", "unreachable"),
        }


def test_of_named_tables_some_can_be_left_out(school: str, target: str) -> None:
    asked = replace(scope(tables=["audit*"], masks={"messages.body": "null"}), tables=("public.*",))
    manifest, _ = carried_over(school, target, asked)
    assert "public.ratings" in names(manifest)
    assert not {name for name in names(manifest) if "audit" in name}
    assert rows(target, "SELECT DISTINCT body FROM messages") == [(None,)]


def test_a_table_that_is_not_of_the_backup_may_be_excluded(school: str) -> None:
    with psycopg.connect(school, autocommit=True) as connection:
        connection.execute("CREATE TABLE elsewhere (id integer)")
    with source(school, scope(tables=["elsewhere"])).snapshot() as snapshot:
        assert snapshot.dataset.absent == ()


def test_what_may_not_be_read_can_be_excluded(school: str) -> None:
    """An excluded table is not locked and asks for no right."""
    with psycopg.connect(school, autocommit=True) as connection:
        connection.execute("BEGIN; LOCK TABLE audits IN ACCESS EXCLUSIVE MODE")
        with source(school, scope(tables=["audits"])).snapshot() as snapshot:
            assert AUDITS not in {table.name for table in snapshot.dataset.tables}


@pytest.mark.parametrize(
    ("pattern", "found"),
    [
        ("a", {"public.a"}),
        ("a*", {"public.a", "public.ab", "public.a*", "public.a.b"}),
        ("crm.*", {"crm.a"}),
        ("*.a", {"public.a", "crm.a"}),
        ("A", {"public.A"}),
        ("a.b", set()),
        ("public.a.b", {"public.a.b"}),
        ("[ab]", set()),
    ],
)
def test_patterns(pattern: str, found: set[str]) -> None:
    everything = [TableName("public", n) for n in ("a", "ab", "A", "a*", "a.b", "b")]
    everything.append(TableName("crm", "a"))
    assert {str(name) for name in matching(pattern, everything)} == found


def test_what_is_reached_upward_through_an_excluded_table_goes_too() -> None:
    root, messages, tags, kinds = (TableName("public", n) for n in "cmtk")
    relations = [Relation(name) for name in (root, messages, tags, kinds)]
    keys = [
        ForeignKey("1", messages, ("c",), root, ("id",)),
        ForeignKey("2", tags, ("c",), root, ("id",)),
        ForeignKey("3", tags, ("k",), kinds, ("id",)),
    ]
    kept, absent = leave_out(
        ["t"], relations, lambda r: close_over(root, r, keys), root=root, messages=messages
    )
    assert set(kept) == {root, messages}
    assert {(a.table, a.reason) for a in absent} == {(tags, "excluded"), (kinds, "unreachable")}
