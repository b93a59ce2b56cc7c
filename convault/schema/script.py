"""The statements as schema.sql: plain SQL that any Postgres client runs."""

from __future__ import annotations

from collections.abc import Iterable

from convault.models import Statement
from convault.sources.session import SETTINGS

RESTORE_SETTINGS = {
    **{name: SETTINGS[name] for name in (
        "search_path", "DateStyle", "IntervalStyle", "lc_monetary", "xmloption",
    )},
    "client_encoding": "UTF8",
    "standard_conforming_strings": "on",
    "array_nulls": "on",
    "check_function_bodies": "off",
}  # fmt: skip
"""Settings under which the statements are to be run: they spell out every name, write constants as
these settings do, and may make a function before the table that its body names."""

_HEAD = """\
-- The schema of a Convault backup, for an empty database: psql -v ON_ERROR_STOP=1 -f schema.sql
--
-- Types, functions, tables and what belongs to them, with triggers, row security policies and
-- privileges. Not here: views, rules, publications and owners: whoever runs this owns everything.
-- What needs something that is not part of the backup, such as a role, is commented out.
-- REDACTED-BY-CONVAULT stands where the source has a secret.
--
-- To load rows by hand, load them between the two sections.
"""


def as_script(statements: Iterable[Statement]) -> bytes:
    """UTF-8 text of schema.sql. What needs something outside the backup is commented out, so that
    the script runs in an empty database."""
    listed = list(statements)
    settings = "\n".join(f"SET {name} = '{value}';" for name, value in RESTORE_SETTINGS.items())
    sections = [
        _HEAD,
        settings + "\n",
        _title("Before the rows"),
        *(_text(s) for s in listed if not s.after_data),
        _title("After the rows"),
        *(_text(s) for s in listed if s.after_data),
    ]
    return "\n".join(sections).encode()


def _title(text: str) -> str:
    return f"--\n-- {text}\n--\n"


def _text(statement: Statement) -> str:
    sql = f"{statement.sql};\n"
    if not statement.needs:
        return sql
    lines = (f"-- {line}".rstrip() for line in sql.splitlines())
    needed = " ".join(", ".join(statement.needs).splitlines())
    note = f"-- Needs {needed}, which is not part of the backup:"
    return "\n".join((note, *lines, ""))
