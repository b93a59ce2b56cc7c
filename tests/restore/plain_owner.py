"""A database whose owner is no superuser, as most are: what a restore has to be content with."""

from __future__ import annotations

import re
import secrets
from collections.abc import Iterator
from contextlib import contextmanager

import psycopg

from convault.embedded.server import EmbeddedPostgres
from tests.databases import drop_database


@contextmanager
def owned_database(cluster: EmbeddedPostgres) -> Iterator[str]:
    """URL of an empty database, as its owner."""
    name = f"owned_{secrets.token_hex(6)}"
    with psycopg.connect(cluster.url(), autocommit=True) as connection:
        connection.execute(f"CREATE ROLE {name} LOGIN".encode())
        connection.execute(f"CREATE DATABASE {name} TEMPLATE template0 OWNER {name}".encode())
    with psycopg.connect(cluster.url(name), autocommit=True) as connection:
        connection.execute(f"ALTER SCHEMA public OWNER TO {name}".encode())
    yield as_role(cluster.url(name), name)
    with psycopg.connect(cluster.url(), autocommit=True) as connection:
        drop_database(cluster.url(), name)
        connection.execute(f"DROP OWNED BY {name}".encode())
        connection.execute(f"DROP ROLE {name}".encode())


def as_role(url: str, role: str) -> str:
    """The same database as somebody else."""
    changed = re.sub(r"//postgres@", f"//{role}@", url)
    assert changed != url
    return changed
