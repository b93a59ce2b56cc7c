"""SQL of a backup never runs as a superuser: where the target's role is one, a plain role runs it.

`SET ROLE` alone would not do, as every function that runs in a superuser's session may take it
back. So the restore gets a session of its own, whose *login* is a role that Convault makes for it,
with no right but to be the plain role (`SET ROLE`) that is to own what is restored. Whatever code
of the archive resets, it comes back to that login, which may do nothing.

The superuser's session stays open meanwhile, but runs nothing of the archive: it makes the roles,
gives the plain role what the restore needs (recorded in `_Rights`), and takes it back behind it.
"""

from __future__ import annotations

import secrets
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass
from typing import Any

import psycopg
from psycopg import sql
from psycopg.conninfo import make_conninfo

from convault.errors import ConvaultError, RestoreError
from convault.manifest import Manifest
from convault.models import Statement, TableName
from convault.restore import target
from convault.restore.powers import Powers, powers_of
from convault.restore.rights import Rights
from convault.sources import session

OWNER = "convault_owner"
"""the plain role that is made where the database belongs to a superuser; it cannot log in"""
_LOGIN = "convault_restore_"
"""how the names of logins for one restore begin"""

_LEFT = """
    SELECT r.rolname FROM pg_catalog.pg_roles r
    WHERE r.rolname ~ '^convault_restore_[0-9a-f]{12}$' AND NOT EXISTS (
        SELECT FROM pg_catalog.pg_stat_activity a
        WHERE a.application_name = r.rolname OR a.usename = r.rolname)
"""
_DATABASE_OWNER = """
    SELECT r.rolname::pg_catalog.text FROM pg_catalog.pg_database d
    JOIN pg_catalog.pg_roles r ON r.oid = d.datdba
    WHERE d.datname = pg_catalog.current_database()
"""
_USED = """
    SELECT FROM pg_catalog.pg_auth_members m JOIN pg_catalog.pg_roles r ON r.oid = m.roleid
    JOIN pg_catalog.pg_roles o ON o.oid = m.member
    WHERE r.rolname = %(role)s AND o.rolname <> current_user
    UNION ALL
    SELECT FROM pg_catalog.pg_shdepend d JOIN pg_catalog.pg_roles r ON r.oid = d.refobjid
    WHERE r.rolname = %(role)s AND d.refclassid = 'pg_catalog.pg_authid'::pg_catalog.regclass
"""
_REMEDY = (
    "Nothing was changed: restore as a role that owns the database and nothing else (CREATE ROLE "
    "app LOGIN; CREATE DATABASE restored OWNER app)."
)


@dataclass(frozen=True, slots=True)
class Session:
    """How the statements of a backup are run."""

    url: str
    """holds a password"""
    role: str | None
    """that owns what is made, and that the session is to become; None: whoever logs in"""


@contextmanager
def session_for(
    url: str, manifest: Manifest, script: Sequence[Statement], tables: Sequence[TableName], *,
    owner: str | None, trusted: bool, stubs: bool,
) -> Iterator[tuple[Session, Keeper | None]]:  # fmt: skip
    """A session in which SQL of the backup may run, for tables that are to be made.

    For a plain role that is itself, for a superuser one of a plain role; then with the keeper,
    which is told when that session is there. `script` says what is needed, `trusted` whether it is
    of this installation; `tables` are there if and only if the restore committed; `stubs`: users
    are to be made in auth.users. RestoreError when the role has powers that cannot be put down, or
    the server lets no other one in.
    """
    with closing(target.connected(url)) as admin, target.refusals("to make a plain role"):
        powers = powers_of(admin)
        assert powers is not None
        if not powers.superuser:
            _require_harmless(powers)
            yield Session(url, owner), None
            return
        with _keeper(admin, url, owner, tables) as keeper:
            keeper.rights.prepare(manifest, script, trusted=trusted, stubs=stubs)
            yield Session(keeper.url, keeper.owner), keeper


@dataclass
class Keeper:
    """The superuser's side of one restore."""

    admin: psycopg.Connection[Any]
    owner: str
    login: str
    url: str
    """of the login, with its password"""
    rights: Rights
    made_owner: bool
    tables: Sequence[TableName]

    def entered(self) -> None:
        """The session is there: nobody else logs in like that."""
        self._run("ALTER ROLE {} NOLOGIN PASSWORD NULL", self.login)

    def clear(self) -> None:
        """The login goes, and the rights that were given; all of them if nothing was restored."""
        committed = any(
            self.admin.execute(
                "SELECT pg_catalog.to_regclass(%s) IS NOT NULL", (table.quoted,)
            ).fetchone()
            == (True,)
            for table in self.tables
        )
        self._run("REASSIGN OWNED BY {} TO {}", self.login, self.owner)
        self._run("DROP OWNED BY {}", self.login)
        self._run("DROP ROLE {}", self.login)
        self.rights.take_back(everything=not committed)
        if self.made_owner and not committed:
            used = self.admin.execute(_USED, {"role": self.owner}).fetchone()
            if used is None:
                self._run("DROP ROLE {}", self.owner)

    def _run(self, statement: str, *names: str) -> None:
        identifiers = [sql.Identifier(name) for name in names]
        self.admin.execute(sql.SQL(statement).format(*identifiers))


@contextmanager
def _keeper(
    admin: psycopg.Connection[Any], url: str, wanted: str | None, tables: Sequence[TableName]
) -> Iterator[Keeper]:
    login, password = f"{_LOGIN}{secrets.token_hex(6)}", secrets.token_urlsafe(24)
    admin.execute("SELECT pg_catalog.set_config('application_name', %s, false)", (login,))
    if admin.info.server_version >= 140000:
        admin.execute("SET idle_session_timeout = 0")
    for (left,) in admin.execute(_LEFT).fetchall():
        # Of a restore that was killed: its transaction is gone, so it owns nothing.
        admin.execute(sql.SQL("DROP ROLE IF EXISTS {}").format(sql.Identifier(left)))
    owner, made = _owner(admin, wanted)
    verifier = admin.pgconn.encrypt_password(password.encode(), login.encode(), b"scram-sha-256")
    admin.execute(
        sql.SQL(
            "CREATE ROLE {} LOGIN NOSUPERUSER NOCREATEDB NOCREATEROLE NOREPLICATION NOBYPASSRLS"
            " NOINHERIT PASSWORD {} IN ROLE {}"
        ).format(sql.Identifier(login), sql.Literal(verifier.decode()), sql.Identifier(owner))
    )
    address = make_conninfo(url, user=login, password=password)
    keeper = Keeper(admin, owner, login, address, Rights(admin, owner), made, tables)
    try:
        _require_entrance(keeper)
        yield keeper
    finally:
        keeper.clear()


def _owner(admin: psycopg.Connection[Any], wanted: str | None) -> tuple[str, bool]:
    """The plain role that is to own what is made, and whether it was made for that."""
    if wanted is not None:
        powers = powers_of(admin, wanted)
        if powers is None:
            raise RestoreError(
                f"The target has no role {wanted}, which --owner names. Nothing was changed: "
                "CREATE ROLE it there first."
            )
        _require_plain(wanted, powers)
        return wanted, False
    row = admin.execute(_DATABASE_OWNER).fetchone()
    assert row is not None
    powers = powers_of(admin, row[0])
    if powers is not None and powers.plain:
        return row[0], False
    powers = powers_of(admin, OWNER)
    if powers is not None:
        _require_plain(OWNER, powers)
        return OWNER, False
    try:
        admin.execute(sql.SQL("CREATE ROLE {} NOLOGIN").format(sql.Identifier(OWNER)))
    except psycopg.errors.DuplicateObject:
        return OWNER, False  # another restore was faster
    admin.execute(
        sql.SQL("COMMENT ON ROLE {} IS {}").format(
            sql.Identifier(OWNER),
            "Owns what convault restored while connected as a superuser. It has no other right.",
        )
    )
    return OWNER, True


def _require_plain(role: str, powers: Powers) -> None:
    if not powers.plain:
        raise RestoreError(
            f"The role {role} {powers}, so it is not to own what SQL of a backup makes. Nothing "
            "was changed: name a plain role with --owner."
        )


def _require_harmless(powers: Powers) -> None:
    if powers.server:
        raise RestoreError(
            f"The role that is to restore {powers}, and SQL of a backup never runs with such "
            f"rights. {_REMEDY}"
        )


def _require_entrance(keeper: Keeper) -> None:
    try:
        session.connect(keeper.url).close()
    except ConvaultError as error:
        raise RestoreError(
            "The role of the target is a superuser, and SQL of a backup never runs as one. "
            "Convault made a plain role for this restore, but could not log in as it: "
            f"{error.message} {_REMEDY}"
        ) from None
