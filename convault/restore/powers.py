"""What a role may do beyond its own database, and SQL that comes from elsewhere never must."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import psycopg

_OF_THE_SERVER = ("pg_execute_server_program", "pg_read_server_files", "pg_write_server_files")

_POWERS = """
    SELECT r.rolsuper, r.rolcreaterole, r.rolreplication,
        CASE WHEN r.rolsuper THEN '{}' ELSE ARRAY(
            SELECT p.rolname::pg_catalog.text FROM pg_catalog.pg_roles p
            WHERE (p.rolsuper OR p.rolname = ANY (%(server)s))
                AND pg_catalog.pg_has_role(r.oid, p.oid, 'MEMBER')
            ORDER BY 1) END
    FROM pg_catalog.pg_roles r WHERE r.rolname = coalesce(%(role)s, current_user)
"""


@dataclass(frozen=True, slots=True)
class Powers:
    """Of a role, by itself or by what it is a member of."""

    superuser: bool
    createrole: bool
    """in Postgres 15 and older as good as any right but a superuser's"""
    replication: bool
    member_of: tuple[str, ...] = ()
    """superusers, and roles that may run programs or touch files on the server"""

    def __str__(self) -> str:
        """For `the role ...`, such as `is a superuser`; '' for a plain one."""
        if self.superuser:
            return "is a superuser"
        if self.member_of:
            return f"is a member of {', '.join(self.member_of)}"
        if self.createrole:
            return "may make roles"
        return "may replicate" if self.replication else ""

    @property
    def server(self) -> bool:
        """Whether it is, or can make itself, somebody who does as he likes with the server."""
        return self.superuser or bool(self.member_of)

    @property
    def plain(self) -> bool:
        """Whether it has nothing but what it owns and was given."""
        return not str(self)


def powers_of(connection: psycopg.Connection[Any], role: str | None = None) -> Powers | None:
    """Of the role of that name, or of the current one; None when there is no such role."""
    row = connection.execute(_POWERS, {"role": role, "server": list(_OF_THE_SERVER)}).fetchone()
    return None if row is None else Powers(row[0], row[1], row[2], tuple(row[3]))
