"""What lies outside the backup is named by what needs it; what cannot be left out is refused."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from convault.embedded.server import EmbeddedPostgres
from convault.errors import UnsupportedSource
from convault.schema import as_script
from tests.schema.judge import find, pg_dump, psql, read, rows, run, write

SUPABASE = """
    CREATE SCHEMA auth;
    CREATE TABLE auth.users (id uuid PRIMARY KEY, email text);
    CREATE TYPE auth.level AS ENUM ('aal1', 'aal2');
    CREATE FUNCTION auth.uid() RETURNS uuid LANGUAGE sql STABLE AS 'SELECT NULL::uuid';
    CREATE FUNCTION auth.fits(v jsonb, n integer) RETURNS boolean LANGUAGE plpgsql IMMUTABLE
        AS 'BEGIN RETURN true; END';
"""
CONVERSATIONS = """
    CREATE TABLE public.conversations (
        id int PRIMARY KEY,
        owner uuid DEFAULT auth.uid() CONSTRAINT owned REFERENCES auth.users,
        meta jsonb CONSTRAINT fitting CHECK (auth.fits(meta, 3)),
        by_name text
    );
    COMMENT ON CONSTRAINT owned ON public.conversations IS 'whose';
    COMMENT ON CONSTRAINT fitting ON public.conversations IS 'how';
    CREATE INDEX fitting_index ON public.conversations (auth.fits(meta, 4));
    COMMENT ON INDEX fitting_index IS 'quick';
    CREATE FUNCTION public.mine() RETURNS uuid LANGUAGE sql STABLE RETURN auth.uid();
    ALTER TABLE public.conversations ADD COLUMN mine uuid DEFAULT public.mine();
"""


def test_each_statement_names_what_it_needs(database: str) -> None:
    run(database, SUPABASE + CONVERSATIONS)
    needs = {(s.kind, s.name): ", ".join(s.needs) for s in read(database) if s.needs}
    assert needs == {
        ("column default", "public.conversations.owner"): "auth.uid()",
        ("column default", "public.conversations.mine"): "auth.uid()",
        ("function", "public.mine()"): "auth.uid()",
        ("constraint", "fitting on public.conversations"): "auth.fits(jsonb,integer)",
        ("index", "public.fitting_index"): "auth.fits(jsonb,integer)",
        ("foreign key", "owned on public.conversations"): "auth.users",
        ("comment", "owned on public.conversations"): "auth.users",
        ("comment", "fitting on public.conversations"): "auth.fits(jsonb,integer)",
        ("comment", "public.fitting_index"): "auth.fits(jsonb,integer)",
    }
    assert not any("SCHEMA" in s.sql for s in read(database))


def test_an_empty_database_takes_the_rest_and_one_with_auth_takes_all(
    database: str, cluster: EmbeddedPostgres, new_database: Callable[[EmbeddedPostgres], str]
) -> None:
    run(database, SUPABASE + CONVERSATIONS)
    statements = read(database)
    empty, supabase = new_database(cluster), new_database(cluster)
    write(empty, statements)
    made = rows(
        empty,
        "SELECT conname, obj_description(oid) FROM pg_constraint"
        " WHERE conrelid = 'conversations'::regclass AND contype <> 'n'",
    )
    assert made == [("conversations_pkey", None)]
    run(supabase, SUPABASE)
    run(supabase, ";\n".join(s.sql for s in statements))
    assert pg_dump(supabase) == pg_dump(database)


def test_the_script_runs_without_auth_and_shows_what_it_leaves_out(
    database: str,
    cluster: EmbeddedPostgres,
    new_database: Callable[[EmbeddedPostgres], str],
    tmp_path: Path,
) -> None:
    run(database, SUPABASE + CONVERSATIONS)
    text = as_script(read(database)).decode()
    assert "\n-- Needs auth.users, which is not part of the backup:\n-- ALTER TABLE ONLY" in text
    script = tmp_path / "schema.sql"
    script.write_text(text)
    target = new_database(cluster)
    psql(target, script)
    columns = rows(target, "SELECT count(*) FROM information_schema.columns"
                           " WHERE table_name = 'conversations'")  # fmt: skip
    assert columns == [(5,)]


def test_a_body_that_reads_another_table_needs_that_table(database: str) -> None:
    run(
        database,
        """
        CREATE TABLE public."Settings" (a int);
        CREATE FUNCTION public.setting() RETURNS int LANGUAGE sql STABLE
            BEGIN ATOMIC SELECT max(a) FROM public."Settings"; END;
        CREATE TABLE public.conversations (id int DEFAULT public.setting());
        """,
    )
    statements = read(database, "public.conversations")
    assert find(statements, "function", "public.setting()").needs == ("public.Settings",)
    default = find(statements, "column default", "public.conversations.id")
    assert default.needs == ("public.Settings",)
    assert find(statements, "table", "public.conversations").needs == ()


@pytest.mark.parametrize(
    ("table", "named"),
    [
        ("(a auth.level)", r"public\.t is built on auth\.level"),
        ("(a auth.level[])", r"public\.t is built on auth\.level"),
        ("(a auth.users)", r"public\.t is built on auth\.users"),
        ("(a jsonb, b bool GENERATED ALWAYS AS (auth.fits(a, 1)) STORED)",
         r"public\.t\.b needs auth\.fits\(jsonb,integer\)"),
        ("(a jsonb) PARTITION BY LIST (auth.fits(a, 1))", r"public\.t is built on auth\.fits"),
    ],
)  # fmt: skip
def test_a_table_that_cannot_be_made_without_is_refused(
    database: str, table: str, named: str
) -> None:
    run(database, f"{SUPABASE} CREATE TABLE public.t {table}")
    with pytest.raises(UnsupportedSource, match=named):
        read(database)


def test_a_type_on_something_outside_refuses_the_table_but_not_a_function(database: str) -> None:
    run(
        database,
        f"""{SUPABASE}
        CREATE DOMAIN public.level AS auth.level;
        CREATE TABLE public.t (a public.level);
        CREATE FUNCTION public.high(l public.level) RETURNS bool LANGUAGE sql AS 'SELECT true';
        CREATE TABLE public.u (a bool DEFAULT public.high('aal2'));
        """,
    )
    with pytest.raises(UnsupportedSource, match=r"public\.t is built on auth\.level"):
        read(database, "public.t")
    statements = read(database, "public.u")
    assert [(s.kind, s.needs) for s in statements] == [
        ("type", ("auth.level",)),
        ("function", ("auth.level",)),
        ("table", ()),
        ("column default", ("auth.level",)),
    ]


@pytest.mark.parametrize(
    "child",
    ["() INHERITS (public.parent)",
     "PARTITION OF public.listed FOR VALUES IN (1)"],
)  # fmt: skip
def test_a_table_without_its_parent_is_refused(database: str, child: str) -> None:
    run(
        database,
        "CREATE TABLE public.parent (a int);"
        "CREATE TABLE public.listed (a int) PARTITION BY LIST (a);"
        f"CREATE TABLE public.child {child}",
    )
    with pytest.raises(UnsupportedSource, match=r"public\.child cannot be made without public\."):
        read(database, "public.child")


def test_a_sequence_of_a_table_outside_is_taken_along(
    database: str, cluster: EmbeddedPostgres, new_database: Callable[[EmbeddedPostgres], str]
) -> None:
    run(
        database,
        """
        CREATE TABLE public.other (id serial, n int GENERATED ALWAYS AS IDENTITY);
        CREATE TABLE public.t (a int DEFAULT nextval('public.other_id_seq'),
            b int DEFAULT nextval('public.other_n_seq'));
        SELECT nextval('public.other_id_seq') FROM generate_series(1, 7);
        """,
    )
    statements = read(database, "public.t")
    assert find(statements, "column default", "public.t.b").needs == ("public.other",)
    target = new_database(cluster)
    write(target, statements)
    run(target, "INSERT INTO public.t DEFAULT VALUES")
    assert rows(target, "SELECT a, b FROM public.t") == [(8, None)]
