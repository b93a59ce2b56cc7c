"""What cannot be asked for is refused before anything is started: by the check that the command and
the API both make, and by the snapshot again."""

from __future__ import annotations

import random
import re
from contextlib import closing
from typing import Any

import psycopg
import pytest

from convault.embedded.server import EmbeddedPostgres
from convault.errors import ConfigurationError, ConvaultError, MissingTable, OptionsError
from convault.models import BackupOptions
from tests.databases import drop_database
from tests.filters.world import source_of

TABLES = """
CREATE TYPE state AS ENUM ('open', 'closed');
CREATE DOMAIN even AS integer CHECK (VALUE % 2 = 0);
CREATE TABLE conversations (
    id uuid PRIMARY KEY, status state, channel_id even, opened_at timestamptz, day date);
CREATE TABLE messages (id bigint PRIMARY KEY, conversation_id uuid REFERENCES conversations);
CREATE TABLE people (id bigint PRIMARY KEY);
CREATE TABLE room_members (
    conversation_id uuid REFERENCES conversations, contact_id bigint REFERENCES people,
    invited_by bigint REFERENCES people);
CREATE TABLE guests (conversation_id uuid REFERENCES conversations, guest_id bigint);
CREATE TABLE pairs (a integer, b integer, PRIMARY KEY (a, b));
CREATE TABLE bigs (id bigint PRIMARY KEY, created_at timestamptz);
CREATE TABLE keyless (id integer);
CREATE TABLE log (conversation text, conversation_uuid uuid);
CREATE SCHEMA auth;
CREATE TABLE auth.users (id uuid PRIMARY KEY);
"""
ATTACKS = ["' OR true --", "'; DROP TABLE messages; --", "\\'; SELECT pg_sleep(9) --", "$$", "%s",
           "1) OR (true", "{}", "E'\\x27'", "');COPY messages TO '/tmp/x';--"]  # fmt: skip


@pytest.fixture(scope="module")
def url(cluster: EmbeddedPostgres) -> Any:
    name = f"refusals_{random.SystemRandom().getrandbits(40):x}"
    with closing(psycopg.connect(cluster.url(), autocommit=True)) as connection:
        connection.execute(f"CREATE DATABASE {name} TEMPLATE template0".encode())
        with closing(psycopg.connect(cluster.url(name), autocommit=True)) as own:
            own.execute(TABLES.encode())
        yield cluster.url(name)
        drop_database(cluster.url(), name)


def refused(url: str, options: dict[str, Any], **settings: str) -> ConvaultError:
    """The error of the check, which is that of the snapshot."""
    source = source_of(url, options, **settings)
    with pytest.raises(ConvaultError) as checked:
        source.check()
    with pytest.raises(ConvaultError) as taken, source.snapshot():
        pass
    assert taken.type is checked.type
    assert taken.value.message == checked.value.message
    return checked.value


@pytest.mark.parametrize("id_", ["7", "abc", "0b6f4e0e-6a3e-4f39-9d4c-2f1c8b7f5a1", *ATTACKS])
def test_an_id_that_is_none_of_the_keys_type(url: str, id_: str) -> None:
    good = "0b6f4e0e-6a3e-4f39-9d4c-2f1c8b7f5a10"
    error = refused(url, {"conversationIds": [good, id_]})
    assert isinstance(error, OptionsError)
    assert "conversationIds: value 2 of 2 is no uuid" in error.message
    assert id_ not in error.message or id_ in "7{}abc%s$$"


@pytest.mark.parametrize("id_", ["a", "1.5", "9223372036854775808", "0x", *ATTACKS])
def test_an_id_that_is_no_integer(url: str, id_: str) -> None:
    error = refused(
        url, {"conversationIds": [id_], "includeMessages": False}, convault_root_table="bigs"
    )
    assert "conversationIds: the value is no bigint" in error.message


@pytest.mark.parametrize("value", ATTACKS)
def test_a_text_is_a_text_whatever_it_holds(url: str, value: str) -> None:
    """Nothing to refuse in it: it is compared, and matches nothing."""
    options = {"conversationIds": [value], "includeMessages": False}
    with closing(psycopg.connect(url, autocommit=True)) as connection:
        connection.execute("CREATE TABLE IF NOT EXISTS threads (id text PRIMARY KEY, status text)")
    source = source_of(url, {**options, "status": [value]}, convault_root_table="threads")
    source.check()
    with source.snapshot() as snapshot:
        assert snapshot.selection is not None
        assert snapshot.selection.empty


@pytest.mark.parametrize(
    ("options", "settings", "said"),
    [
        ({"startDate": "2026-01-01"}, {}, "no column created_at.*CONVAULT_CREATED_COLUMN"),
        ({"endDate": "2026-01-01"}, {}, "endDate cannot be used"),
        (
            {"startDate": "2026-01-01"}, {"convault_created_column": "day"},
            "of type date.*CONVAULT_CREATED_COLUMN to opened_at",
        ),
        ({"status": "open"}, {"convault_status_column": "state"}, "no column state"),
        ({"status": "opne"}, {}, "status: the value is no .*state"),
        ({"channelIds": ["x"]}, {}, "channelIds: the value is no .*even"),
        ({"channelIds": ["2"]}, {"convault_channel_column": "ch"}, "CONVAULT_CHANNEL_COLUMN"),
        (
            {"participantIds": ["1"]}, {},
            "several columns.*room_members.contact_id or public.room_members.invited_by",
        ),
        (
            {"participantIds": ["x"]}, {"convault_participants_column": "guests.guest_id"},
            "participantIds: the value is no bigint",
        ),
        (
            {"participantIds": ["1"]}, {"convault_participants_column": "guests.nobody"},
            "no column nobody",
        ),
        (
            {"participantIds": ["1"]}, {"convault_participants_column": "people.id"},
            "no foreign key leads",
        ),
        (
            {"conversationIds": ["1"], "includeMessages": False},
            {"convault_root_table": "pairs"}, "primary key of public.pairs has 2 columns",
        ),
        (
            {"conversationIds": ["1"], "includeMessages": False},
            {"convault_root_table": "keyless"}, "primary key of public.keyless is missing",
        ),
        (
            {"includeMessages": False}, {"convault_messages_table": "conversations"},
            "nothing would be left",
        ),
        ({"tables": ["sales.*"]}, {}, "'sales.\\*' matches no table"),
        ({"tables": ["auth.users"]}, {}, "manages"),
        ({"tables": ["people", "'; DROP TABLE people; --"]}, {}, "matches no table"),
    ],
)  # fmt: skip
def test_what_the_database_does_not_have(
    url: str, options: dict[str, Any], settings: dict[str, str], said: str
) -> None:
    error = refused(url, options, **settings)
    assert type(error) is OptionsError
    assert re.search(said, error.message), error.message


def test_no_table_of_messages_names_what_looks_like_one(url: str) -> None:
    error = refused(url, {}, convault_messages_table="mesages")
    assert isinstance(error, MissingTable)
    assert "Perhaps public.messages is meant?" in error.message
    source_of(url, {"includeMessages": False}, convault_messages_table="mesages").check()
    source_of(url, {"tables": ["people"]}, convault_messages_table="mesages").check()


@pytest.mark.parametrize(
    ("relations", "said"),
    [
        ("logs.conversation -> conversations.id", "there is no table public.logs.*public.log"),
        ("log.conv -> conversations.id", "public.log has no column conv.*conversation_uuid"),
        ("log.conversation_uuid -> conversations.key", "public.conversations has no column key"),
        ("log.conversation -> conversations.id", "cannot compare conversation .text. with id"),
        ("log(conversation_uuid, conversation) -> conversations(id, day)", "conversation .text."),
    ],
)
def test_relations_that_cannot_be(url: str, relations: str, said: str) -> None:
    error = refused(url, {}, convault_relations=relations)
    assert type(error) is ConfigurationError
    assert error.message.startswith("CONVAULT_RELATIONS")
    assert re.search(said, error.message), error.message


@pytest.mark.parametrize(
    "values",
    [
        {"conversationIds": []}, {"status": []}, {"tables": []}, {"channelIds": [""]},
        {"conversationIds": ["a\0b"]}, {"conversationIds": ["\ud800"]}, {"status": [True]},
        {"conversationIds": [1.5]}, {"conversationIds": "abc"}, {"participantIds": [None]},
        {"includeMessages": "false"}, {"includeMessages": 0}, {"conversationids": ["x"]},
        {"tables": ["a"], "status": "open"}, {"tables": ["a"], "includeMessages": False},
        {"tables": ["a"], "endDate": "2026-01-01"}, {"tables": ["a"], "conversationIds": [1]},
    ],
)  # fmt: skip
def test_what_cannot_be_in_any_database(values: dict[str, Any]) -> None:
    with pytest.raises(OptionsError):
        BackupOptions.parse(values)


def test_a_good_one_passes_and_changes_nothing(url: str) -> None:
    source_of(
        url,
        {"status": ["open", "closed"], "channelIds": [2, 3], "participantIds": [1],
         "conversationIds": ["{0B6F4E0E-6A3E-4F39-9D4C-2F1C8B7F5A10}"], "startDate": "2026-01-01"},
        convault_created_column="opened_at",
        convault_participants_column="room_members.contact_id",
        convault_relations="log.conversation_uuid -> conversations.id",
    ).check()  # fmt: skip
