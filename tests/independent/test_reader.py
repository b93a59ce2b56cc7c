"""docs/format.md is enough: a reader that knows nothing of Convault reads what it stored."""

from __future__ import annotations

import hmac
import json
import os
import shutil
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from contextlib import closing
from hashlib import sha256
from pathlib import Path
from typing import Any

import psycopg
import pytest
import zstandard
from psycopg import sql

from convault.dataset.filters import Filters
from convault.dataset.masking import MaskKey
from convault.dataset.scope import Scope
from convault.embedded.server import EmbeddedPostgres
from convault.encryption.objects import Encryptor
from convault.encryption.rekey import rekey
from convault.manifest import Manifest
from convault.models import BackupFormat, TableName
from convault.repository import Repository
from convault.signing.signature import SigningKeys
from convault.stores.folder import FolderStore
from tests.encryption.keys import new_key
from tests.flows.application import database as new_database
from tests.handmade import new_backup
from tests.independent.world import fill
from tests.restore.builder import back_up

READER = Path(__file__).with_name("reader.py")
RUN = """
import runpy, sys
sys.path.insert(0, sys.argv[1])
for name in ("convault", "pydantic", "polars", "pyarrow"):
    try:
        __import__(name)
    except ModuleNotFoundError:
        continue
    sys.exit(name + " is there")
sys.argv = sys.argv[2:]
runpy.run_path(sys.argv[0], run_name="__main__")
assert "convault" not in sys.modules
"""


@pytest.fixture(scope="module")
def url(cluster: EmbeddedPostgres) -> Iterator[str]:
    with new_database(cluster) as made:
        fill(made)
        yield made


@pytest.fixture
def repository(tmp_path: Path) -> Repository:
    folder = tmp_path / "repository"
    folder.mkdir()
    return Repository.create(FolderStore(folder, folder.as_uri()))


@pytest.fixture(scope="module")
def library(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with zstandard and nothing else."""
    folder = tmp_path_factory.mktemp("library")
    shutil.copytree(Path(zstandard.__file__).parent, folder / "zstandard")
    return folder


def run_reader(library: Path, folder: Path, *options: str) -> subprocess.CompletedProcess[str]:
    """Without site-packages (-S) and without anything that the environment adds (-I)."""
    return subprocess.run(
        [sys.executable, "-I", "-S", "-c", RUN, library, READER, folder, *options],
        capture_output=True,
        text=True,
        check=False,
    )


def store(repository: Repository, url: str, format: BackupFormat, level: int = 3) -> Manifest:
    manifest = back_up(repository, url, format=format, level=level)
    repository.put_manifest(manifest)
    return manifest


def texts(row: Any) -> tuple[str | None, ...]:
    """As Postgres writes them, which says `t` for true."""
    return tuple(
        None if value is None else {True: "t", False: "f"}[value]
        if isinstance(value, bool) else str(value)
        for value in row
    )  # fmt: skip


def rows_in_database(url: str, schema: str, table: str) -> Counter[tuple[str | None, ...]]:
    name = sql.Identifier(schema, table)
    return rows_asked_for(url, sql.SQL("SELECT * FROM ONLY {}").format(name))


def rows_asked_for(url: str, query: sql.Composable) -> Counter[tuple[str | None, ...]]:
    """By the settings that docs/format.md names, and Postgres' own output."""
    with closing(psycopg.connect(url, autocommit=True)) as connection:
        connection.execute(
            "SET TimeZone = 'UTC'; SET DateStyle = ISO; SET IntervalStyle = postgres;"
            " SET extra_float_digits = 3; SET bytea_output = hex; SET lc_monetary = 'C';"
            " SET xmloption = content; SET search_path = ''"
        )
        cursor = connection.execute(query)
        result = cursor.pgresult
        assert result is not None
        found: Counter[tuple[str | None, ...]] = Counter()
        for row in range(result.ntuples):
            values = [result.get_value(row, column) for column in range(result.nfields)]
            found[tuple(None if v is None else bytes(v).decode() for v in values)] += 1
        return found


@pytest.mark.parametrize(
    ("format", "level"),
    [(BackupFormat.JSON, 3), (BackupFormat.JSON, 0), (BackupFormat.CSV, 9), (BackupFormat.CSV, 0)],
)
def test_it_reads_every_row(
    repository: Repository, url: str, library: Path, tmp_path: Path, format: BackupFormat,
    level: int,
) -> None:  # fmt: skip
    manifest = store(repository, url, format, level)
    done = run_reader(library, tmp_path / "repository")
    assert done.returncode == 0, done.stderr
    read = json.loads(done.stdout)[str(manifest.backup_id)]
    assert read["signature"] == "unsigned"
    found = read["tables"]
    assert len(found) > 6
    parts = [part for table in manifest.tables for part in table.parts]
    assert len(parts) > len(found)
    for name, table in found.items():
        schema, _, table_name = name.partition(".")
        expected = rows_in_database(url, schema, table_name)
        if name in ("public.messages",):
            assert table["rows"] == [], "a partitioned table holds no rows itself"
            continue
        assert expected
        assert Counter(map(texts, table["rows"])) == expected


def refused(library: Path, folder: Path, *options: str) -> str:
    done = run_reader(library, folder, *options)
    assert done.returncode != 0
    return done.stderr.strip().splitlines()[-1]


@pytest.fixture
def small(repository: Repository, url: str) -> Manifest:
    return store(repository, url, BackupFormat.JSON)


def changed(path: Path, **values: Any) -> None:
    content = json.loads(path.read_bytes())
    (content.get("convault", content)).update(values)
    path.write_text(json.dumps(content))


def test_it_refuses_what_is_newer_and_passes_over_what_it_does_not_know(
    small: Manifest, library: Path, tmp_path: Path
) -> None:
    folder = tmp_path / "repository"
    paths = [folder / "convault.json", folder / f"backups/{small.backup_id}/datapackage.json"]
    for path in paths:
        before = path.read_bytes()
        changed(path, unheard_of=[1])
        assert run_reader(library, folder).returncode == 0
        changed(path, format=2)
        assert "newer" in refused(library, folder)
        changed(path, format=1, features=["sharded"])
        assert "sharded" in refused(library, folder)
        path.write_bytes(before)


def test_it_finds_damage(small: Manifest, library: Path, tmp_path: Path) -> None:
    folder = tmp_path / "repository"
    part = next(part for table in small.tables for part in table.parts)
    path = folder / part.key
    data = path.read_bytes()
    path.write_bytes(data[:-1] + bytes([data[-1] ^ 1]))
    assert "digest" in refused(library, folder)
    path.write_bytes(data[:-1])
    assert "size" in refused(library, folder)


def test_it_reads_several_backups_of_one_repository(
    repository: Repository, url: str, library: Path, tmp_path: Path
) -> None:
    made = [store(repository, url, BackupFormat.JSON), store(repository, url, BackupFormat.CSV)]
    done = run_reader(library, tmp_path / "repository")
    found = json.loads(done.stdout)
    assert set(found) == {str(manifest.backup_id) for manifest in made}
    one, other = (found[str(manifest.backup_id)] for manifest in made)
    assert one == other


KEY = os.urandom(32)
MASKED = Scope(
    TableName("public", "conversations"),
    TableName("public", "messages"),
    filters=Filters(conversation_ids=("3", "7", "9")),
    exclude_columns=("conversations.place", "conversations.size"),
    mask_columns=(("messages.body", "hash"), ("conversations.title", "null")),
    mask_key=MaskKey(b"m" * 32),
)
EXPECTED = {
    "public.conversations": sql.SQL(
        'SELECT id, NULL, open, "Mood", tags, span, spans, created_at'
        " FROM public.conversations WHERE id IN (3, 7, 9)"
    ),
    "public.messages_new": sql.SQL(
        "SELECT * FROM public.messages_new WHERE conversation_id IN (3, 7, 9)"
    ),
}


@pytest.mark.usefixtures("age_program")
def test_it_reads_what_is_encrypted_signed_filtered_masked_and_written_anew(
    repository: Repository, url: str, library: Path, tmp_path: Path
) -> None:
    (old, alice), (new, bob) = new_key(), new_key()
    for name, secret in (("old", old), ("new", new)):
        (tmp_path / name).write_text(secret + "\n")
    manifest = back_up(
        repository, url, scope=MASKED, encryptor=Encryptor([alice.recipient]),
        format=BackupFormat.CSV,
    )  # fmt: skip
    repository.put_manifest(manifest, SigningKeys((KEY,)))

    def read(name: str, key: bytes = KEY) -> Any:
        options = ["--identity", str(tmp_path / name), "--signing-key", key.hex()]
        done = run_reader(library, tmp_path / "repository", *options)
        assert done.returncode == 0, done.stderr
        return json.loads(done.stdout)[str(manifest.backup_id)]

    first = read("old")
    assert first["signature"] == "signed"
    assert read("old", os.urandom(32))["signature"] == "wrong"
    assert "no identity" in refused(library, tmp_path / "repository")
    rekey(
        repository, manifest.backup_id, [bob.recipient], identities=[alice],
        keys=SigningKeys((KEY,)), journals=tmp_path / "journals",
    )  # fmt: skip
    assert read("new") == first
    assert "age does not open it" in refused(
        library, tmp_path / "repository", "--identity", str(tmp_path / "old")
    )
    for name, query in EXPECTED.items():
        expected = rows_asked_for(url, query)
        assert expected
        if name == "public.messages_new":
            expected = Counter((*row[:3], mask_of(row[3])) for row in expected.elements())
        assert Counter(map(texts, first["tables"][name]["rows"])) == expected


def mask_of(text: str | None) -> str | None:
    return None if text is None else hmac.new(b"m" * 32, text.encode(), "sha256").hexdigest()


@pytest.mark.parametrize("encrypted", [False, True])
def test_it_reads_storage_files(
    encrypted: bool, repository: Repository, library: Path, tmp_path: Path
) -> None:
    secret, alice = new_key()
    (tmp_path / "identity").write_text(secret)
    files = {("media", "Foto Ç.png"): b"\x89PNG", ("other", "a/b"): b""}
    encryptor = Encryptor([alice.recipient]) if encrypted else None
    manifest = new_backup(repository, files=files, encryptor=encryptor)
    repository.put_manifest(manifest)
    options = ["--identity", str(tmp_path / "identity")] if encrypted else []
    done = run_reader(library, tmp_path / "repository", *options)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)[str(manifest.backup_id)]["files"] == {
        "media/Foto Ç.png": sha256(b"\x89PNG").hexdigest(),
        "other/a/b": sha256(b"").hexdigest(),
        "media/gone": "missing",
        "other host": "external",
    }
    path = tmp_path / "repository" / str(manifest.stored_files[0].key)
    path.write_bytes(b"X" + path.read_bytes()[1:])
    assert "digest" in refused(library, tmp_path / "repository", *options)
