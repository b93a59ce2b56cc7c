"""Which statements a restore takes for a backup's, before it asks the target anything."""

from __future__ import annotations

from typing import Any, cast

import pytest

from convault.errors import IntegrityError
from convault.models import Statement
from convault.restore import statements
from tests.schema.judge import read, rich_schema, run

NOBODY = cast(Any, None)
"""no connection: nothing may be asked of it"""


@pytest.mark.parametrize("sql", [
    "GRANT pg_execute_server_program TO CURRENT_USER",
    'GRANT "SELECT ON TABLE x" TO PUBLIC',
    'GRANT "x"" ON TABLE y" TO PUBLIC',
    "GRANT select, insert TO PUBLIC",
    "GRANT SELECT, INSERT TO PUBLIC",
    "GRANT SELECT, pg_read_all_data TO PUBLIC",
    "GRANT USAGE TO PUBLIC",
    "REVOKE ADMIN OPTION FOR postgres FROM CURRENT_USER",
    "REVOKE SELECT FROM PUBLIC",
    "GRANT SELECT ON ALL TABLES IN SCHEMA pg_catalog TO PUBLIC",
    "GRANT ALTER SYSTEM ON PARAMETER work_mem TO PUBLIC",
    "GRANT SET ON PARAMETER work_mem TO PUBLIC",
    "GRANT CREATE ON DATABASE postgres TO PUBLIC",
    "GRANT CREATE ON TABLESPACE pg_default TO PUBLIC",
    "GRANT USAGE ON LANGUAGE plpgsql TO PUBLIC",
    "GRANT USAGE ON FOREIGN SERVER s TO PUBLIC",
    "CREATE EVENT TRIGGER e ON ddl_command_end EXECUTE FUNCTION f()",
    "CREATE RULE r AS ON SELECT TO t DO INSTEAD NOTHING",
    "ALTER DEFAULT PRIVILEGES GRANT SELECT ON TABLES TO PUBLIC",
    "ALTER ROLE postgres SUPERUSER",
    "COPY t FROM PROGRAM 'cat'",
    "SET ROLE postgres",
])  # fmt: skip
@pytest.mark.parametrize("before", ["", "CREATE TABLE t ()"])
def test_what_no_backup_has_is_forged(sql: str, before: str) -> None:
    """All statements are looked at before the first runs."""
    listed = [Statement("table", "t", text, True) for text in (before, sql) if text]
    with pytest.raises(IntegrityError, match="damaged or forged"):
        statements.run(NOBODY, listed, tolerate=True)


def test_every_statement_of_a_backup_is_known(database: str) -> None:
    run(database, rich_schema(18))
    for statement in read(database):
        assert statements.known(statement), statement
