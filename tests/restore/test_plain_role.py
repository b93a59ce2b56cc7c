"""SQL of a backup never runs as a superuser, though the target's URL is one: hostile archives."""

from __future__ import annotations

import secrets
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import psycopg
import pytest

from convault.embedded.server import EmbeddedPostgres
from convault.errors import OptionsError, RestoreError
from convault.manifest import Manifest
from convault.models import Statement
from convault.repository import Repository
from convault.restore import RestoreOptions, restore
from tests.restore.builder import back_up
from tests.restore.plain_owner import as_role, owned_database
from tests.restore.test_live import run
from tests.restore.test_selection import rows

NewDatabase = Callable[[EmbeddedPostgres], str]

SCHEMA = """
CREATE FUNCTION public.f(n int) RETURNS int LANGUAGE plpgsql IMMUTABLE
    AS 'BEGIN /*here*/ RETURN n; END';
CREATE DOMAIN public.checked AS int CHECK (public.f(VALUE) >= 0);
CREATE TABLE public.conversations (id int PRIMARY KEY DEFAULT public.f(1),
    a int CHECK (public.f(a) >= 0), b public.checked,
    c int GENERATED ALWAYS AS (public.f(a)) STORED);
CREATE TABLE public.messages (id int, conversation_id int REFERENCES public.conversations,
    PRIMARY KEY (id, conversation_id)) PARTITION BY LIST (conversation_id);
CREATE TABLE public.messages_1 PARTITION OF public.messages DEFAULT;
CREATE INDEX ON public.conversations ((public.f(a)));
CREATE STATISTICS public.s ON (public.f(a)), b FROM public.conversations;
INSERT INTO public.conversations (id, a, b) SELECT n, n, n FROM generate_series(1, 3) n;
INSERT INTO public.messages SELECT n, 1 + n % 3 FROM generate_series(1, 9) n;
"""
RIGHTS = """
    SELECT a::text FROM pg_database, aclexplode(coalesce(datacl, acldefault('d', datdba))) a
    WHERE datname = current_database()
    UNION ALL SELECT a::text FROM pg_namespace, aclexplode(nspacl) a WHERE nspname = 'public'
    ORDER BY 1
"""
ATTEMPTS = (
    "RESET ROLE",
    "RESET SESSION AUTHORIZATION",
    "SET ROLE postgres",
    "SET ROLE NONE",
    "SET LOCAL SESSION AUTHORIZATION postgres",
    "SELECT set_config('role', 'postgres', false)",
    "CREATE ROLE {evil} SUPERUSER LOGIN",
    "ALTER ROLE CURRENT_USER SUPERUSER",
    "ALTER ROLE SESSION_USER LOGIN SUPERUSER",
    "GRANT pg_execute_server_program TO CURRENT_USER",
    "COPY (SELECT 1) TO PROGRAM 'touch {file}'",
    "COPY (SELECT 1) TO '{file}'",
    "SELECT pg_read_file('postgresql.conf')",
    "ALTER SYSTEM SET work_mem = '1GB'",
)


def hostile(manifest: Manifest, evil: str, file: Path) -> Manifest:
    """The backup with a function that tries all of it, whenever any row comes by."""
    tried = "".join(
        f"BEGIN EXECUTE $x${sql.format(evil=evil, file=file)}$x$;"
        " EXCEPTION WHEN OTHERS THEN NULL; END; "
        for sql in ATTEMPTS
    )
    seen = (
        "INSERT INTO public.seen SELECT current_user, session_user,"
        " current_setting('is_superuser');"
    )
    attack = Statement(
        "function", "public.g()",
        "CREATE FUNCTION public.g() RETURNS void LANGUAGE plpgsql AS $$BEGIN"
        " CREATE TABLE IF NOT EXISTS public.seen (who text, login text, super text);"
        f" {seen} {tried} {seen} END$$", after_data=False,
    )  # fmt: skip
    # Through a volatile function, as only those may do more than read.
    call = "BEGIN PERFORM public.g(); EXCEPTION WHEN insufficient_privilege THEN NULL; END;"
    statements = [
        replace(s, sql=s.sql.replace("/*here*/", call)) for s in manifest.statements
    ]  # fmt: skip
    return manifest.model_copy(update={"statements": (attack, *statements)})


@pytest.fixture
def file() -> Iterator[Path]:
    """What a program could make that the server runs, whoever that runs as."""
    with tempfile.TemporaryDirectory() as folder:
        Path(folder).chmod(0o777)
        yield Path(folder) / "made"


def roles(url: str) -> list[object]:
    return rows(url, "SELECT rolname, rolsuper, rolcanlogin FROM pg_roles WHERE"
                     " rolname !~ '^convault_restore_' ORDER BY 1")  # fmt: skip


@pytest.mark.parametrize("trusted", [True, False], ids=["signed", "unsigned"])
def test_no_function_of_an_archive_ever_runs_as_a_superuser(
    any_cluster: EmbeddedPostgres, new_database: NewDatabase, repository: Repository, file: Path,
    trusted: bool,
) -> None:  # fmt: skip
    source, target = new_database(any_cluster), new_database(any_cluster)
    run(source, SCHEMA)
    evil = f"cv_evil_{secrets.token_hex(4)}"
    manifest = hostile(back_up(repository, source), evil, file)
    before = roles(target)
    owner = restore(repository, manifest, target, trusted=trusted).owner
    assert owner == "convault_owner"
    assert rows(target, "SELECT count(*) FROM messages") == [(9,)]
    # It ran, before and after each of its attempts, and never with more rights than that.
    assert rows(target, "SELECT DISTINCT who, super FROM seen") == [(owner, "off")]
    assert rows(target, "SELECT count(*) >= 2, count(*) FILTER (WHERE login !~"
                        " '^convault_restore_') FROM seen") == [(True, 0)]  # fmt: skip
    assert [r for r in roles(target) if r not in before and "convault_owner" not in str(r)] == []
    assert rows(target, "SELECT rolsuper FROM pg_roles WHERE rolname = 'convault_owner'") == [
        (False,)
    ]
    assert not file.exists()
    assert rows(target, "SELECT FROM pg_roles WHERE rolname ~ '^convault_restore_'"
                        " AND NOT EXISTS (SELECT FROM pg_stat_activity WHERE usename = rolname"
                        " OR application_name = rolname)") == []  # fmt: skip


def test_the_same_code_does_harm_as_a_superuser(
    cluster: EmbeddedPostgres, new_database: NewDatabase, repository: Repository, file: Path
) -> None:
    """Or the test above would show nothing."""
    source, target = new_database(cluster), new_database(cluster)
    run(source, SCHEMA)
    evil = f"cv_evil_{secrets.token_hex(4)}"
    bad = hostile(back_up(repository, source), evil, file)
    run(target, *(s.sql for s in bad.statements if s.kind == "function"), "SELECT public.f(1)")
    assert file.exists()
    assert len(rows(target, f"SELECT FROM pg_roles WHERE rolname = '{evil}' AND rolsuper")) == 1
    run(target, "ALTER SYSTEM RESET work_mem", f"DROP ROLE {evil}")


def test_who_owns_what_is_made(
    cluster: EmbeddedPostgres, new_database: NewDatabase, repository: Repository
) -> None:
    source = new_database(cluster)
    run(source, SCHEMA)
    manifest = back_up(repository, source)
    owners = "SELECT DISTINCT tableowner FROM pg_tables WHERE schemaname = 'public'"
    # The database's owner, if that is a plain role.
    with owned_database(cluster) as owned:
        name = owned.split("//")[1].split("@")[0]
        admin = owned.replace(f"//{name}@", "//postgres@")
        assert restore(repository, manifest, admin).owner == name
        assert rows(admin, owners) == [(name,)]
    # Else one that is made; what it was lent is taken back.
    target = new_database(cluster)
    before = rows(target, RIGHTS)
    dry = restore(repository, manifest, target, RestoreOptions(dry_run=True))
    assert dry.owner == "convault_owner"
    assert (rows(target, RIGHTS), rows(target, owners)) == (before, [])
    assert restore(repository, manifest, target).owner == "convault_owner"
    assert rows(target, owners) == [("convault_owner",)]
    kept = set(rows(target, RIGHTS)) - set(before)
    assert len(kept) == 2, "USAGE and CREATE on public, where its tables are"
    # Or the one that is named, if it is plain.
    role, strong = (f"cv_{word}_{secrets.token_hex(4)}" for word in ("plain", "strong"))
    other = new_database(cluster)
    run(other, f"CREATE ROLE {role}", f"CREATE ROLE {strong} IN ROLE pg_read_server_files")
    with pytest.raises(RestoreError, match=f"{strong} is a member of pg_read_server_files"):
        restore(repository, manifest, other, RestoreOptions(owner=strong))
    with pytest.raises(RestoreError, match="has no role cv_nobody"):
        restore(repository, manifest, other, RestoreOptions(owner="cv_nobody"))
    assert restore(repository, manifest, other, RestoreOptions(owner=role)).owner == role
    assert rows(other, owners) == [(role,)]
    with pytest.raises(OptionsError, match="--owner is for tables"):
        restore(repository, manifest, other, RestoreOptions(owner=role))
    run(other, f"DROP OWNED BY {role}", f"DROP ROLE {role}", f"DROP ROLE {strong}")


def test_a_role_that_can_become_a_superuser_is_refused(
    cluster: EmbeddedPostgres, new_database: NewDatabase, repository: Repository
) -> None:
    source, target = new_database(cluster), new_database(cluster)
    run(source, SCHEMA)
    manifest = back_up(repository, source)
    role = f"cv_near_{secrets.token_hex(4)}"
    run(target, f"CREATE ROLE {role} LOGIN IN ROLE postgres")
    with pytest.raises(RestoreError, match=r"is a member of .*postgres, and SQL of a backup never"):
        restore(repository, manifest, as_role(target, role))
    run(target, f"DROP ROLE {role}")


def test_a_failed_restore_leaves_no_role_and_no_right(
    cluster: EmbeddedPostgres, new_database: NewDatabase, repository: Repository
) -> None:
    source, target = new_database(cluster), new_database(cluster)
    run(source, SCHEMA)
    manifest = back_up(repository, source)
    broken = manifest.statements[-1]
    failing = type(broken)("index", "x", "CREATE INDEX ON public.nowhere (id)", True)
    before = rows(target, RIGHTS)
    left = f"convault_restore_{secrets.token_hex(6)}"
    run(target, f"CREATE ROLE {left} LOGIN")  # of a restore that was killed
    with pytest.raises(RestoreError, match="index x"):
        restore(
            repository,
            manifest.model_copy(update={"statements": (*manifest.statements, failing)}),
            target,
        )
    assert rows(target, RIGHTS) == before
    assert rows(target, f"SELECT FROM pg_roles WHERE rolname = '{left}'") == []


def test_where_no_other_role_is_let_in_it_says_what_to_do(
    cluster: EmbeddedPostgres, new_database: NewDatabase, repository: Repository
) -> None:
    source, target = new_database(cluster), new_database(cluster)
    run(source, SCHEMA)
    manifest = back_up(repository, source)
    name = rows(target, "SELECT quote_ident(current_database())")[0][0]
    run(target, f"REVOKE CONNECT ON DATABASE {name} FROM PUBLIC")
    with pytest.raises(RestoreError, match=r"could not log in as it.*restore as a role that owns"):
        restore(repository, manifest, target)
    with psycopg.connect(target) as connection:
        assert connection.execute(
            "SELECT FROM pg_class WHERE relname = 'conversations'"
        ).fetchall() == []  # fmt: skip
