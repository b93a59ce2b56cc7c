"""One of everything, there and back: pg_dump sees no difference."""

from __future__ import annotations

import difflib
import random
from collections.abc import Callable
from pathlib import Path

import pytest

from convault.embedded.server import EmbeddedPostgres
from convault.schema import as_script
from tests.schema.judge import ROLES, pg_dump, psql, read, rich_schema, rights, rows, run, write
from tests.soak import count

NewDatabase = Callable[[EmbeddedPostgres], str]


def major(url: str) -> int:
    return int(rows(url, "SELECT current_setting('server_version_num')::int / 10000")[0][0])


@pytest.fixture
def source(any_cluster: EmbeddedPostgres, new_database: NewDatabase) -> str:
    url = new_database(any_cluster)
    run(url, rich_schema(major(url)))
    return url


def test_pg_dump_sees_no_difference(
    source: str, any_cluster: EmbeddedPostgres, new_database: NewDatabase
) -> None:
    target = new_database(any_cluster)
    statements = read(source)
    write(target, statements)
    assert pg_dump(target) == pg_dump(source)
    assert rights(target) == rights(source)
    # And what pg_dump does not show, such as where sequences stand and what is inherited.
    assert set(read(target)) == set(statements)


def test_psql_runs_the_script_in_an_empty_database(
    source: str, any_cluster: EmbeddedPostgres, new_database: NewDatabase, tmp_path: Path
) -> None:
    target, wanted = new_database(any_cluster), new_database(any_cluster)
    script = tmp_path / "schema.sql"
    statements = read(source)
    script.write_bytes(as_script(statements))
    psql(target, script)
    write(wanted, [statement for statement in statements if not statement.needs])
    assert pg_dump(target) == pg_dump(wanted)
    # All that is commented out is for roles: a script has nobody to ask whether they are there.
    commented = [statement for statement in statements if statement.needs]
    assert {s.kind for s in commented} == {"policy", "comment", "privilege"}
    assert all(need.startswith("role ") for s in commented for need in s.needs)


@pytest.mark.soak
def test_the_order_of_the_tables_does_not_matter(
    database: str, cluster: EmbeddedPostgres, new_database: NewDatabase
) -> None:
    run(database, rich_schema(major(database)))
    wanted = pg_dump(database)
    for seed in range(count(2, 30)):
        target = new_database(cluster)
        write(target, read(database, shuffled=random.Random(seed)))
        assert pg_dump(target) == wanted, f"seed {seed}"


def test_from_16_into_18(
    cluster_of: Callable[[int], EmbeddedPostgres], new_database: NewDatabase
) -> None:
    source, target = new_database(cluster_of(16)), new_database(cluster_of(18))
    run(source, rich_schema(16))
    run(target, ROLES)
    write(target, read(source))
    dumps = [
        [line for line in pg_dump(url).splitlines() if not line.startswith(("GRANT", "REVOKE"))]
        for url in (source, target)
    ]
    lines = difflib.unified_diff(*dumps, lineterm="", n=0)
    # 18 keeps track of who declared a not-null constraint, and in late_heir it was the heir too.
    assert [line for line in lines if not line.startswith(("---", "+++", "@@"))] == [
        "-    amount integer",
        "+    amount integer NOT NULL",
    ]
    # MAINTAIN is new since 17: the owner has it, and nobody to whom 16 granted ALL.
    assert rights(source) - rights(target) == set()
    more = rights(target) - rights(source)
    assert {(role, privilege) for _, role, privilege, _ in more} == {("postgres", "MAINTAIN")}
