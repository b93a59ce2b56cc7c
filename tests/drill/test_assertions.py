"""A file of queries, taken apart as Postgres reads it."""

from __future__ import annotations

from pathlib import Path

import pytest

from convault.drill.assertions import read_assertions, split
from convault.errors import ConfigurationError
from convault.settings import Settings


@pytest.mark.parametrize(
    ("text", "queries"),
    [
        ("SELECT 1", ["SELECT 1"]),
        ("SELECT 1;;\n ; SELECT 2;", ["SELECT 1", "SELECT 2"]),
        ("SELECT ';' ; SELECT ''';'", ["SELECT ';'", "SELECT ''';'"]),
        (r"SELECT E'\';' ; SELECT '\'; SELECT 3", [r"SELECT E'\';'", r"SELECT '\'", "SELECT 3"]),
        ('SELECT ";""" ; SELECT 2', ['SELECT ";"""', "SELECT 2"]),
        ("SELECT $$a;$x$;$$; SELECT $x$;$$;$x$", ["SELECT $$a;$x$;$$", "SELECT $x$;$$;$x$"]),
        ("SELECT a$1; SELECT b$1$2", ["SELECT a$1", "SELECT b$1$2"]),
        ("SELECT 1 -- no; end\n; -- nothing\n", ["SELECT 1"]),
        ("/* a; /* b; */ c; */ SELECT 1; /* open ;", ["SELECT 1"]),
        ("SELECT 2 - 1 / 3 * 4", ["SELECT 2 - 1 / 3 * 4"]),
        (" \n;", []),
    ],
)
def test_split(text: str, queries: list[str]) -> None:
    assert [query.sql for query in split(text)] == queries


def test_a_comment_is_its_name() -> None:
    text = "-- about all\n-- more\nSELECT 1;\n-- two; \nSELECT 2; SELECT 3 -- three"
    assert [query.name for query in split(text)] == ["about all", "two;", "three"]


def test_a_file_that_cannot_be_used_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "drill.sql"
    with pytest.raises(ConfigurationError, match="No such file"):
        read_assertions(path)
    path.write_bytes(b"\xff")
    with pytest.raises(ConfigurationError, match="not UTF-8"):
        read_assertions(path)
    path.write_text("-- nothing yet;")
    with pytest.raises(ConfigurationError, match="no query"):
        read_assertions(path)
    path.write_text("SELECT 1;\nSELECT 2;\n")
    assert read_assertions(path) == [("", "SELECT 1"), ("", "SELECT 2")]


def test_its_path_is_absolute() -> None:
    with pytest.raises(ValueError, match="not an absolute path"):
        Settings(convault_drill_sql="drill.sql")  # type: ignore[arg-type]
