"""CONVAULT_RELATIONS: how relations are written."""

from __future__ import annotations

import pytest

from convault.dataset.declared import DeclaredRelation, parse_column, parse_relations
from convault.errors import ConfigurationError
from convault.models import TableName
from convault.settings import load_settings

MESSAGES, CONVERSATIONS = TableName("public", "messages"), TableName("public", "conversations")


@pytest.mark.parametrize(
    ("text", "relation"),
    [
        (
            "messages.conversation_id -> conversations.id",
            DeclaredRelation(MESSAGES, ("conversation_id",), CONVERSATIONS, ("id",)),
        ),
        (
            " public.messages . conversation_id->public.conversations.id ; ",
            DeclaredRelation(MESSAGES, ("conversation_id",), CONVERSATIONS, ("id",)),
        ),
        (
            "billing.notes(org, ticket) -> conversations(org, number)",
            DeclaredRelation(
                TableName("billing", "notes"), ("org", "ticket"), CONVERSATIONS, ("org", "number")
            ),
        ),
        (
            '"Fale Conosco"."Mensagens/ação"."da ""conversa""" -> conversations.id',
            DeclaredRelation(
                TableName("Fale Conosco", "Mensagens/ação"), ('da "conversa"',),
                CONVERSATIONS, ("id",),
            ),
        ),
        (
            "mensagens_antigas.conversação -> conversations.id",
            DeclaredRelation(
                TableName("public", "mensagens_antigas"), ("conversação",), CONVERSATIONS, ("id",)
            ),
        ),
    ],
)  # fmt: skip
def test_a_relation(text: str, relation: DeclaredRelation) -> None:
    assert parse_relations(text) == (relation,)


def test_several_and_none() -> None:
    assert [str(r) for r in parse_relations("a.b -> c.d; e(f, g) -> h.i(j, k);")] == [
        "public.a.b -> public.c.d",
        "public.e(f, g) -> h.i(j, k)",
    ]
    assert parse_relations("") == parse_relations(" ; ") == ()


@pytest.mark.parametrize(
    "text",
    ["a.b", "a -> b", "a.b -> c", "a.b -> c.d -> e.f", "a(b, c) -> d.e", "a(b, b) -> c(d, e)",
     "a() -> b()", "a.b.c.d -> e.f", "a.b => c.d", "a.b -> c.d, e.f -> g.h", "a.b -> c.d e.f",
     "a.b; DROP TABLE messages -> c.d", "a.b -> c.d)", '"a.b -> c.d', "a.'b' -> c.d",
     '"".b -> c.d'],
)  # fmt: skip
def test_what_cannot_be_read_is_refused_when_settings_are_read(
    text: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(ValueError, match=r"."):
        parse_relations(text)
    monkeypatch.setenv("CONVAULT_RELATIONS", text)
    with pytest.raises(ConfigurationError, match="CONVAULT_RELATIONS"):
        load_settings()


def test_a_column() -> None:
    assert parse_column("people.contact_id") == (TableName("public", "people"), "contact_id")
    assert parse_column('crm."People".id') == (TableName("crm", "People"), "id")
    for text in ("contact_id", "people(a, b)", "people.a -> b.c", "x.people.a.b"):
        with pytest.raises(ValueError, match=r"must|cannot"):
            parse_column(text)


def test_a_column_that_cannot_be_read_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CONVAULT_PARTICIPANTS_COLUMN", "contact_id")
    with pytest.raises(ConfigurationError, match="CONVAULT_PARTICIPANTS_COLUMN"):
        load_settings()
