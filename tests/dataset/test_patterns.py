"""The patterns of --tables, held against names of a catalog."""

from __future__ import annotations

import pytest

from convault.dataset.patterns import matching
from convault.dataset.tables import Relation
from convault.errors import OptionsError
from convault.models import TableName

RELATIONS = [
    Relation(TableName(schema, name), of_extension=extension)
    for schema, name, extension in (
        ("public", "orders", False), ("public", "Orders", False), ("public", "order", False),
        ("public", "backups", False), ("public", "convault_migrations", False),
        ("public", "spatial_ref_sys", True), ("public", "a.b", False),
        ("sales", "orders", False), ("sales", "select", False), ("sales", "[odd]", False),
        ("Fale Conosco", "Mensagens", False), ("my.schema", "t", False),
        ("auth", "users", False), ("storage", "objects", False), ("supabase_x", "t", False),
    )
]  # fmt: skip


def names(*patterns: str) -> list[str]:
    return [str(name) for name in matching(patterns, RELATIONS)]


@pytest.mark.parametrize(
    ("pattern", "found"),
    [
        ("orders", ["public.orders"]),
        ("sales.*", ["sales.[odd]", "sales.orders", "sales.select"]),
        ("*.orders", ["public.orders", "sales.orders"]),
        ("order*", ["public.order", "public.orders"]),
        ("[oO]rders", ["public.Orders", "public.orders"]),
        ("?rders", ["public.Orders", "public.orders"]),
        ("sales.[[]odd]", ["sales.[odd]"]),
        ("Fale Conosco.Mensagens", ["Fale Conosco.Mensagens"]),
        ("public.a.b", ["public.a.b"]),
        ("my.schema.t", ["my.schema.t"]),
        (
            "*.*",
            ["Fale Conosco.Mensagens", "my.schema.t", "public.Orders", "public.a.b",
             "public.order", "public.orders", "sales.[odd]", "sales.orders", "sales.select"],
        ),
    ],
)  # fmt: skip
def test_what_a_pattern_matches(pattern: str, found: list[str]) -> None:
    assert names(pattern) == found


def test_several_patterns_together() -> None:
    assert names("sales.orders", "sales.o*", "order") == ["public.order", "sales.orders"]


@pytest.mark.parametrize(
    ("pattern", "why"),
    [
        ("auth.users", "manages"),
        ("auth.*", "manages"),
        ("supabase_x.t", "manages"),
        ("pg_catalog.pg_class", "manages"),
        ("storage.nothing", "manages"),
        ("backups", "Convault's own"),
        ("public.convault_migrations", "Convault's own"),
        ("spatial_ref_sys", "extension"),
    ],
)
def test_what_may_not_be_named(pattern: str, why: str) -> None:
    with pytest.raises(OptionsError, match=why):
        names("orders", pattern)


@pytest.mark.parametrize(
    ("pattern", "said"),
    [
        ("ordrs", "Perhaps public.[oO]rder"),
        ("SALES.*", "There are tables in these schemas: Fale Conosco"),
        ('"Fale Conosco"."Mensagens"', "double quotes"),
        ("sales.orders; DROP TABLE sales.orders", "matches no table"),
        ("*.users", "matches no table"),
        ("", "matches no table"),
        (".", "matches no table"),
    ],
)
def test_what_matches_nothing_is_refused(pattern: str, said: str) -> None:
    with pytest.raises(OptionsError, match=said):
        names("orders", pattern)
