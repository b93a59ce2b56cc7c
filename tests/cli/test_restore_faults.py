"""How `convault restore` tells that not everything is as it was."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import psycopg
import pytest

from convault import errors
from convault.repository import Repository
from convault.settings import load_settings
from convault.stores import open_store
from tests.cli.conftest import InProcess
from tests.restore.builder import back_up
from tests.restore.conftest import target as target  # a second database

CONVERSATIONS = """
    CREATE TABLE public.conversations (id integer PRIMARY KEY, subject text);
    CREATE TABLE public.messages (
        id integer PRIMARY KEY, conversation_id integer CONSTRAINT of_conversation
        REFERENCES public.conversations, body text);
    INSERT INTO public.conversations VALUES (1, 'a');
    ALTER TABLE public.messages DISABLE TRIGGER ALL;
    INSERT INTO public.messages VALUES (1, 1, 'x'), (2, 99, 'orphan');
"""

Installed = Callable[[str], dict[str, str]]


@pytest.fixture
def installed(database: str, run: InProcess, tmp_path: Path) -> Installed:
    """Run SQL in the source, and back it up; the environment for commands."""

    def install(sql: str) -> dict[str, str]:
        with psycopg.connect(database, autocommit=True) as connection:
            connection.execute(sql.encode())
        (tmp_path / "store").mkdir(mode=0o700)
        url = (tmp_path / "store").as_uri()
        environment = {"DATABASE_URL": database, "CONVAULT_STORE_URL": url}
        assert run("init", **environment).status == 0
        repository = Repository.open(open_store(url))
        repository.put_manifest(back_up(repository, database), load_settings().signing)
        assert run("init", **environment).status == 0  # which lists it
        return environment

    return install


def test_a_fault_is_told_and_is_a_status_of_its_own(
    installed: Installed, run: InProcess, target: str
) -> None:
    environment = installed(CONVERSATIONS)
    refused = run("restore", "latest", "--into", target, **environment)
    assert refused.status == errors.RestoreError.exit_code
    assert "--tolerate-constraints" in refused.err
    done = run("restore", "latest", "--into", target, "--tolerate-constraints", **environment)
    assert done.status == errors.RestoredWithFaults.exit_code == 61
    assert "not valid for the restored rows: foreign key of_conversation" in done.err
    assert done.err.splitlines()[-1].startswith("convault: All rows were restored")
    with psycopg.connect(target) as connection:
        assert connection.execute("SELECT count(*) FROM messages").fetchone() == (2,)


def test_a_fault_in_json(installed: Installed, run: InProcess, target: str) -> None:
    environment = installed(CONVERSATIONS)
    done = run(
        "restore", "latest", "--into", target, "--tolerate-constraints", "--json", **environment
    )
    assert done.status == errors.RestoredWithFaults.exit_code
    (fault,) = done.json["faults"]
    assert fault == {
        "kind": "foreign key",
        "name": "of_conversation on public.messages",
        "needs": [],
        "reason": "ForeignKeyViolation (23503)",
        "not_valid": True,
    }


def test_what_is_left_out_and_what_lost_its_secret_is_told(
    installed: Installed, run: InProcess, target: str
) -> None:
    environment = installed(
        CONVERSATIONS.replace("DISABLE", "ENABLE").replace(", (2, 99, 'orphan')", "")
        + "COMMENT ON TABLE public.messages IS 'see sb_secret_A1b2c3d4';"
        + "CREATE SCHEMA auth; CREATE FUNCTION auth.uid() RETURNS int RETURN 1;"
        + "".join(
            f"CREATE POLICY p{n:02} ON public.messages USING (id = auth.uid());" for n in range(11)
        )
    )
    done = run("restore", "latest", "--into", target, **environment)
    assert done.status == 0, done.err
    names = ", ".join(f"p{n:02} on public.messages" for n in range(8))
    told = " ".join(done.err.split())
    assert f"left out, as auth.uid() is not there: policy {names} and 3 more" in told
    assert "without its secret (sb_secret_ key): comment public.messages" in told
    assert "A1b2c3d4" not in done.err
    with psycopg.connect(target, autocommit=True) as connection:
        connection.execute("DROP SCHEMA public CASCADE; CREATE SCHEMA public")
    done = run("restore", "latest", "--into", target, "--json", **environment)
    assert done.status == 0, done.err
    assert len(done.json["left_out"]) == 11
    assert done.json["left_out"][0] == {
        "kind": "policy", "name": "p00 on public.messages", "needs": ["auth.uid()"],
        "sql": "CREATE POLICY p00 ON public.messages AS PERMISSIVE FOR ALL TO PUBLIC"
        " USING ((id = auth.uid()))",
    }  # fmt: skip
    assert done.json["redacted"] == [
        {"kind": "comment", "name": "public.messages", "secrets": ["sb_secret_ key"]}
    ]


def test_other_generated_values_are_told(installed: Installed, run: InProcess, target: str) -> None:
    environment = installed("""
        CREATE TABLE public.conversations (id integer PRIMARY KEY);
        CREATE FUNCTION public.size_of(text) RETURNS integer IMMUTABLE RETURN length($1);
        CREATE TABLE public.messages (
            conversation_id integer REFERENCES public.conversations, body text,
            size integer GENERATED ALWAYS AS (public.size_of(body)) STORED);
        INSERT INTO public.messages VALUES (NULL, 'x');
        CREATE OR REPLACE FUNCTION public.size_of(text) RETURNS integer IMMUTABLE RETURN 2;
    """)
    done = run("restore", "latest", "--into", target, "--tolerate-constraints", **environment)
    assert done.status == errors.RestoredWithFaults.exit_code
    assert "1 rows of public.messages" in done.err
