"""Empty databases for tests: making one takes longer than most tests, so clean ones are used again.

A database that a test is done with is emptied; it counts as new when no row of any catalog in it is
younger than those it came with, and is dropped otherwise. So a test that changes what Postgres
itself brings (a function's privileges, the schema `public`) leaves nothing to the next one.
"""

from __future__ import annotations

import secrets
from collections import defaultdict
from dataclasses import dataclass
from typing import Any

import psycopg
from psycopg import sql

from convault.embedded.server import EmbeddedPostgres
from tests.patience import awaited

USES = 25
"""of a database at most: what was dropped stays in its catalogs, which nobody vacuums here"""
_MOST_OBJECTS = 60
"""to drop one by one"""

_OWN = """
    SELECT DISTINCT o.type, o.identity FROM pg_depend d
    CROSS JOIN LATERAL pg_identify_object(d.classid, d.objid, 0) o
    WHERE d.refclassid = 'pg_namespace'::regclass AND d.refobjid = 'public'::regnamespace
      AND d.deptype = 'n' AND d.classid <> 'pg_default_acl'::regclass
"""
_SCHEMAS = """
    SELECT nspname FROM pg_namespace
    WHERE nspname NOT IN ('public', 'information_schema') AND nspname !~ '^pg_'
"""
_ORDER = {"table": 0, "view": 1, "type": 2, "composite type": 2}
"""A range type's functions go with it and cannot be dropped alone."""
_WORDS = {"statistics object": "statistics", "composite type": "type"}
"""where DROP calls a kind otherwise"""
_CATALOGS = """
    SELECT relname FROM pg_class
    WHERE relnamespace = 'pg_catalog'::regnamespace AND relkind = 'r' AND NOT relisshared
    ORDER BY relname
"""
_SHARED = """
    SELECT (SELECT xmin::text FROM pg_database WHERE datname = current_database()),
        (SELECT count(*) FROM pg_db_role_setting s JOIN pg_database d ON d.oid = s.setdatabase
         WHERE d.datname = current_database()),
        (SELECT count(*) FROM pg_subscription)
"""


def drop_database(maintenance_url: str, name: str) -> None:
    """If it is there. DROP DATABASE gives up when those whom it throws out take over 5 s to go."""
    statement = sql.SQL("DROP DATABASE IF EXISTS {} WITH (FORCE)").format(sql.Identifier(name))

    def dropped() -> bool:
        try:
            connection.execute(statement)
        except psycopg.errors.ObjectInUse:
            return False
        return True

    with psycopg.connect(maintenance_url, autocommit=True) as connection:
        awaited(dropped)


@dataclass
class _Database:
    name: str
    facts: tuple[Any, ...]
    """of the cluster's own catalogs"""
    uses: int = 1


class Databases:
    """Of all clusters of a session."""

    def __init__(self) -> None:
        self._idle: dict[str, list[_Database]] = defaultdict(list)
        self._used: dict[str, _Database] = {}
        self._oldest: dict[str, str] = {}
        """by cluster: a query that counts the rows that are younger than Postgres' own"""

    def take(self, cluster: EmbeddedPostgres) -> str:
        """URL of an empty database."""
        idle = self._idle[cluster.url()]
        if idle:
            database = idle.pop()
            database.uses += 1
        else:
            name = f"test_{secrets.token_hex(6)}"
            with psycopg.connect(cluster.url(), autocommit=True) as connection:
                connection.execute(f"CREATE DATABASE {name} TEMPLATE template0")
            with psycopg.connect(cluster.url(name), autocommit=True) as connection:
                database = _Database(name, connection.execute(_SHARED).fetchone() or ())
        self._used[cluster.url(database.name)] = database
        return cluster.url(database.name)

    def give_back(self, cluster: EmbeddedPostgres, url: str) -> None:
        """The test is done with it."""
        database = self._used.pop(url)
        if database.uses < USES and self._emptied(cluster, database, url):
            self._idle[cluster.url()].append(database)
            return
        drop_database(cluster.url(), database.name)

    def _emptied(self, cluster: EmbeddedPostgres, database: _Database, url: str) -> bool:
        try:
            with psycopg.connect(url, autocommit=True) as connection:
                connection.execute(
                    "SELECT pg_terminate_backend(pid, 300000) FROM pg_stat_activity"
                    " WHERE datname = current_database() AND pid <> pg_backend_pid()"
                )
                own = connection.execute(_OWN).fetchall()
                if len(own) > _MOST_OBJECTS:
                    return False
                for (schema,) in connection.execute(_SCHEMAS).fetchall():
                    connection.execute(
                        sql.SQL("DROP SCHEMA {} CASCADE").format(sql.Identifier(schema))
                    )
                for kind, name in sorted(own, key=lambda one: _ORDER.get(one[0], 9)):
                    word = _WORDS.get(kind, kind)
                    connection.execute(f"DROP {word} IF EXISTS {name} CASCADE".encode())
                young = self._young(cluster, connection)
                facts = connection.execute(_SHARED).fetchone()
                return connection.execute(young.encode()).fetchone() == (0,) and (
                    facts == database.facts
                )
        except psycopg.Error:
            return False  # it cannot be emptied, or is gone: another one is made

    def _young(self, cluster: EmbeddedPostgres, connection: psycopg.Connection[Any]) -> str:
        if cluster.url() not in self._oldest:
            names = [name for (name,) in connection.execute(_CATALOGS).fetchall()]
            with psycopg.connect(cluster.url("template1"), autocommit=True) as other:
                (newest,) = other.execute(
                    "SELECT max(x) FROM ("
                    + " UNION ALL ".join(
                        f"SELECT max(xmin::text::bigint) x FROM pg_catalog.{name}" for name in names
                    )
                    + ") found"
                ).fetchone() or (0,)
            self._oldest[cluster.url()] = "SELECT sum(n)::int FROM (" + " UNION ALL ".join(
                f"SELECT count(*) n FROM pg_catalog.{name} WHERE xmin::text::bigint > {newest}"
                for name in names
            ) + ") young"  # fmt: skip
        return self._oldest[cluster.url()]
