"""The closure of foreign keys: what belongs to the root, and what that needs."""

from __future__ import annotations

import re
from collections.abc import Iterable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from convault.catalog.migrations import migrations
from convault.dataset.tables import (
    Relation,
    close_over,
    is_managed,
    lookalikes,
    own_tables,
    require_messages,
)
from convault.errors import MissingTable, UnsupportedSource
from convault.models import ForeignKey, TableName


def t(name: str) -> TableName:
    schema, dot, rest = name.partition(".")
    return TableName(schema, rest) if dot else TableName("public", name)


def keys(*pairs: str) -> list[ForeignKey]:
    """`child>parent` for each."""
    made = []
    for pair in pairs:
        child, _, parent = pair.partition(">")
        made.append(ForeignKey(f"fk_{pair}", t(child), ("x",), t(parent), ("id",)))
    return made


def tables(*names: str) -> list[Relation]:
    return [Relation(t(name)) for name in names]


def closure(relations: Iterable[Relation], *pairs: str, root: str = "conversations") -> list[str]:
    found = close_over(t(root), relations, keys(*pairs))
    assert len(found) == len(set(found))
    return [name.name if name.schema == "public" else str(name) for name in found]


def test_down_to_what_references_the_root_then_up_to_what_that_references() -> None:
    found = closure(
        tables("conversations", "messages", "message_attachments", "channels", "contacts", "other"),
        "messages>conversations",
        "message_attachments>messages",
        "conversations>channels",
        "messages>contacts",
    )
    assert found == ["channels", "contacts", "conversations", "messages", "message_attachments"]


def test_never_down_again_from_what_was_reached_upward() -> None:
    found = closure(
        tables("conversations", "messages", "channels", "campaigns", "agents"),
        "messages>conversations",
        "conversations>channels",
        "campaigns>channels",
        "channels>agents",
    )
    assert "campaigns" not in found
    assert found == ["agents", "channels", "conversations", "messages"]


def test_a_table_reached_upward_that_also_references_the_root_is_below_it() -> None:
    found = closure(
        tables("conversations", "contacts", "notes"),
        "conversations>contacts",
        "contacts>conversations",
        "notes>contacts",
    )
    assert set(found) == {"conversations", "contacts", "notes"}


def test_cycles_are_tolerated_and_what_they_need_still_comes_first() -> None:
    found = closure(
        tables("conversations", "messages", "a_late_table", "channels"),
        "messages>conversations",
        "conversations>messages",
        "messages>messages",
        "messages>channels",
        "a_late_table>messages",
    )
    assert found == ["channels", "conversations", "messages", "a_late_table"]


def test_managed_schemas_are_a_boundary() -> None:
    found = closure(
        tables("conversations", "auth.users", "auth.sessions", "storage.objects", "profiles"),
        "conversations>auth.users",
        "auth.sessions>auth.users",
        "storage.objects>conversations",
        "profiles>auth.users",
    )
    assert found == ["conversations"]


@pytest.mark.parametrize(
    "schema",
    ["auth", "storage", "vault", "realtime", "extensions", "graphql", "graphql_public", "cron",
     "net", "pgsodium", "supabase_functions", "supabase_migrations", "pgbouncer", "pg_catalog",
     "information_schema", "pg_toast"],
)  # fmt: skip
def test_what_supabase_and_postgres_manage(schema: str) -> None:
    assert is_managed(schema)


@pytest.mark.parametrize("schema", ["public", "crm", "authors", "my_auth", "supabase"])
def test_what_the_application_manages(schema: str) -> None:
    assert not is_managed(schema)


def test_a_root_in_a_managed_schema_is_refused() -> None:
    with pytest.raises(UnsupportedSource, match="CONVAULT_ROOT_TABLE"):
        closure(tables("auth.users"), root="auth.users")


PARTITIONED = [
    *tables("conversations", "messages"),
    Relation(t("messages_2024"), (t("messages"),), is_partition=True),
    Relation(t("messages_2025"), (t("messages"),), is_partition=True),
    Relation(t("messages_2025_q1"), (t("messages_2025"),), is_partition=True),
]
ALL_PARTITIONS = {"messages", "messages_2024", "messages_2025", "messages_2025_q1"}


@pytest.mark.parametrize("referencing", ["messages", "messages_2024", "messages_2025_q1"])
def test_every_level_of_a_partition_tree_comes_along(referencing: str) -> None:
    found = closure(PARTITIONED, f"{referencing}>conversations")
    assert set(found) == {"conversations", *ALL_PARTITIONS}
    assert found.index("messages") < found.index("messages_2025")
    assert found.index("messages_2025") < found.index("messages_2025_q1")


def test_a_partition_tree_that_is_reached_upward_comes_whole_but_nothing_below_it() -> None:
    found = closure(
        [*PARTITIONED, *tables("reactions")],
        "conversations>messages",
        "reactions>messages",
    )
    assert set(found) == {"conversations", *ALL_PARTITIONS}


def test_what_references_a_single_partition_belongs_to_the_dataset() -> None:
    found = closure(
        [*PARTITIONED, *tables("notes")], "messages>conversations", "notes>messages_2024"
    )
    assert "notes" in found


def test_heirs_come_along_and_parents_too_but_not_the_parents_other_heirs() -> None:
    relations = [
        *tables("conversations", "audited", "tenants", "other_need"),
        Relation(t("messages"), (t("audited"),)),
        Relation(t("messages_archive"), (t("messages"),)),
        Relation(t("invoices"), (t("audited"),)),
    ]
    found = closure(
        relations, "messages>conversations", "audited>tenants", "messages_archive>other_need"
    )
    assert set(found) == {
        "conversations", "messages", "messages_archive", "audited", "tenants", "other_need",
    }  # fmt: skip
    assert found.index("audited") < found.index("messages") < found.index("messages_archive")
    assert found.index("tenants") < found.index("audited")


def test_an_ancestor_that_a_key_leads_to_as_well_brings_its_heirs() -> None:
    relations = [
        *tables("conversations", "parties"),
        Relation(t("contacts"), (t("parties"),)),
        Relation(t("companies"), (t("parties"),)),
    ]
    assert "companies" not in closure(relations, "conversations>contacts")
    found = closure(relations, "conversations>contacts", "contacts>parties")
    assert "companies" in found


def test_rows_that_lie_in_a_managed_schema_are_refused_not_left_out() -> None:
    relations = [*PARTITIONED, Relation(t("auth.messages_old"), (t("messages"),), True)]
    with pytest.raises(UnsupportedSource, match=r"auth\.messages_old"):
        closure(relations, "messages>conversations")


def test_convaults_own_tables_are_no_part_of_a_dataset() -> None:
    own = tables("conversations", "backups", "backup_repositories", "convault_migrations")
    assert closure(own, "backups>conversations") == ["conversations"]


def test_every_table_of_the_catalog_is_known_as_convaults_own() -> None:
    made = re.findall(rb"CREATE TABLE IF NOT EXISTS public\.(\w+)", b"".join(
        migration.sql for migration in migrations()))  # fmt: skip
    names = {t(name.decode()) for name in made} | {t("convault_migrations")}
    assert own_tables([*names, t("messages")]) == names


def test_an_applications_own_table_called_backups_is_backed_up() -> None:
    assert closure(tables("conversations", "backups"), "backups>conversations") == [
        "conversations",
        "backups",
    ]


def test_parents_stand_before_children_whatever_the_cycles_between_keys() -> None:
    relations = [*tables("conversations"), Relation(t("a_child"), (t("z_parent"),)),
                 *tables("z_parent")]  # fmt: skip
    found = closure(
        relations, "a_child>conversations", "z_parent>conversations", "z_parent>a_child"
    )
    assert found == ["conversations", "z_parent", "a_child"]


@given(
    edges=st.lists(st.tuples(st.integers(0, 9), st.integers(0, 9)), max_size=25),
    root=st.integers(0, 9),
)
def test_the_closure_is_the_one_that_the_definition_gives(
    edges: list[tuple[int, int]], root: int
) -> None:
    found = closure(
        tables(*(f"t{n}" for n in range(10))),
        *(f"t{a}>t{b}" for a, b in edges),
        root=f"t{root}",
    )
    down = _fixpoint({root}, {(parent, child) for child, parent in edges})
    both = _fixpoint(down, set(edges))
    assert set(found) == {f"t{n}" for n in both}
    # Everything comes after what it needs, unless that needs it as well.
    place = {name: number for number, name in enumerate(found)}
    for child, parent in edges:
        if child in both and child not in _fixpoint({parent}, set(edges)):
            assert place[f"t{parent}"] < place[f"t{child}"]


def _fixpoint(start: set[int], edges: set[tuple[int, int]]) -> set[int]:
    found = set(start)
    while more := {b for a, b in edges if a in found} - found:
        found |= more
    return found


def test_a_missing_root_names_what_looks_like_one() -> None:
    with pytest.raises(MissingTable, match=r"crm\.conversations or public\.chats") as caught:
        closure(tables("crm.conversations", "chats", "invoices", "auth.conversations"))
    assert "auth" not in str(caught.value)
    assert "invoices" not in str(caught.value)
    assert caught.value.ids == {"table": "public.conversations"}


def test_a_missing_root_in_a_database_with_nothing_like_it() -> None:
    with pytest.raises(MissingTable, match="is this the right database"):
        closure(tables("invoices"))


def test_missing_messages_name_candidates() -> None:
    with pytest.raises(MissingTable, match=r"public\.chat_messages or public\.mensagens"):
        require_messages(
            t("messages"), t("conversations"), [t("conversations")],
            [t("conversations"), t("chat_messages"), t("mensagens"), t("invoices")],
        )  # fmt: skip


def test_messages_that_no_foreign_key_ties_to_the_root_are_refused() -> None:
    with pytest.raises(MissingTable, match="no chain of foreign keys"):
        require_messages(
            t("messages"), t("conversations"), [t("conversations")],
            [t("conversations"), t("messages")],
        )  # fmt: skip


def test_messages_in_the_closure_are_fine() -> None:
    require_messages(t("messages"), t("conversations"), [t("messages")], [t("messages")])


def test_lookalikes_are_few_and_the_likeliest_first() -> None:
    names = [t(f"messages_{n}") for n in range(9)] + [t("message"), t("x.messages")]
    found = lookalikes(t("messages"), names)
    assert len(found) == 5
    assert found[0] == t("x.messages")
