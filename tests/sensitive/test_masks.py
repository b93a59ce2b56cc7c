"""maskColumns: NULL, or a keyed hash that keeps equality, computed by the database."""

from __future__ import annotations

import hashlib
import hmac
import io
import pickle
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import replace
from typing import Any
from uuid import UUID

import adbc_driver_postgresql.dbapi as adbc
import polars as pl
import psycopg
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pydantic import SecretStr

from convault.dataset.masking import (
    SETTINGS_QUERY,
    MaskKey,
    cannot_be_hashed,
    mask_key,
    masked_expression,
)
from convault.dataset.omissions import in_lines, left_out
from convault.dataset.scope import scope_of
from convault.embedded.server import EmbeddedPostgres
from convault.errors import ConfigurationError, OptionsError
from convault.models import BackupFormat, BackupOptions, Column
from convault.settings import Settings
from tasks.chunk import keys_of, ranges_of
from tests.databases import drop_database
from tests.flows.application import database as database_of
from tests.restore.builder import back_up
from tests.sensitive.school import (
    KEY,
    carried_over,
    entry,
    fill,
    in_memory,
    rows,
    scope,
    source,
)
from tests.soak import count

NULL_AND_HASH = {
    "crm.contacts.email": "hash",
    "crm.contacts.phone": "hash",
    "crm.contacts.token": "hash",
    "crm.contacts.score": "null",
    "crm.contacts.note": "null",
    "conversations.reply_to": "hash",
    "messages.body": "null",
    "messages.sender": "hash",
}


def hashed(value: str | None, key: bytes = KEY) -> str | None:
    return None if value is None else hmac.new(key, value.encode(), hashlib.sha256).hexdigest()


def hashed_uuid(value: UUID) -> UUID:
    return UUID(bytes=hmac.new(KEY, str(value).encode(), hashlib.sha256).digest()[:16])


@pytest.mark.parametrize("format", list(BackupFormat))
def test_masks_come_back_in_the_place_of_the_values(
    school: str, target: str, format: BackupFormat
) -> None:
    manifest, result = carried_over(school, target, scope(masks=NULL_AND_HASH), format)
    assert result.complete
    query = "SELECT id, name, email, phone, token, score, note, shout FROM crm.contacts ORDER BY 1"
    assert rows(target, query) == [
        (id_, name, hashed(email), hashed(phone), hashed_uuid(token), None, None, shout)
        for id_, name, email, phone, token, _, _, shout in rows(school, query)
    ]
    query = "SELECT id, conversation_id, body, sender FROM messages ORDER BY 1"
    assert rows(target, query) == [
        (id_, conversation, None, hashed(sender))
        for id_, conversation, _, sender in rows(school, query)
    ]
    masks = {c.name: c.mask for c in entry(manifest, "crm.contacts").columns}
    assert masks == {"id": "", "name": "", "email": "hash", "phone": "hash", "token": "hash",
                     "score": "null", "note": "null", "shout": ""}  # fmt: skip
    assert {c.mask for c in entry(manifest, "public.messages_old").columns} == {"", "null", "hash"}
    assert "masked: column public.messages.sender (hash)" in in_lines(left_out(manifest))
    assert not any("messages_old" in line for line in in_lines(left_out(manifest)))


def test_equal_values_have_equal_masks_across_tables(school: str, target: str) -> None:
    carried_over(school, target, scope(masks=NULL_AND_HASH))
    joined = "SELECT count(*) FROM conversations c JOIN crm.contacts k ON k.email = c.reply_to"
    assert rows(target, joined) == rows(school, joined)
    assert rows(school, joined)[0][0] > 5


MAIL = "UPDATE crm.contacts SET email = 'a' || chr(231) || chr(227) || 'o' WHERE id = 1;"
"""By numbers: a script of bytes would be read in the server's encoding."""


def test_another_version_and_another_encoding_make_the_same_masks(
    any_cluster: EmbeddedPostgres, new_database: Callable[[EmbeddedPostgres], str]
) -> None:
    """And on every version a restore takes them."""
    name = new_database(any_cluster)
    with psycopg.connect(any_cluster.url(), autocommit=True) as connection:
        latin = f"{name.rpartition('/')[2].partition('?')[0]}_latin"
        connection.execute(
            f"CREATE DATABASE {latin} TEMPLATE template0 ENCODING LATIN1 LOCALE 'C'".encode()
        )
    try:
        for url in (name, any_cluster.url(latin)):
            fill(url, MAIL)
            masks = {"crm.contacts.email": "hash", "crm.contacts.token": "hash"}
            target = new_database(any_cluster)
            carried_over(url, target, scope(masks=masks))
            query = "SELECT email, token FROM crm.contacts ORDER BY id"
            assert rows(target, query)[0] == (
                hashed("ação"),
                hashed_uuid(UUID(hashlib.md5(b"1").hexdigest())),
            )
            with pytest.raises(OptionsError, match=r"crm\.contacts\.shout"):
                source(url, scope(columns=[], masks={"crm.contacts.name": "hash"})).check()
    finally:
        drop_database(any_cluster.url(), latin)


@pytest.mark.soak
@settings(
    max_examples=count(60, 2000),
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(
    values=st.lists(
        st.text(st.characters(codec="utf-8", exclude_characters="\0")), min_size=1, unique=True
    ),
    key=st.binary(min_size=16, max_size=200),
)
def test_the_hash_is_pythons_hmac_and_tells_values_apart(
    cluster: EmbeddedPostgres, values: list[str], key: bytes
) -> None:
    masked = masked_expression(Column("v", 1, "text", "text", False, "", "", "hash"))
    with closing(adbc.connect(cluster.url())) as connection, closing(connection.cursor()) as cursor:
        cursor.execute(SETTINGS_QUERY, MaskKey(key).pads())
        cursor.fetchall()
        given = ", ".join(f"({n}, convert_from('\\x{v.encode().hex()}', 'UTF8'))"
                          for n, v in enumerate(values))  # fmt: skip
        cursor.execute(f'SELECT {masked} FROM (VALUES {given}) t (n, "v") ORDER BY n')
        found = [value for (value,) in cursor.fetchall()]
    assert found == [hashed(value, key) for value in values]
    assert len(set(found)) == len(values)


def test_without_the_key_in_the_session_there_is_no_hash(cluster: EmbeddedPostgres) -> None:
    masked = masked_expression(Column("v", 1, "text", "text", False, "", "", "hash"))
    with psycopg.connect(cluster.url()) as connection:
        with pytest.raises(psycopg.errors.UndefinedObject):
            connection.execute(f"SELECT {masked} FROM (VALUES ('x')) t (v)".encode())
        connection.rollback()
        connection.execute("SELECT set_config('convault.mask_inner', 'aa', true)")
        connection.execute("SELECT set_config('convault.mask_outer', 'aa', true)")
        connection.rollback()
        # A setting that was undone is there, and empty.
        query = f"SELECT {masked} FROM (VALUES ('x')) t (v)"
        assert connection.execute(query.encode()).fetchone() == (None,)


def test_a_row_is_found_by_no_value_that_is_masked(database: str) -> None:
    """The index leads from conversations to rows by what the backup holds."""
    fill(database, "ALTER TABLE ratings ADD other integer REFERENCES conversations;"
                   "UPDATE ratings SET other = 3;")  # fmt: skip
    repository = in_memory()
    manifest = back_up(repository, database, scope=scope(
        tables=["audits"],
        masks={"ratings.conversation_id": "null", "ratings.other": "null"},
    ))  # fmt: skip
    assert manifest.index is not None
    tables = {str(table) for table in manifest.index.tables}
    assert "public.ratings" not in tables
    assert "public.messages_old" in tables
    index = pl.read_parquet(io.BytesIO(repository.store.get(manifest.index.key)))
    led_to = index.filter(pl.col("conversation").is_not_null())
    assert not {k for k in led_to["part"] if "ratings" in k}


def test_a_way_that_is_masked_is_not_taken_and_another_one_is(database: str) -> None:
    fill(database, "ALTER TABLE ratings ADD other integer REFERENCES conversations;"
                   "UPDATE ratings SET other = 3;")  # fmt: skip
    repository = in_memory()
    asked = scope(masks={"ratings.conversation_id": "null", "ratings.audit_id": "null"})
    manifest = back_up(repository, database, scope=asked)
    assert manifest.index is not None
    index = pl.read_parquet(io.BytesIO(repository.store.get(manifest.index.key)))
    found = index.filter(pl.col("part").str.contains("/ratings/"))
    assert set(found["conversation"].drop_nulls()) == {"3"}


CHECKS = """
    ALTER TABLE crm.contacts ADD CONSTRAINT looks_like_mail CHECK (email LIKE '%@%'),
        ADD CONSTRAINT has_one CHECK (email IS NOT NULL OR note IS NOT NULL),
        ADD CONSTRAINT positive CHECK (score > 0);
    ALTER TABLE messages ADD CONSTRAINT said CHECK (body IS NOT NULL);
    CREATE UNIQUE INDEX by_mail ON crm.contacts (lower(email));
    CREATE UNIQUE INDEX by_phone ON crm.contacts (phone, id) WHERE score > 3;
"""


def test_checks_that_masks_break_hold_for_new_rows_only_and_that_is_told(
    database: str, target: str
) -> None:
    fill(database, CHECKS)
    asked = scope(masks={"crm.contacts.email": "hash", "messages.body": "null"})
    with source(database, asked).snapshot() as snapshot:
        told = " ".join(snapshot.warnings)
    for name in ("looks_like_mail", "has_one", "said"):
        assert f"The check {name} on " in told
    assert "positive" not in told
    assert "The index crm.by_mail uses crm.contacts.email" in told
    assert "by_phone" not in told
    _, result = carried_over(database, target, asked)
    assert result.complete
    validated = dict(
        rows(target, "SELECT conrelid::regclass || '.' || conname, convalidated"
                     " FROM pg_constraint WHERE contype = 'c' AND conrelid <> 0")
    )  # fmt: skip
    assert validated == {
        "crm.contacts.looks_like_mail": False,
        "crm.contacts.has_one": False,
        "crm.contacts.positive": True,
        "messages.said": False,
        "messages_old.said": False,
        "messages_new.said": False,
    }
    with psycopg.connect(target) as connection, pytest.raises(psycopg.errors.CheckViolation):
        connection.execute("INSERT INTO crm.contacts (id, name, email) VALUES (99, 'x', 'y')")


REFUSED = """
    ALTER TABLE crm.contacts ADD fixed char(64), ADD short varchar(63), ADD data jsonb,
        ADD tags text[], ADD must text NOT NULL DEFAULT 'x', ADD number integer NOT NULL DEFAULT 1;
    CREATE DOMAIN mail AS text; ALTER TABLE crm.contacts ADD mail mail;
    CREATE DOMAIN filled AS integer CHECK (VALUE IS NOT NULL);
    ALTER TABLE crm.contacts ADD domained filled DEFAULT 1;
    ALTER TABLE crm.contacts ALTER domained DROP DEFAULT;
    CREATE TABLE pair (a text, b text, PRIMARY KEY (a, b));
    CREATE TABLE tied (a text, b text, c integer REFERENCES conversations,
        FOREIGN KEY (a, b) REFERENCES pair MATCH FULL);
    CREATE TABLE named (c integer REFERENCES conversations, k text) PARTITION BY LIST (lower(k));
    CREATE TABLE named_all PARTITION OF named DEFAULT;
    ALTER TABLE conversations ADD nick text UNIQUE;
    CREATE TABLE nicks (nick text REFERENCES conversations (nick));
    ALTER TABLE channels ADD CONSTRAINT once UNIQUE NULLS NOT DISTINCT (name);
    ALTER TABLE channels ALTER name DROP NOT NULL;
"""


@pytest.fixture(scope="module")
def refusing(cluster: EmbeddedPostgres) -> Iterator[str]:
    """One for all that is refused, which changes nothing."""
    with database_of(cluster) as url:
        fill(url, REFUSED)
        yield url


@pytest.mark.parametrize(
    ("column", "mask", "words"),
    [
        ("crm.contacts.fixed", "hash", ["character(64)", "Mask it: null, exclude it"]),
        ("crm.contacts.short", "hash", ["64 characters", "widen it to varchar(64)"]),
        ("crm.contacts.data", "hash", ["jsonb", "text, varchar and uuid"]),
        ("crm.contacts.tags", "hash", ["text[]"]),
        ("crm.contacts.mail", "hash", ["public.mail"]),
        ("crm.contacts.score", "hash", ["integer"]),
        ("crm.contacts.shout", "hash", ["is generated", "Exclude it"]),
        ("crm.contacts.shout", "null", ["is generated"]),
        ("crm.contacts.name", "hash", ["Exclude crm.contacts.shout too"]),
        ("crm.contacts.must", "null", ["NOT NULL", "Allow NULL, or mask it: hash"]),
        ("crm.contacts.number", "null", ["NOT NULL", "Allow NULL."]),
        ("crm.contacts.domained", "null", ["domain that does not take NULL"]),
        ("crm.contacts.id", "null", ["primary key"]),
        ("pair.a", "hash", ["primary key"]),
        ("tied.a", "hash", ["a foreign key", "or mask it: null"]),
        ("tied.a", "null", ["MATCH FULL"]),
        ("conversations.nick", "null", ["the key that public.nicks references"]),
        ("nicks.nick", "hash", ["a foreign key"]),
        ("named.k", "null", ["the partition key"]),
        ("named.k", "hash", ["the partition key"]),
        ("channels.name", "null", ["once", "NULLS NOT DISTINCT"]),
        ("messages_new.body", "null", ["a partition of public.messages"]),
        ("messages.bodi", "null", ["no column messages.bodi", "messages.body"]),
    ],
)
def test_what_cannot_be_masked_is_refused_with_the_remedy(
    refusing: str, column: str, mask: str, words: list[str]
) -> None:
    with pytest.raises(OptionsError) as refused:
        source(refusing, scope(masks={column: mask})).check()
    for word in words:
        assert word in refused.value.message


def test_a_domain_that_takes_null_takes_it_masked(database: str, target: str) -> None:
    """Which is asked of the domain itself, in the snapshot's transaction as well."""
    fill(
        database,
        """
        CREATE DOMAIN mail AS text CHECK (VALUE LIKE '%@%');
        ALTER TABLE crm.contacts ADD mail mail DEFAULT 'canary@example.org';
        """,
    )
    carried_over(database, target, scope(masks={"crm.contacts.mail": "null"}))
    assert rows(target, "SELECT DISTINCT mail FROM crm.contacts") == [(None,)]


def test_null_may_stand_in_a_foreign_key_and_hash_under_a_unique_index(
    database: str, target: str
) -> None:
    fill(database)
    masks = {"conversations.contact_id": "null", "crm.contacts.email": "hash"}
    _, result = carried_over(database, target, scope(masks=masks))
    assert result.complete
    assert rows(target, "SELECT DISTINCT contact_id FROM conversations") == [(None,)]


@pytest.mark.parametrize(
    ("type_", "fits"),
    [("text", True), ("uuid", True), ("character varying", True), ("character varying(64)", True),
     ("character varying(63)", False), ("character(64)", False), ("public.text", False),
     ("name", False), ("text[]", False), ("public.citext", False)],
)  # fmt: skip
def test_where_a_hash_can_stand(type_: str, fits: bool) -> None:
    assert (cannot_be_hashed(type_) is None) is fits
    column = Column("c", 1, type_, "text", False, "", "", "hash")
    if not fits:
        with pytest.raises(ValueError, match="no hash can stand"):
            masked_expression(column)


@pytest.mark.parametrize("key", [None, "", "fifteen bytes.."])
def test_a_hash_wants_a_key_of_sixteen_bytes(key: str | None) -> None:
    given = Settings(convault_mask_key=key)
    options = BackupOptions(mask_columns={"a.b": "hash"})
    with pytest.raises(ConfigurationError, match="CONVAULT_MASK_KEY") as refused:
        scope_of(given, options)
    assert "fifteen" not in str(vars(refused.value))
    assert scope_of(given, BackupOptions(mask_columns={"a.b": "null"})).mask_key is None


def test_the_key_is_shown_nowhere() -> None:
    word = "a-secret-of-some-length"
    given = Settings(convault_mask_key=word)
    asked = scope_of(given, BackupOptions(mask_columns={"a.b": "hash"}))
    key = mask_key(SecretStr(word))
    shown: list[Any] = [given, asked, key, asked.mask_key]
    assert not [value for value in shown if word in repr(value) or word in str(value)]
    with pytest.raises(TypeError):
        pickle.dumps(key)


def test_with_another_key_no_range_of_hashed_rows_is_taken_for_stored(school: str) -> None:
    """Or an incremental backup would mix the masks of two keys."""

    def keys(key: bytes) -> dict[str, str]:
        asked = replace(scope(masks={"messages.sender": "hash"}), mask_key=MaskKey(key))
        with source(school, asked).snapshot() as snapshot:
            ranges = [
                range_
                for table in snapshot.dataset.tables
                if table.kind == "r"
                for range_ in ranges_of(table, snapshot, 16)
            ]
            found = keys_of(snapshot, BackupOptions(), ranges, 1)
            return {str(made.range.table): made.key or "" for made in found}

    first, again, other = keys(KEY), keys(KEY), keys(KEY + b"!")
    assert first == again
    differing = {table for table, key in first.items() if other[table] != key}
    assert differing == {"public.messages_old", "public.messages_new"}


def test_keys_can_be_told_apart() -> None:
    key, other = MaskKey(KEY), MaskKey(KEY + b"!")
    assert key.fingerprint() == MaskKey(KEY).fingerprint() != other.fingerprint()
    assert key.fingerprint() not in {*key.pads(), hashed("", KEY)}
