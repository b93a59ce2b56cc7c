"""Any name that Postgres takes comes back, and any text in a label, a default or a comment."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from psycopg import sql

from convault.embedded.server import EmbeddedPostgres
from convault.schema import as_script
from tests.schema.judge import psql, read, run
from tests.soak import count

characters = st.characters(exclude_characters="\0", exclude_categories=["Cs"])
texts = st.text(characters, max_size=40)
names = st.one_of(
    st.sampled_from(
        ["select", "User", 'a"b', "a.b", "%s", "{}", "--", "/*", "$$", ":x", "ção", "'"]
    ),
    st.text(characters, min_size=1, max_size=15),
)

SCHEMA = """
    CREATE SCHEMA {s};
    CREATE TYPE {s}.{e} AS ENUM ({t});
    CREATE DOMAIN {s}.{d} AS text DEFAULT {t} CONSTRAINT {c} CHECK (VALUE <> {t});
    CREATE SEQUENCE {s}.{q};
    CREATE FUNCTION {s}.{f}({a} text DEFAULT {t}) RETURNS text LANGUAGE sql IMMUTABLE AS {body};
    CREATE TABLE {s}.{n} (
        {a} {s}.{e} DEFAULT {t}, {b} bigint CONSTRAINT {p} PRIMARY KEY DEFAULT nextval({sequence}),
        {k} {s}.{d} CONSTRAINT {c} CHECK ({k} <> {t}), {g} text DEFAULT {s}.{f}({t})
    );
    ALTER SEQUENCE {s}.{q} OWNED BY {s}.{n}.{b};
    CREATE INDEX {i} ON {s}.{n} ({k}, ({s}.{f}({g})));
    ALTER TABLE {s}.{n} ADD CONSTRAINT {r} FOREIGN KEY ({b}) REFERENCES {s}.{n};
    COMMENT ON COLUMN {s}.{n}.{a} IS {t};
    COMMENT ON CONSTRAINT {c} ON {s}.{n} IS {t};
"""


@pytest.fixture
def pair(
    cluster: EmbeddedPostgres, new_database: Callable[[EmbeddedPostgres], str]
) -> tuple[str, str]:
    """Source and target, used by one example after the other."""
    return new_database(cluster), new_database(cluster)


@pytest.mark.soak
@given(
    name=st.lists(names, min_size=14, max_size=14, unique=True),
    text=texts.filter(lambda text: len(text.encode()) < 63),
)
@settings(
    max_examples=count(8, 150),
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
def test_there_and_back(pair: tuple[str, str], tmp_path: Path, name: list[str], text: str) -> None:
    source, target = pair
    identifiers = dict(zip("sedcqfnabpkgir", map(sql.Identifier, name), strict=True))
    schema, sequence = (identifiers[key].as_string() for key in "sq")
    made = sql.SQL(SCHEMA).format(
        **identifiers,
        t=sql.Literal(text),
        body=sql.Literal("SELECT $1"),
        sequence=sql.Literal(f"{schema}.{sequence}"),
    )
    try:
        run(source, made.as_string())
        statements = read(source)
        script = tmp_path / "schema.sql"
        script.write_bytes(as_script(statements))
        psql(target, script)
        assert set(read(target)) == set(statements)
    finally:
        for url in pair:
            run(url, f"DROP SCHEMA IF EXISTS {schema} CASCADE")
