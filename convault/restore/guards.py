"""Live tables while rows change: no trigger and no rule of anybody's fires, row security hides
nothing, and foreign keys wait for the last row.

All of it by ALTER TABLE in the restore's own transaction, so that nobody else ever sees it, and a
failure leaves nothing behind. `session_replication_role = replica` would not do: it lets triggers
fire that are ENABLE ALWAYS or REPLICA, and it stops foreign keys from holding.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Any

import psycopg

from convault.errors import RestoreError
from convault.formats.postgres_types import quoted
from convault.models import TableName

_RELATIONS = """
    SELECT r.oid::pg_catalog.int8, r.oid::pg_catalog.regclass::pg_catalog.text,
        pg_catalog.pg_has_role(r.relowner, 'USAGE'), r.relrowsecurity AND r.relforcerowsecurity,
        pg_catalog.row_security_active(r.oid)
    FROM unnest(%s::pg_catalog.text[], %s::pg_catalog.text[]) AS w (schema, name)
    JOIN pg_catalog.pg_namespace n ON n.nspname = w.schema
    JOIN pg_catalog.pg_class c ON c.relnamespace = n.oid AND c.relname = w.name
        AND c.relkind IN ('r', 'p')
    CROSS JOIN LATERAL (
        SELECT c.oid UNION SELECT relid FROM pg_catalog.pg_partition_tree(c.oid)) t (oid)
    JOIN pg_catalog.pg_class r ON r.oid = t.oid
    ORDER BY 2
"""

_TRIGGERS = """
    SELECT t.tgrelid::pg_catalog.regclass::pg_catalog.text, t.tgname, t.tgenabled::pg_catalog.text,
        'TRIGGER', t.tgrelid::pg_catalog.int8
    FROM pg_catalog.pg_trigger t
    WHERE t.tgrelid = ANY (%(oids)s::pg_catalog.oid[]) AND NOT t.tgisinternal
        AND t.tgenabled <> 'D'
    UNION ALL
    SELECT w.ev_class::pg_catalog.regclass::pg_catalog.text, w.rulename,
        w.ev_enabled::pg_catalog.text, 'RULE', w.ev_class::pg_catalog.int8
    FROM pg_catalog.pg_rewrite w
    WHERE w.ev_class = ANY (%(oids)s::pg_catalog.oid[]) AND w.ev_type <> '1' AND w.ev_enabled <> 'D'
    ORDER BY 1, 2
"""

_KEYS = """
    SELECT c.conrelid::pg_catalog.regclass::pg_catalog.text, c.conname,
        c.conrelid::pg_catalog.int8
    FROM pg_catalog.pg_constraint c
    WHERE c.conrelid = ANY (%(oids)s::pg_catalog.oid[]) AND c.contype = 'f' AND c.conparentid = 0
        AND NOT c.condeferrable
        AND coalesce(pg_catalog.to_jsonb(c) ->> 'conenforced', 'true') = 'true'
    ORDER BY 1, 2
"""

_AGAIN = {"O": "ENABLE", "R": "ENABLE REPLICA", "A": "ENABLE ALWAYS"}
"""how a trigger or a rule comes to be what pg_trigger.tgenabled says"""


@dataclass(frozen=True, slots=True)
class _Relation:
    oid: int
    name: str
    """as SQL takes it"""
    owned: bool
    forced: bool
    hidden: bool


class Guards:
    """For some tables and all of their partitions."""

    def __init__(self, connection: psycopg.Connection[Any], tables: Collection[TableName]) -> None:
        self._connection = connection
        rows = connection.execute(
            _RELATIONS, ([t.schema for t in tables], [t.name for t in tables])
        ).fetchall()
        self._relations = list({row[0]: _Relation(*row) for row in rows}.values())
        self._undone: list[str] = []
        self._closed = True

    @property
    def names(self) -> list[str]:
        """The tables with their partitions, as SQL takes them, in order."""
        return [relation.name for relation in self._relations]

    def check(self) -> None:
        """RestoreError when this role may not keep a trigger or rule from firing, or would not see
        every row."""
        owned = {relation.oid: relation.owned for relation in self._relations}
        firing = [
            f"the {kind.lower()} {name} of {relation}"
            for relation, name, _, kind, oid in self._firing()
            if not owned[oid]
        ]
        if firing:
            raise RestoreError(
                f"While rows load, {_listed(firing)} would fire - and perhaps send a message "
                "again -, and this role may not switch that off, because it does not own the "
                "table. Nothing was changed: restore as the owner."
            )
        hidden = [r.name for r in self._relations if r.hidden and not (r.owned and r.forced)]
        if hidden:
            raise RestoreError(
                f"Row security hides rows of {_listed(hidden)} from this role, so what is there "
                "cannot be told. Nothing was changed: restore as the owner, or as a role with "
                "BYPASSRLS."
            )

    def lock(self) -> None:
        """Nobody else may write, or add a trigger, until the end of the transaction; reading goes
        on."""
        if self._relations:
            names = ", ".join(f"ONLY {relation.name}" for relation in self._relations)
            self._connection.execute(f"LOCK TABLE {names} IN SHARE ROW EXCLUSIVE MODE".encode())

    def open_eyes(self) -> None:
        """From here on row security hides nothing from this role, which owns the tables: where it
        is forced on owners too, that waits. Nobody else reads such a table meanwhile. May be
        repeated."""
        closed, self._closed = self._closed, False
        for r in self._relations if closed else ():
            if r.forced and r.owned:
                self._alter(
                    f"ALTER TABLE ONLY {r.name} NO FORCE ROW LEVEL SECURITY",
                    f"ALTER TABLE ONLY {r.name} FORCE ROW LEVEL SECURITY",
                )

    def raise_(self) -> None:
        """From here on nothing fires, and foreign keys wait."""
        self.check()
        for relation, name, state, kind, _ in self._firing():
            self._alter(
                f"ALTER TABLE ONLY {relation} DISABLE {kind} {quoted(name)}",
                f"ALTER TABLE ONLY {relation} {_AGAIN[state]} {kind} {quoted(name)}",
            )
        owned = {relation.oid for relation in self._relations if relation.owned}
        keys = self._connection.execute(_KEYS, self._oids()).fetchall()
        for relation, name, oid in keys:
            if oid in owned:
                alter = f"ALTER TABLE {relation} ALTER CONSTRAINT {quoted(name)}"
                self._alter(f"{alter} DEFERRABLE INITIALLY DEFERRED", f"{alter} NOT DEFERRABLE")
        self._connection.execute("SET CONSTRAINTS ALL DEFERRED")

    def alter(self, now: str, afterwards: str) -> None:
        """One more thing that is otherwise while the rows change."""
        self._alter(now, afterwards)

    def lower(self) -> None:
        """Every foreign key is asked, and all is as it was. The driver's error when a key does not
        hold."""
        self._connection.execute("SET CONSTRAINTS ALL IMMEDIATE")
        for sql in reversed(self._undone):
            self._connection.execute(sql.encode())
        self._undone.clear()

    def _alter(self, now: str, afterwards: str) -> None:
        self._connection.execute(now.encode())
        self._undone.append(afterwards)

    def _firing(self) -> list[Any]:
        return self._connection.execute(_TRIGGERS, self._oids()).fetchall()

    def _oids(self) -> dict[str, object]:
        return {"oids": [relation.oid for relation in self._relations]}


def unguarded(connection: psycopg.Connection[Any], tables: Sequence[TableName]) -> bool:
    """Whether a trigger or rule of the tables would fire that this role may not switch off."""
    try:
        Guards(connection, tables).check()
    except RestoreError:
        return True
    return False


def _listed(names: Sequence[str]) -> str:
    more = f" and {len(names) - 3} more" if len(names) > 3 else ""
    return ", ".join(names[:3]) + more
