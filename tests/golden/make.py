"""Make the golden repository anew: `python -m tests.golden.make --replace`.

It is what every later version has to restore, so after a release it is never made again: a version
that cannot restore it is wrong. Until then it may be, on purpose: the test knows the digest of
SHA256SUMS, and that number must be changed by hand to what this script prints.

Five backups of one database, made by the `convault` command: JSON, CSV, Parquet, some conversations
as CSV with columns masked and left out, whose manifest `rekey` superseded, and JSON that is
encrypted; all signed, in several parts. Beside them lie the identity that opens the last two, the
digest of each backup's tar and, as plain text, the rows that the database had (`expected/`, as COPY
writes them, sorted) and those of the fourth (`filtered/`).
"""

from __future__ import annotations

import itertools
import json
import os
import shutil
import subprocess
import sys
from hashlib import sha256
from pathlib import Path

import psycopg
from psycopg import sql

from convault.archive.composed import Archive
from convault.embedded.server import EmbeddedPostgres, wheel_binaries
from convault.models import TableName
from convault.repository import Repository
from convault.stores.folder import FolderStore
from tests.golden.contents import (
    HOME,
    IDENTITY,
    MASK_KEY,
    SIGNING_KEY,
    SUMS,
    digests,
    expected_path,
    rows_of,
)
from tests.independent.world import fill

WORK = Path("/tmp/convault-golden")
"""Its path is in the manifests, as the host of the source."""
FILTER = (
    *("--conversation", "3", "--conversation", "7", "--conversation", "9"),
    *("--exclude-column", "conversations.place", "--exclude-column", "conversations.size"),
    *("--mask-column", "conversations.title=null", "--mask-column", "messages.body=hash"),
)
LABEL = "TEST ONLY, of the golden repository"
COMMANDS = (
    ["init"],
    ["backup", "--format", "json"],
    ["backup", "--format", "csv", "--compression-level", "9"],
    ["backup", "--format", "parquet"],
    ["backup", "--format", "csv", *FILTER],
    ["keys", "new", "--output", "identity.txt", "--label", LABEL],
    ["rekey", "latest", "--identity", "identity.txt"],
    ["backup", "--format", "json"],
)
CHECKOUT = HOME.parent.parent
VERSION = 16
"""Of Postgres: the oldest that the tests restore into."""


def main() -> None:
    if HOME.joinpath(SUMS).exists() and sys.argv[1:] != ["--replace"]:
        sys.exit("The golden repository is there. To replace it: --replace; read this file first.")
    WORK.mkdir(mode=0o711)
    cluster = EmbeddedPostgres(
        WORK / "postgres", binaries=wheel_binaries(VERSION), options={"fsync": "off"}
    )
    try:
        cluster.start()
        with psycopg.connect(cluster.url(), autocommit=True) as connection:
            connection.execute("CREATE DATABASE app TEMPLATE template0")
            connection.execute("CREATE DATABASE catalog TEMPLATE template0")
        fill(cluster.url("app"))
        for name in ("repository", "expected", "filtered"):
            shutil.rmtree(HOME / name, ignore_errors=True)
        back_up(cluster, WORK / "repository")
        shutil.copytree(WORK / "repository", HOME / "repository")
        shutil.copy(WORK / "identity.txt", IDENTITY)
        write_expected(cluster.url("app"))
        write_tars()
    finally:
        cluster.destroy()
        shutil.rmtree(WORK)
    sums = "".join(f"{digest}  {path}\n" for path, digest in digests().items())
    (HOME / SUMS).write_text(sums)
    print("Put this into tests/golden/test_golden.py:")
    print(f'SUMS_DIGEST = "{sha256(sums.encode()).hexdigest()}"')


def back_up(cluster: EmbeddedPostgres, folder: Path) -> None:
    foreign = ("CONVAULT_", "SUPABASE_", "PREFECT_", "PG", "DATABASE_URL")
    environment = {k: v for k, v in os.environ.items() if not k.startswith(foreign)} | {
        "DATABASE_URL": cluster.url("app"),
        "CONVAULT_CATALOG_URL": cluster.url("catalog"),
        "CONVAULT_STORE_URL": folder.as_uri(),
        "CONVAULT_RANGE_PAGES": "8",
        "CONVAULT_PART_BYTES": "32768",
        "CONVAULT_SIGNING_KEY": SIGNING_KEY,
        "CONVAULT_MASK_KEY": MASK_KEY,
        "CONVAULT_HOME": str(WORK / "home"),
        "PREFECT_HOME": str(WORK / "prefect"),
        "PYTHONPATH": str(CHECKOUT),
    }
    command = [sys.executable, "-c", "from cli.main import main; main()"]
    for arguments in COMMANDS:
        # There, because `init` may write into the `.env` of its folder.
        subprocess.run([*command, *arguments], cwd=WORK, env=environment, check=True)


def write_expected(url: str) -> None:
    (HOME / "expected").mkdir()
    (HOME / "filtered").mkdir()
    with psycopg.connect(url) as connection:
        tables = connection.execute(
            "SELECT nspname, relname FROM pg_class c JOIN pg_namespace n ON n.oid = relnamespace"
            " WHERE relkind = 'r' AND nspname IN ('public', 'Caixa de entrada')"
        ).fetchall()
        for table in itertools.starmap(TableName, tables):
            expected_path(table).write_bytes(rows_of(connection, table))
            filtered = rows_of(connection, table, chosen(table))
            expected_path(table, "filtered").write_bytes(filtered)


def chosen(table: TableName) -> sql.Composable:
    """The rows of the filtered backup, by hand: their masks, and NULL for what is left out."""
    key, columns = sql.SQL("conversation_id"), sql.SQL("*")
    if table.name == "conversations":
        key = sql.SQL("id")
        columns = sql.SQL('id, NULL, open, "Mood", NULL, tags, span, spans, NULL, created_at')
    elif table.name.startswith("messages_"):
        inner, outer = (bytes(b ^ pad for b in MASK_KEY.encode().ljust(64, b"\0"))
                        for pad in (0x36, 0x5C))  # fmt: skip
        body = sql.SQL(
            "CASE WHEN body IS NOT NULL THEN"
            " encode(sha256({} || sha256({} || convert_to(body, 'UTF8'))), 'hex') END"
        ).format(sql.Literal(outer), sql.Literal(inner))
        columns = sql.SQL("id, conversation_id, sent_at, ") + body  # type: ignore[assignment]
    elif table.name == "kinds":
        key = sql.SQL("id")
    elif table.schema != "public":
        key = sql.SQL('"select"')
    return sql.SQL("SELECT {} FROM ONLY {} WHERE {} IN (3, 7, 9)").format(
        columns, sql.Identifier(*table), key
    )


def write_tars() -> None:
    store = FolderStore(HOME / "repository", "file:///golden")
    repository = Repository.open(store)
    found = {}
    for backup_id in repository.backup_ids():
        digest = sha256()
        for piece in Archive(repository, backup_id).stream():
            digest.update(piece)
        found[str(backup_id)] = digest.hexdigest()
    (HOME / "tars.json").write_text(json.dumps(found, indent=1) + "\n")


if __name__ == "__main__":
    main()
