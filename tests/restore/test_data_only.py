"""`--data-only`: rows, types and keys, and no code of the archive; and what needs trust."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from convault.embedded.server import EmbeddedPostgres
from convault.errors import RestoreError, SignatureError
from convault.models import TableName
from convault.repository import Repository
from convault.restore import RestoreOptions, restore
from convault.restore.trust import admit
from convault.signing.signature import Signature
from tests.restore.builder import back_up
from tests.restore.plain_owner import owned_database
from tests.restore.test_live import run
from tests.restore.test_selection import rows

CODE = """
CREATE FUNCTION public.evil() RETURNS int LANGUAGE plpgsql IMMUTABLE
    AS 'BEGIN RETURN 1; END';
CREATE TYPE public.mood AS ENUM ('a', 'b');
CREATE DOMAIN public.short AS text CHECK (length(VALUE) < 10);
CREATE TABLE public.conversations (id int PRIMARY KEY DEFAULT public.evil(), mood public.mood,
    code public.short, CHECK (id + public.evil() > 0));
CREATE TABLE public.messages (id int, conversation_id int REFERENCES public.conversations,
    at date, twice int GENERATED ALWAYS AS (id * public.evil()) STORED, PRIMARY KEY (id, at))
    PARTITION BY RANGE (at);
CREATE TABLE public.messages_1 PARTITION OF public.messages
    FOR VALUES FROM (MINVALUE) TO ('2024-01-01');
CREATE TABLE public.messages_2 PARTITION OF public.messages DEFAULT;
CREATE INDEX ON public.conversations ((id + public.evil()));
CREATE FUNCTION public.trig() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NULL; END';
CREATE TRIGGER t AFTER INSERT ON public.messages FOR EACH ROW EXECUTE FUNCTION public.trig();
ALTER TABLE public.conversations ENABLE ROW LEVEL SECURITY;
CREATE POLICY p ON public.conversations USING (id = public.evil());
INSERT INTO public.conversations SELECT n, 'b', 'x' || n FROM generate_series(1, 9) n;
INSERT INTO public.messages SELECT n, 1 + n % 9, '2023-12-01'::date + n
    FROM generate_series(1, 90) n;
"""
NewDatabase = Callable[[EmbeddedPostgres], str]


def test_no_code_comes_and_every_row_does(
    any_cluster: EmbeddedPostgres, new_database: NewDatabase, repository: Repository
) -> None:
    source = new_database(any_cluster)
    run(source, CODE)
    manifest = back_up(repository, source)
    with owned_database(any_cluster) as target:
        options = RestoreOptions(data_only=True)
        result = restore(repository, manifest, target, options, trusted=False)
        assert result.rows[TableName("public", "messages")] == 90
        for table in ("conversations", "messages"):
            query = f"SELECT ROW(t.*)::text FROM {table} t ORDER BY 1"
            assert rows(target, query) == rows(source, query)
        for catalog in ("pg_proc WHERE pronamespace = 'public'::regnamespace",
                        "pg_trigger WHERE NOT tgisinternal", "pg_policy", "pg_attrdef",
                        "pg_constraint WHERE contype = 'c' AND connamespace ="
                        " 'public'::regnamespace"):  # fmt: skip
            assert rows(target, f"SELECT count(*) FROM {catalog}") == [(0,)], catalog
        keys = (
            "SELECT contype::text, count(*) FROM pg_constraint WHERE contype IN ('p', 'f')"
            " AND connamespace = 'public'::regnamespace GROUP BY 1 ORDER BY 1"
        )
        assert rows(target, keys) == [("f", 1), ("p", 2)]
        assert rows(target, "SELECT bool_and(relrowsecurity) FROM pg_class WHERE relkind = 'r'"
                            " AND relnamespace = 'public'::regnamespace") == [(True,)]  # fmt: skip


@pytest.mark.parametrize("signature", [s for s in Signature if s is not Signature.SIGNED])
def test_an_archive_that_is_not_signed_needs_trust_and_its_code_a_yes(
    database: str, repository: Repository, signature: Signature
) -> None:
    run(database, CODE)
    manifest = back_up(repository, database)
    asked: list[str] = []

    def ask(question: str) -> bool:
        asked.append(question)
        return len(asked) > 1

    with pytest.raises(SignatureError, match="--trust"):
        admit(manifest, signature, RestoreOptions(), trust=False, confirm=ask)
    assert asked == []
    with pytest.raises(RestoreError, match="not agreed to"):
        admit(manifest, signature, RestoreOptions(), trust=True, confirm=ask)
    for code in ("CREATE FUNCTION public.evil()", "CREATE TRIGGER t", "CREATE POLICY p",
                 "CHECK ((length(VALUE) < 10))", "DEFAULT public.evil()", "GENERATED ALWAYS AS",
                 "CREATE INDEX"):  # fmt: skip
        assert code in asked[0], code
    assert admit(manifest, signature, RestoreOptions(), trust=True, confirm=ask) is False
    only_data = RestoreOptions(data_only=True)
    assert admit(manifest, signature, only_data, trust=True, confirm=lambda _: False) is False


def test_a_signed_one_needs_neither(database: str, repository: Repository) -> None:
    run(database, CODE)
    manifest = back_up(repository, database)
    assert admit(manifest, Signature.SIGNED, RestoreOptions(), trust=False, confirm=lambda _: False)
