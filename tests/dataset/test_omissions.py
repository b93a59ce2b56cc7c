"""What seems to belong to the dataset without being part of it."""

from __future__ import annotations

import pytest

from convault.dataset.omissions import Outsider, belonging, warnings
from convault.models import Dataset, ForeignKey, Table, TableName


def t(name: str) -> TableName:
    return TableName("public", name)


def dataset(
    *names: str, root: str = "conversations", partitions: tuple[tuple[str, str], ...] = ()
) -> Dataset:
    """`child>parent` is a table with a foreign key; `partitions` are (partition, table)."""
    tables, keys = {}, []
    for name in names:
        child, _, parent = name.partition(">")
        tables[child] = Table(t(child), len(tables) + 1, "r", (), (), ())
        if parent:
            keys.append(ForeignKey("fk", t(child), ("x",), t(parent), ("id",)))
    for child, above in partitions:
        tables[above] = Table(t(above), 98, "p", (), (), ())
        tables[child] = Table(t(child), 99, "r", (), (), (t(above),))
    return Dataset(t(root), tuple(tables.values()), tuple(keys))


CHAT = dataset(
    "channels", "conversations>channels", "conversations>contacts", "contacts",
    "messages>conversations",
)  # fmt: skip


@pytest.mark.parametrize(
    ("column", "table"),
    [
        ("message_id", "messages"),
        ("messages_id", "messages"),
        ("messageId", "messages"),
        ("MESSAGE_ID", "messages"),
        ("conversation_id", "conversations"),
    ],
)
def test_a_column_named_after_a_table_of_the_conversations(column: str, table: str) -> None:
    (warning,) = warnings(CHAT, [Outsider(t("attachments"), ("id", column, "name"))])
    assert warning.startswith(
        f"public.attachments is not in the backup, although its column {column} looks like a "
        f"reference to public.{table}: "
    )


@pytest.mark.parametrize(
    "column",
    # A foreign key to what conversations themselves reference would take nothing along.
    ["id", "message", "message_ids", "parent_message_id", "channel_id", "contact_id", "user_id"],
)
def test_any_other_column_is_no_warning(column: str) -> None:
    assert warnings(CHAT, [Outsider(t("attachments"), (column,))]) == ()


@pytest.mark.parametrize(
    ("table", "column"),
    [
        ("replies", "reply_id"),
        ("addresses", "address_id"),
        ("boxes", "box_id"),
        ("branches", "branch_id"),
        ("notes", "note_id"),
        ("mensagens", "mensagem_id"),
        ("conversas", "conversa_id"),
        ("anotações", "anotação_id"),
        ("chat_messages", "chat_message_id"),
        ("Message", "message_id"),
    ],
)
def test_singulars(table: str, column: str) -> None:
    found = dataset("conversations", f"{table}>conversations")
    assert len(warnings(found, [Outsider(t("outside"), (column,))])) == 1


def test_partitions_and_their_table_belong_together() -> None:
    found = dataset("conversations", "messages>conversations", partitions=(
        ("events_1", "events"), ("conversations_1", "conversations"),
    ))  # fmt: skip
    names = {table.name.name for table in belonging(found)}
    assert names == {"conversations", "conversations_1", "messages"}
    of_partition = dataset(root="conversations_1", partitions=(
        ("conversations_1", "conversations"), ("conversations_2", "conversations"),
    ))  # fmt: skip
    assert len(belonging(of_partition)) == 3
