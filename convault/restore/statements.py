"""Statements of a backup, run in the target: which may fail, and what becomes of those that do."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from typing import Any

import psycopg

from convault.errors import IntegrityError, RestoreError
from convault.models import Statement
from convault.progress import report
from convault.restore import target
from convault.sources.failures import reason, sqlstate

_NO_FAULT_OF_THE_STATEMENT = ("08", "25", "40", "53", "57", "58", "F0", "XX")
"""Classes of SQLSTATE that say that the target, not the statement, is in trouble: connections,
transactions, deadlocks, full disks, cancelled queries, broken files."""

_BROKEN_BY_ROWS = ("22", "23", "P0")
"""Classes of SQLSTATE that say that rows, not a missing object, are in a constraint's way."""

_ADDS_CONSTRAINT = re.compile(r"ALTER (TABLE|DOMAIN) .* ADD CONSTRAINT ", re.DOTALL)


_MADE = (
    r"SCHEMA|EXTENSION|COLLATION|TEXT SEARCH|TYPE|DOMAIN|FUNCTION|PROCEDURE|AGGREGATE"
    r"|(UNLOGGED )?(SEQUENCE|TABLE)|(UNIQUE )?INDEX|STATISTICS|(CONSTRAINT )?TRIGGER|POLICY"
)
_COLUMN = r'(?:"(?:[^"]|"")+"|\w[\w$]*)'
_PRIVILEGE = (
    r"(?:SELECT|INSERT|UPDATE|DELETE|TRUNCATE|REFERENCES|TRIGGER|MAINTAIN|USAGE|CREATE|EXECUTE)"
    rf"(?: \({_COLUMN}\))?"
)
_KNOWN = re.compile(
    rf"CREATE ({_MADE})\b"
    r"|ALTER (COLLATION|TEXT SEARCH|TYPE|DOMAIN|FUNCTION|SEQUENCE|TABLE|INDEX|STATISTICS)\b"
    r"|COMMENT ON\b|SELECT pg_catalog\.setval\("
    rf"|(GRANT|REVOKE) {_PRIVILEGE}(, {_PRIVILEGE})* ON (TABLE|SEQUENCE|SCHEMA|FUNCTION|TYPE)\b"
)
"""How a statement of a backup begins: none ends a transaction, or changes a setting or a role, and
privileges are those of an object, never a role's membership in another."""


@dataclass(frozen=True, slots=True)
class Fault:
    """A statement that the target refused, while everything else was restored."""

    statement: Statement
    reason: str
    """what the target said, without values"""
    not_valid: bool
    """the constraint is there for new rows, and was not asked of those that are restored"""

    @property
    def outside(self) -> bool:
        """Whether it leans on something that is not part of the backup."""
        return bool(self.statement.needs)


@dataclass(slots=True)
class Outcome:
    """What was not done as the backup says."""

    left_out: list[Statement] = field(default_factory=list)
    """as what they need is not there: `needs` has only what is missing"""
    faults: list[Fault] = field(default_factory=list)

    def add(self, other: Outcome) -> None:
        """What another run did not do."""
        self.left_out += other.left_out
        self.faults += other.faults


def known(statement: Statement) -> bool:
    """Whether it begins as the statements of backups do."""
    return _KNOWN.match(statement.sql) is not None


def run(
    connection: psycopg.Connection[Any], statements: Iterable[Statement], *, tolerate: bool
) -> Outcome:
    """Execute the statements in their order.

    One that needs something outside the backup is left out where any of that is not there, and is
    a fault where the target refuses it. Any other that is refused is a RestoreError; with
    `tolerate`, one that comes after the rows is a fault as well. A constraint that only rows are in
    the way of is then added NOT VALID. IntegrityError for what cannot be of a backup.
    """
    listed, outcome = list(statements), Outcome()
    for statement in listed:
        if not known(statement):
            raise IntegrityError(
                f"The manifest has a statement that no backup has, as {_name(statement)!r}: it was "
                "damaged or forged. Nothing was changed."
            )
    there: dict[str, bool] = {}
    for number, statement in enumerate(listed):
        report("schema", _name(statement), done=number, total=len(listed), unit="statements")
        for need in statement.needs:
            if need not in there:
                there[need] = target.exists(connection, need)
        missing = tuple(need for need in statement.needs if not there[need])
        if missing:
            outcome.left_out.append(replace(statement, needs=missing))
        elif statement.needs or (tolerate and statement.after_data):
            with target.refusals(_name(statement)):
                fault = _attempt(connection, statement)
            if fault is not None:
                outcome.faults.append(fault)
        else:
            _insist(connection, statement)
    return outcome


def _insist(connection: psycopg.Connection[Any], statement: Statement) -> None:
    try:
        with target.refusals(_name(statement)):
            _execute(connection, statement.sql)
    except RestoreError as error:
        if not statement.after_data:
            raise
        raise RestoreError(
            f"{error.message} To restore the rows and all else without it, use "
            "`convault restore --tolerate-constraints`, which tells what is missing.",
            **error.ids,
        ) from None


def _attempt(connection: psycopg.Connection[Any], statement: Statement) -> Fault | None:
    """Raises what the driver raises when it is no fault of the statement."""
    error = _refusal(connection, statement.sql)
    if error is None:
        return None
    state = sqlstate(error) or ""
    not_valid = (
        state.startswith(_BROKEN_BY_ROWS)
        and _ADDS_CONSTRAINT.match(statement.sql) is not None
        # Which kinds of constraints can be, depends on the version of the target.
        and _refusal(connection, f"{statement.sql} NOT VALID") is None
    )
    return Fault(statement, reason(error), not_valid)


def _refusal(connection: psycopg.Connection[Any], sql: str) -> psycopg.Error | None:
    """What the target says against it; then nothing of it is left."""
    refusal: psycopg.Error | None = None
    connection.execute("SAVEPOINT convault")
    try:
        _execute(connection, sql)
    except psycopg.Error as error:
        state = sqlstate(error)
        if state is None or state.startswith(_NO_FAULT_OF_THE_STATEMENT):
            raise
        connection.execute("ROLLBACK TO SAVEPOINT convault")
        refusal = error
    connection.execute("RELEASE SAVEPOINT convault")
    return refusal


def _execute(connection: psycopg.Connection[Any], sql: str) -> None:
    # Binary, as that takes the extended protocol, in which a statement cannot be two.
    connection.execute(sql.encode(), binary=True)


def _name(statement: Statement) -> str:
    return f"{statement.kind} {statement.name}"
