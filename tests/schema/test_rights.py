"""Policies and privileges come back, for the roles that the target has."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import psycopg
import pytest

from convault.embedded.server import EmbeddedPostgres
from tests.schema.judge import find, pg_dump, read, rights, rows, run, write

NewDatabase = Callable[[EmbeddedPostgres], str]

SUPABASE = """
    CREATE SCHEMA auth;
    CREATE FUNCTION auth.uid() RETURNS uuid LANGUAGE sql STABLE
        AS 'SELECT current_setting(''test.uid'')::uuid';
    CREATE FUNCTION auth.jwt() RETURNS jsonb LANGUAGE sql STABLE AS 'SELECT ''{}''::jsonb';
"""
TABLES = """
    CREATE TABLE members (conversation int, who uuid);
    CREATE TABLE conversations (id int, owner uuid);
    ALTER TABLE conversations ENABLE ROW LEVEL SECURITY;
    CREATE POLICY mine ON conversations FOR SELECT TO "Mia's", "Leo"
        USING (owner = auth.uid() OR (auth.jwt() ->> 'role') = 'admin'
            OR EXISTS (SELECT FROM members WHERE conversation = id AND who = auth.uid()));
    CREATE POLICY adding ON conversations FOR INSERT TO "Leo" WITH CHECK (true);
    COMMENT ON POLICY adding ON conversations IS 'Leo may';
    GRANT SELECT ON conversations, members TO "Mia's", "Leo";
"""


@pytest.fixture
def roles(cluster: EmbeddedPostgres, new_database: NewDatabase) -> Iterator[Callable[..., None]]:
    """Make roles, that are gone when the databases are."""
    made: list[str] = []
    anywhere = new_database(cluster)

    def make(*names: str) -> None:
        for name in names:
            run(anywhere, f'CREATE ROLE "{name}"')
            made.append(name)

    yield make
    for name in made:
        with psycopg.connect(cluster.url(), autocommit=True) as connection:
            databases = connection.execute(
                "SELECT DISTINCT datname FROM pg_shdepend d JOIN pg_roles r ON refobjid = r.oid"
                " JOIN pg_database b ON b.oid = dbid WHERE rolname = %s", (name,),
            ).fetchall()  # fmt: skip
        for (database,) in databases:
            run(cluster.url(database), f'DROP OWNED BY "{name}"')
        run(cluster.url(), f'DROP ROLE "{name}"')


@pytest.fixture
def target(cluster: EmbeddedPostgres, new_database: NewDatabase) -> str:
    return new_database(cluster)


def test_a_policy_needs_its_roles_and_what_it_calls(
    database: str, target: str, roles: Callable[..., None]
) -> None:
    roles("Mia's", "Leo")
    run(database, SUPABASE + TABLES)
    statements = read(database)
    needs = ("auth.jwt()", "auth.uid()", "role Leo", "role Mia's")
    assert find(statements, "policy", "mine on public.conversations").needs == needs
    assert find(statements, "comment", "adding on public.conversations").needs == ("role Leo",)
    assert find(statements, "policy", "adding on public.conversations").needs == ("role Leo",)
    run(target, SUPABASE)
    write(target, statements)
    assert pg_dump(target) == pg_dump(database)
    run(
        target,
        "INSERT INTO conversations SELECT n, md5(n::text)::uuid FROM generate_series(1, 4) n",
    )
    with psycopg.connect(target) as connection:
        connection.execute("SET test.uid = '" + "c4ca4238a0b923820dcc509a6f75849b" + "'")
        connection.execute('SET ROLE "Leo"')
        assert connection.execute("SELECT id FROM conversations").fetchall() == [(1,)]


def test_what_a_role_would_get_that_is_not_there_is_left_out(
    database: str, cluster_of: Callable[[int], EmbeddedPostgres], new_database: NewDatabase,
    roles: Callable[..., None],
) -> None:  # fmt: skip
    roles("Mia's", "Leo")
    run(database, SUPABASE + TABLES)
    elsewhere = new_database(cluster_of(16))
    run(elsewhere, SUPABASE)
    write(elsewhere, read(database))
    assert rows(elsewhere, "SELECT count(*) FROM pg_policy") == [(0,)]
    assert {role for object_, role, *_ in rights(elsewhere) if object_ == "conversations"} == {
        "postgres"
    }
    # Closed, as it was for everybody whom no policy lets in.
    assert rows(elsewhere, "SELECT relrowsecurity FROM pg_class WHERE relname = 'conversations'") \
        == [(True,)]  # fmt: skip


def test_a_policy_on_a_table_outside_needs_it(database: str) -> None:
    run(
        database,
        """
        CREATE TABLE t (a int); CREATE TABLE elsewhere (a int);
        CREATE VIEW seen AS SELECT 1 AS a;
        CREATE POLICY p ON t USING (a IN (SELECT e.a FROM elsewhere e));
        CREATE POLICY q ON t USING (a IN (SELECT s.a FROM seen s));
        """,
    )
    statements = read(database, "public.t")
    assert find(statements, "policy", "p on public.t").needs == ("public.elsewhere",)
    assert find(statements, "policy", "q on public.t").needs == ("public.seen",)


def test_a_policy_whose_function_cannot_be_made_is_left_out_with_a_warning(
    database: str, caplog: pytest.LogCaptureFixture
) -> None:
    run(
        database,
        """
        CREATE TABLE t (id int PRIMARY KEY, a int);
        CREATE FUNCTION grouped(int) RETURNS bool LANGUAGE sql STABLE
            BEGIN ATOMIC SELECT a = $1 FROM public.t GROUP BY id LIMIT 1; END;
        CREATE POLICY p ON t USING (grouped(a));
        """,
    )
    assert not [s for s in read(database) if s.kind in ("policy", "function")]
    assert "The policy p on public.t was left out" in caplog.text


def test_force_comes_after_all_that_reads_and_writes(database: str) -> None:
    run(
        database,
        """
        CREATE TABLE t (id serial PRIMARY KEY REFERENCES t);
        ALTER TABLE t ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY;
        CREATE POLICY p ON t; GRANT SELECT ON t TO PUBLIC; COMMENT ON TABLE t IS 'x';
        """,
    )
    after = [s for s in read(database) if s.after_data]
    assert [s.kind for s in after][-2:] == ["row security", "privilege"]


def test_privileges_that_nobody_changed_make_no_statement(database: str) -> None:
    run(
        database,
        """
        CREATE SCHEMA s; CREATE TYPE s.e AS ENUM ('a');
        CREATE FUNCTION s.f() RETURNS int LANGUAGE sql RETURN 1;
        CREATE TABLE s.t (id serial, e s.e, n int DEFAULT s.f());
        GRANT SELECT ON s.t TO PUBLIC; REVOKE SELECT ON s.t FROM PUBLIC;
        """,
    )
    assert rows(database, "SELECT relacl IS NULL FROM pg_class WHERE relname = 't'") == [(False,)]
    assert not [s for s in read(database) if s.kind == "privilege"]


def test_only_what_the_backup_makes_gets_privileges(
    database: str, roles: Callable[..., None]
) -> None:
    roles("Leo")
    run(
        database,
        """
        CREATE TABLE t (id serial); CREATE TABLE other (a int); CREATE VIEW v AS SELECT 1;
        CREATE FUNCTION other_f() RETURNS int LANGUAGE sql RETURN 1;
        GRANT ALL ON t, other, v TO "Leo"; GRANT ALL ON SCHEMA public TO "Leo";
        GRANT ALL ON FUNCTION other_f TO "Leo"; GRANT ALL ON SEQUENCE t_id_seq TO "Leo";
        """,
    )
    given = [s for s in read(database, "public.t") if s.kind == "privilege"]
    assert {s.name for s in given} == {"public.t", "public.t_id_seq"}
    assert {s.needs for s in given} == {("role Leo",)}


def test_a_plain_owner_restores_what_its_owner_has_lost(
    database: str, target: str, roles: Callable[..., None]
) -> None:
    """What the source's owner gave up is given up last, when nothing needs it any more."""
    roles("Restorer")
    run(
        database,
        """
        CREATE SCHEMA s; CREATE TABLE s.parents (id serial PRIMARY KEY);
        CREATE TABLE s.t (id int REFERENCES s.parents CHECK (id > 0));
        CREATE FUNCTION s.fires() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NEW; END';
        CREATE TRIGGER x AFTER INSERT ON s.t FOR EACH ROW EXECUTE FUNCTION s.fires();
        CREATE POLICY p ON s.t USING (id IN (SELECT q.id FROM s.parents q));
        ALTER TABLE s.t FORCE ROW LEVEL SECURITY;
        GRANT SELECT ON s.t TO PUBLIC;
        REVOKE ALL ON s.t, s.parents FROM postgres; REVOKE ALL ON SCHEMA s FROM postgres;
        REVOKE ALL ON FUNCTION s.fires() FROM PUBLIC, postgres;
        """,
    )
    run(target, f'GRANT CREATE ON DATABASE {target.split("/")[3].split("?")[0]} TO "Restorer"')
    loaded = "INSERT INTO s.parents VALUES (7); INSERT INTO s.t VALUES (7)"
    write(target, read(database), rows=loaded, role='"Restorer"')
    left = [
        {(thing, role.replace(owner, "owner"), privilege)
         for thing, role, privilege, _ in rights(url) if thing != "public"}
        for url, owner in ((database, "postgres"), (target, '"Restorer"'))
    ]  # fmt: skip
    assert left[1] == left[0]
    assert left[0] == {("s.t", "-", "SELECT")} | {
        ("s.parents_id_seq", "owner", privilege) for privilege in ("SELECT", "UPDATE", "USAGE")
    }
