"""Members of an extension come with the extension, in its schema."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from convault.embedded.server import EmbeddedPostgres
from tests.schema.judge import pg_dump, read, rows, run, write


@pytest.mark.parametrize("version", [16, 18])
@pytest.mark.parametrize("schema", ["extensions", 'Odd "one'])
def test_types_defaults_operators_and_access_methods(
    cluster_of: Callable[[int], EmbeddedPostgres],
    new_database: Callable[[EmbeddedPostgres], str],
    version: int,
    schema: str,
) -> None:
    cluster = cluster_of(version)
    source, target = new_database(cluster), new_database(cluster)
    quoted = '"' + schema.replace('"', '""') + '"'
    run(
        source,
        f"""
        CREATE SCHEMA {quoted};
        CREATE EXTENSION vector WITH SCHEMA {quoted};
        CREATE DOMAIN public.embedding AS {quoted}.vector(3)
            CHECK ({quoted}.vector_dims(VALUE) = 3);
        CREATE TABLE t (
            id int, v {quoted}.vector(3)[] DEFAULT ARRAY['[1,2,3]'::{quoted}.vector], e embedding,
            w {quoted}.vector(3),
            near float8 GENERATED ALWAYS AS (e OPERATOR({quoted}.<->) '[1,1,1]') STORED
        );
        CREATE INDEX ON t USING hnsw (w {quoted}.vector_cosine_ops) WITH (m = 4);
        """,
    )
    statements = read(source)
    assert [s.kind for s in statements[:3]] == ["schema", "extension", "type"]
    assert not any(s.needs for s in statements)
    write(target, statements, rows="INSERT INTO public.t (id, e) VALUES (1, '[1,1,2]')")
    assert pg_dump(target) == pg_dump(source)
    assert rows(target, "SELECT near FROM t") == [(1.0,)]


def test_an_extension_that_the_tables_do_not_use_stays_away(database: str) -> None:
    run(database, "CREATE EXTENSION vector; CREATE TABLE t (a int)")
    assert [s.kind for s in read(database)] == ["table"]


def test_a_target_that_has_them_already_keeps_them(
    database: str, cluster: EmbeddedPostgres, new_database: Callable[[EmbeddedPostgres], str]
) -> None:
    setup = "CREATE SCHEMA extensions; CREATE EXTENSION vector WITH SCHEMA extensions;"
    run(database, f"{setup} CREATE TABLE t (v extensions.vector)")
    target = new_database(cluster)
    run(target, setup)
    write(target, read(database))
    assert pg_dump(target) == pg_dump(database)
