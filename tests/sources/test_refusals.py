"""What would be missing or wrong without an error: refused before anything is read."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from convault.errors import UnsupportedSource
from convault.sources.postgres import PostgresSource
from tests.sources.reading import TABLES, read_all, run, source


def refusal(opened: PostgresSource) -> UnsupportedSource:
    with pytest.raises(UnsupportedSource) as caught, opened.snapshot():
        pytest.fail("a snapshot of what cannot be backed up")
    return caught.value


@pytest.mark.parametrize("column", ["file oid", "file attachment", '"my ""file" attachment'])
def test_large_objects_that_rows_name_are_refused(
    column: str, role: Callable[..., str], database: str
) -> None:
    run(database, TABLES + f"""
        CREATE DOMAIN lo AS oid; CREATE DOMAIN attachment AS lo;
        ALTER TABLE messages ADD {column};
        INSERT INTO messages VALUES (900, 1, 'see file', lo_from_bytea(0, 'content'));
    """)  # fmt: skip
    error = refusal(source(role()))
    assert error.ids["table"] == "public.messages"
    assert error.ids["column"] in ("file", 'my "file')
    assert "not backed up yet" in error.message
    run(database, "SELECT lo_unlink(oid) FROM pg_largeobject_metadata")


def test_numbers_that_name_no_large_object_are_values(database: str) -> None:
    run(database, TABLES + """
        ALTER TABLE messages ADD file oid, ADD number bigint;
        UPDATE messages SET file = 'messages'::regclass;
        CREATE TABLE elsewhere (file oid);
        INSERT INTO elsewhere VALUES (lo_from_bytea(0, 'content'));
        UPDATE messages SET number = (SELECT file::bigint FROM elsewhere);
    """)  # fmt: skip
    with source(database).snapshot() as snapshot:
        assert len(read_all(snapshot)["messages"]) == 500


@pytest.mark.parametrize("setting", ["zero_damaged_pages", "ignore_checksum_failure"])
def test_a_role_that_reads_over_damage_is_refused(
    setting: str, role: Callable[..., str], database: str
) -> None:
    run(database, TABLES)
    error = refusal(source(role(f"SET {setting} = on")))
    assert f"The setting {setting} is on for this role" in error.message
