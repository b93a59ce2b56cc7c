"""excludeColumns: not read, not in the backup, and there again with the default or NULL."""

from __future__ import annotations

from collections.abc import Iterator

import psycopg
import pytest

from convault.dataset.omissions import in_lines, left_out
from convault.embedded.server import EmbeddedPostgres
from convault.errors import OptionsError
from convault.models import Absence, BackupFormat, TableName
from tests.flows.application import database as database_of
from tests.sensitive.school import carried_over, entry, fill, rows, scope, source

CONTACTS = TableName("crm", "contacts")


@pytest.mark.parametrize("format", list(BackupFormat))
def test_a_restored_table_has_the_column_with_its_default_or_null(
    school: str, target: str, format: BackupFormat
) -> None:
    left = ["crm.contacts.email", "crm.contacts.note", "messages.body", "messages.sender"]
    manifest, _ = carried_over(school, target, scope(columns=left), format)
    columns = {column.name for column in entry(manifest, "crm.contacts").columns}
    assert columns == {"id", "name", "phone", "token", "score", "shout"}
    kept = "id, name, phone, token, score, shout"
    expected = f"SELECT {kept}, NULL::text, 'none' FROM crm.contacts ORDER BY id"
    restored = f"SELECT {kept}, email, note FROM crm.contacts ORDER BY id"
    assert rows(target, restored) == rows(school, expected)
    whole = "FROM messages ORDER BY id"
    assert rows(target, f"SELECT id, conversation_id, sent_at, body, sender {whole}") == rows(
        school, f"SELECT id, conversation_id, sent_at, NULL::text, NULL::text {whole}"
    )
    assert Absence(CONTACTS, "email", "excluded") in manifest.absent


def test_of_a_partitioned_table_it_is_told_once_and_left_out_everywhere(school: str) -> None:
    with source(school, scope(columns=["messages.body"])).snapshot() as snapshot:
        for table in snapshot.dataset.tables:
            assert "body" not in {column.name for column in table.columns}
        assert in_lines(left_out(snapshot.dataset)) == (
            "left out: column public.messages.body, which has its default or NULL",
        )


def test_an_heir_leaves_out_what_it_inherits(database: str, target: str) -> None:
    fill(
        database,
        """
        CREATE TABLE notes (id integer, conversation_id integer REFERENCES conversations, x text);
        CREATE TABLE long_notes (more text) INHERITS (notes);
        INSERT INTO notes VALUES (1, 1, 'canarynote');
        INSERT INTO long_notes VALUES (2, 1, 'canarynote', 'm');
        """,
    )
    carried_over(database, target, scope(columns=["notes.x"]))
    assert rows(target, "SELECT id, x FROM notes ORDER BY 1") == [(1, None), (2, None)]
    assert rows(target, "SELECT id, x, more FROM long_notes") == [(2, None, "m")]


def test_a_generated_column_may_go_unless_it_is_a_key(school: str, target: str) -> None:
    manifest, result = carried_over(school, target, scope(columns=["crm.contacts.shout"]))
    assert "shout" not in {c.name for c in entry(manifest, "crm.contacts").columns}
    query = "SELECT id, shout FROM crm.contacts ORDER BY 1"
    assert rows(target, query) == rows(school, query)
    assert not result.recomputed


def test_with_what_it_is_computed_from_it_is_computed_from_the_default(
    database: str, target: str
) -> None:
    fill(
        database,
        """
        ALTER TABLE crm.contacts ADD low text GENERATED ALWAYS AS (lower(note)) STORED;
        """,
    )
    asked = scope(columns=["crm.contacts.note", "crm.contacts.low"])
    with source(database, asked).snapshot() as snapshot:
        assert any("crm.contacts.low is computed from" in w for w in snapshot.warnings)
    carried_over(database, target, asked)
    assert rows(target, "SELECT DISTINCT note, low FROM crm.contacts") == [("none", "none")]


def test_not_null_with_a_default_and_identities_may_go(database: str, target: str) -> None:
    fill(
        database,
        """
        ALTER TABLE ratings ADD kind text NOT NULL DEFAULT 'plain',
            ADD number bigint GENERATED ALWAYS AS IDENTITY, ADD serial serial;
        CREATE DOMAIN filled AS text NOT NULL DEFAULT 'from the domain';
        ALTER TABLE ratings ADD remark filled;
        UPDATE ratings SET kind = 'canarykind', remark = 'canaryremark';
        """,
    )
    left = [f"ratings.{name}" for name in ("kind", "number", "serial", "remark")]
    carried_over(database, target, scope(columns=left))
    assert rows(target, "SELECT DISTINCT kind, remark FROM ratings") == [
        ("plain", "from the domain")
    ]
    assert rows(target, "SELECT count(DISTINCT number), count(DISTINCT serial) FROM ratings") == [
        (12, 12)
    ]


MORE = """
    ALTER TABLE crm.contacts ALTER score SET NOT NULL;
    CREATE DOMAIN filled AS text CHECK (VALUE IS NOT NULL);
    CREATE DOMAIN filled_too AS filled;
    ALTER TABLE crm.contacts ADD remark filled_too DEFAULT 'x';
    ALTER TABLE crm.contacts ALTER remark DROP DEFAULT;
    ALTER TABLE crm.contacts ADD same text DEFAULT 'same';
    UPDATE crm.contacts SET same = id::text;
    CREATE UNIQUE INDEX same_once ON crm.contacts (same);
    CREATE TABLE named (c integer REFERENCES conversations, k text) PARTITION BY LIST (lower(k));
    CREATE TABLE named_all PARTITION OF named DEFAULT;
    ALTER TABLE conversations ADD nick text UNIQUE;
    CREATE TABLE nicks (nick text REFERENCES conversations (nick));
    CREATE TABLE plain (x text, i integer REFERENCES conversations);
    CREATE TABLE made (c integer REFERENCES conversations, i integer,
        j integer GENERATED ALWAYS AS (i) STORED PRIMARY KEY,
        k integer GENERATED ALWAYS AS (i) STORED REFERENCES conversations);
    CREATE TABLE heir (y text GENERATED ALWAYS AS ('a') STORED) INHERITS (plain);
"""


@pytest.fixture(scope="module")
def refusing(cluster: EmbeddedPostgres) -> Iterator[str]:
    """One for all that is refused, which changes nothing."""
    with database_of(cluster) as url:
        fill(url, MORE)
        yield url


@pytest.mark.parametrize(
    ("column", "words"),
    [
        ("crm.contacts.score", ["NOT NULL and has no default", "default", "allow NULL"]),
        ("crm.contacts.name", ["NOT NULL", "mask it instead (hash)"]),
        ("crm.contacts.id", ["primary key"]),
        ("messages.sent_at", ["primary key"]),
        ("conversations.contact_id", ["a foreign key", "mask it: null"]),
        ("messages.conversation_id", ["a foreign key", "Leave it in."]),
        ("made.j", ["the primary key", "Leave it in."]),
        ("made.k", ["a foreign key", "Leave it in"]),
        ("conversations.nick", ["the key that public.nicks references"]),
        ("named.k", ["the partition key"]),
        ("crm.contacts.remark", ["domain that does not take NULL"]),
        ("crm.contacts.same", ["same default for every row", "same_once"]),
        ("messages_old.body", ["partition of public.messages", "public.messages.body"]),
        ("crm.contacts.emial", ["no column crm.contacts.emial", "crm.contacts.email"]),
        ("contacts.email", ["no column contacts.email", "crm.contacts.email"]),
        ("zzz.zzz", ["no column zzz.zzz"]),
    ],
)
def test_what_a_restore_could_not_take_is_refused_with_the_remedy(
    refusing: str, column: str, words: list[str]
) -> None:
    with pytest.raises(OptionsError) as refused:
        source(refusing, scope(columns=[column])).check()
    for word in words:
        assert word in refused.value.message


def test_what_a_generated_column_tells_must_go_with_it(school: str) -> None:
    """On every version: where Postgres notes what it is computed from has changed."""
    with pytest.raises(OptionsError, match=r"Exclude crm\.contacts\.shout too"):
        source(school, scope(masks={"crm.contacts.name": "hash"})).check()
    both = scope(masks={"crm.contacts.name": "hash"}, columns=["crm.contacts.shout"])
    source(school, both).check()


def test_a_table_of_which_nothing_would_be_left_is_to_be_excluded(refusing: str) -> None:
    """COPY cannot fill rows of no columns in a table that has some."""
    with psycopg.connect(refusing, autocommit=True) as connection:
        connection.execute("CREATE TABLE base (x text)")
        connection.execute("CREATE TABLE both_ () INHERITS (base, plain)")
        connection.execute("CREATE TABLE only_x () INHERITS (base)")
    with pytest.raises(OptionsError, match=r"nothing of public\.(base|only_x) would be left"):
        source(refusing, scope(columns=["base.x"])).check()


def test_columns_of_excluded_tables_are_left_out_already(school: str) -> None:
    asked = scope(tables=["audits"], columns=["audits.what", "public.audit_details.what"])
    with source(school, asked).snapshot() as snapshot:
        assert {a.column for a in snapshot.dataset.absent} == {None}


def test_a_name_that_may_mean_two_columns_is_refused(database: str) -> None:
    fill(
        database,
        """
        CREATE SCHEMA "a"; CREATE TABLE a.b (c text, i integer REFERENCES conversations);
        CREATE TABLE public."a.b" (c text, i integer REFERENCES conversations);
        """,
    )
    with pytest.raises(OptionsError) as refused:
        source(database, scope(columns=["a.b.c"])).check()
    assert '"public"."a.b"."c"' in refused.value.message
    with source(database, scope(columns=['"a"."b"."c"'])).snapshot() as snapshot:
        assert [str(a.table) for a in snapshot.dataset.absent] == ["a.b"]


def test_a_default_that_may_be_the_same_is_warned_about(database: str) -> None:
    fill(database, "ALTER TABLE crm.contacts ALTER email SET DEFAULT lower('A')")
    with source(database, scope(columns=["crm.contacts.email"])).snapshot() as snapshot:
        assert any("crm.contacts.email gets its default" in w for w in snapshot.warnings)


def test_an_exclusion_constraint_is_as_strict_as_a_unique_one(database: str) -> None:
    fill(database, "ALTER TABLE ratings ADD slot int4range DEFAULT '[1,2)';"
                   "UPDATE ratings SET slot = int4range(audit_id, audit_id + 1);"
                   "ALTER TABLE ratings ADD EXCLUDE USING gist (slot WITH &&);")  # fmt: skip
    with pytest.raises(OptionsError, match="same default for every row"):
        source(database, scope(columns=["ratings.slot"])).check()


def test_large_objects_that_are_not_read_are_in_nobodys_way(database: str) -> None:
    fill(database, "ALTER TABLE messages ADD file oid; UPDATE messages SET file = lo_create(0)"
                   " WHERE id = 1;")  # fmt: skip
    with source(database, scope(columns=["messages.file"])).snapshot() as snapshot:
        assert snapshot.dataset.absent
