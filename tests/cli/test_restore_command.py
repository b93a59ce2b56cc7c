"""`convault restore` as an operator types it: from a store alone, from a tar, into live tables."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from uuid import UUID, uuid4

import psycopg
import pytest

from cli.recovery import _credentials
from cli.restored import tell
from convault import errors
from convault.embedded.server import EmbeddedPostgres
from convault.recovery_sheet import Credential, Language, SheetFacts, sheet
from convault.repository import Repository
from convault.restore import RestoreResult
from convault.settings import load_settings
from convault.stores import open_store
from tests.cli.conftest import InProcess
from tests.restore.builder import back_up
from tests.restore.plain_owner import owned_database
from tests.restore.test_live import ROWS, SCHEMA
from tests.restore.test_selection import rows

COUNTS = (
    "SELECT (SELECT count(*) FROM channels), (SELECT count(*) FROM conversations),"
    " (SELECT count(*) FROM messages), (SELECT count(*) FROM tags)"
)


@dataclass
class Ready:
    """An installation with a signed backup, and what is left of it on a bad day."""

    store: str
    key: str
    id: str
    target: str
    target_file: Path

    @property
    def left(self) -> dict[str, str]:
        return {"CONVAULT_SIGNING_KEY": self.key}


@pytest.fixture
def ready(
    database: str, run: InProcess, tmp_path: Path, cluster: EmbeddedPostgres,
    monkeypatch: pytest.MonkeyPatch,
) -> Iterator[Ready]:  # fmt: skip
    with psycopg.connect(database, autocommit=True) as connection:
        connection.execute(SCHEMA.encode())
        connection.execute(ROWS.encode())
    (tmp_path / "store").mkdir(mode=0o700)
    url = (tmp_path / "store").as_uri()
    assert run("init", DATABASE_URL=database, CONVAULT_STORE_URL=url).status == 0
    repository = Repository.open(open_store(url))
    signing = load_settings().signing
    manifest = back_up(repository, database)
    repository.put_manifest(manifest, signing)
    (env,) = (tmp_path / ".env").read_text().splitlines()
    (tmp_path / ".env").unlink()
    for name in ("DATABASE_URL", "CONVAULT_STORE_URL"):
        monkeypatch.delenv(name)
    with owned_database(cluster) as target:
        file = tmp_path / "target.txt"
        file.write_text(target + "\n")
        file.chmod(0o600)
        key = env.partition("=")[2].strip("'\"")
        yield Ready(url, key, str(manifest.backup_id), target, file)


def test_a_repository_alone_is_enough(ready: Ready, run: InProcess) -> None:
    """No catalog, no Prefect server, no API, no `.env`: a store's URL, and an empty database."""
    given = ("restore", "latest", "--from-store", ready.store, "--into-file", ready.target_file)
    tried = run(*given, "--dry-run", **ready.left)
    assert tried.status == 0, tried.err
    assert "A dry run: nothing was changed." in tried.err
    assert rows(ready.target, "SELECT FROM pg_class WHERE relname = 'messages'") == []
    done = run(*given, "--json", **ready.left)
    assert done.status == 0, done.err
    assert done.json["signature"] == "signed"
    assert rows(ready.target, COUNTS) == [(2, 10, 100, 4)]
    assert {c["table"]: c["inserted"] for c in done.json["changes"]}["messages"] == 100


@pytest.mark.parametrize("prefix", [8, 36])
def test_an_id_or_its_beginning_names_a_backup(ready: Ready, run: InProcess, prefix: int) -> None:
    done = run(
        "restore", ready.id[:prefix], "--from-store", ready.store,
        "--into-file", ready.target_file, "--table", "channels", **ready.left,
    )  # fmt: skip
    assert done.status == 0, done.err
    assert rows(ready.target, COUNTS) == [(2, 0, 0, 0)]


def test_live_tables_and_back(ready: Ready, run: InProcess) -> None:
    where = ("--from-store", ready.store, "--into-file", ready.target_file)
    assert run("restore", "latest", *where, **ready.left).status == 0
    with psycopg.connect(ready.target) as connection:
        connection.execute("UPDATE conversations SET last_message = NULL")
        connection.execute("DELETE FROM messages WHERE conversation_id = 3")
        connection.execute("UPDATE messages SET body = 'changed' WHERE id = 1")
    refused = run("restore", "latest", *where, **ready.left)
    assert refused.status == errors.RestoreError.exit_code
    assert "--mode skip" in refused.err
    one = run("restore", "latest", *where, "--conversation", "3", "--mode", "skip", **ready.left)
    assert one.status == 0, one.err
    assert rows(ready.target, COUNTS) == [(2, 10, 100, 4)]
    assert rows(ready.target, "SELECT body FROM messages WHERE id = 1") == [("changed",)]
    done = run("restore", "latest", *where, "--mode", "overwrite", "--json", **ready.left)
    assert done.status == 0, done.err
    assert rows(ready.target, "SELECT body FROM messages WHERE id = 1") == [("body 1",)]
    back = run(
        "restore", "--undo", done.json["restore_id"], "--into-file", ready.target_file, "--json"
    )
    assert back.status == 0, back.err
    assert rows(ready.target, "SELECT body FROM messages WHERE id = 1") == [("changed",)]


def test_rows_that_are_there_already_are_not_called_restored(ready: Ready, run: InProcess) -> None:
    where = ("--from-store", ready.store, "--into-file", ready.target_file)
    assert "Restored 216 rows in " in run("restore", "latest", *where, **ready.left).err
    again = run("restore", "latest", *where, "--mode", "skip", **ready.left)
    assert again.status == 0, again.err
    assert "Restored 0 rows in " in again.err
    assert " 216 were skipped." in again.err


def test_a_filtered_backup_is_told_to_be_one(
    ready: Ready, capfdbinary: pytest.CaptureFixture[bytes]
) -> None:
    """Whoever restores it has to see that it is not everything."""
    whole = Repository.open(open_store(ready.store)).manifest(UUID(ready.id))
    result = RestoreResult({}, 0.1, (), (), (), {}, dry_run=True)
    tell(whole, result)
    assert b"filtered" not in capfdbinary.readouterr().err
    tell(whole.model_copy(update={"options": {**whole.options, "startDate": "2026-01-01"}}), result)
    told = b"This backup is filtered, and holds nothing else: from 2026-01-01."
    assert told in capfdbinary.readouterr().err


def test_latest_is_the_newest_full_one_and_a_store_alone_lists_all(
    ready: Ready, run: InProcess
) -> None:
    repository = Repository.open(open_store(ready.store))
    whole = repository.manifest(UUID(ready.id))
    part = whole.model_copy(
        update={
            "index": None, "members": (), "backup_id": uuid4(),
            "created_at": whole.created_at + timedelta(hours=1),
            "options": {**whole.options, "status": ["open"]},
        }
    )  # fmt: skip
    repository.put_manifest(part)
    listed = run("list", "--from-store", ready.store, "--json")
    assert [(b["id"], b["full"]) for b in listed.json] == [
        (str(part.backup_id), False), (ready.id, True),
    ]  # fmt: skip
    text = run("list", "--from-store", ready.store)
    assert "1 status " in text.out.replace("\n", " ")
    assert "not what `latest` means" in text.err
    where = ("--from-store", ready.store, "--into-file", ready.target_file)
    dry = run("restore", "latest", *where, "--dry-run", "--json", **ready.left)
    assert dry.json["id"] == ready.id
    sheet = run("recovery-sheet", CONVAULT_STORE_URL=ready.store, **ready.left)
    assert ready.id in sheet.out
    assert str(part.backup_id) not in sheet.out
    for key in list(repository.store.list(f"backups/{ready.id}/")):
        repository.store.delete(key.key)
    refused = run("restore", "latest", *where, **ready.left)
    assert refused.status == errors.NotFoundError.exit_code
    assert f"hold a part: {part.backup_id} (1 status)" in refused.err


@pytest.mark.parametrize("language", ["en", "pt"])
def test_the_sheet_of_a_supabase_bucket_names_what_opens_it(
    language: Language, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SUPABASE_SERVICE_ROLE_KEY", "SeCrEt0123456789")
    monkeypatch.setenv("CONVAULT_STORE_URL", "supabase://backups/convault")
    credentials = _credentials(load_settings(), encrypted=False)
    assert {c.variable: c.kept for c in credentials if c.purpose == "store"} == {
        "SUPABASE_URL": "nowhere", "SUPABASE_SERVICE_ROLE_KEY": "environment",
    }  # fmt: skip
    facts = SheetFacts(
        store="supabase://backups/convault", region="", repository_id="r", env_file=".env",
        credentials=credentials, signing_keys=(), recipients=(), newest=None, version="1",
        made_at=datetime(2026, 1, 1, tzinfo=UTC),
    )  # fmt: skip
    text = sheet(facts, language)
    for told in ("SUPABASE_SERVICE_ROLE_KEY='...'", "Supabase", "API",
                 "convault list --from-store 'supabase://backups/convault'"):  # fmt: skip
        assert told in text
    assert "SeCrEt" not in text


def test_what_would_go_is_asked_about(ready: Ready, run: InProcess) -> None:
    where = ("--from-store", ready.store, "--into-file", ready.target_file)
    assert run("restore", "latest", *where, **ready.left).status == 0
    with psycopg.connect(ready.target) as connection:
        connection.execute("INSERT INTO messages (conversation_id, body) VALUES (1, 'newer')")
    refused = run("restore", "latest", *where, "--mode", "replace", **ready.left)
    assert refused.status == errors.RestoreError.exit_code
    assert "1 live rows that are newer" in refused.err
    done = run("restore", "latest", *where, "--mode", "replace", "--yes", **ready.left)
    assert done.status == 0, done.err
    assert "convault restore --undo" in done.err
    assert rows(ready.target, COUNTS) == [(2, 10, 100, 4)]


def test_a_tar_restores_as_well(ready: Ready, run: InProcess, tmp_path: Path) -> None:
    from convault.archive.composed import Archive

    tar = tmp_path / "school.tar"
    tar.write_bytes(
        b"".join(Archive(Repository.open(open_store(ready.store)), UUID(ready.id)).stream())
    )
    given = ("restore", "--from-tar", tar, "--into-file", ready.target_file)
    one = run(*given, "--conversation", "3", **ready.left)
    assert one.status == 0, one.err
    assert rows(ready.target, "SELECT count(*) FROM messages WHERE conversation_id = 3") == [(10,)]
    done = run(*given, "--mode", "skip", **ready.left)
    assert done.status == 0, done.err
    assert rows(ready.target, COUNTS) == [(2, 10, 100, 4)]


@pytest.mark.parametrize(
    ("damage", "says"),
    [
        (lambda data: data[: len(data) // 2], "ends before|cut off"),
        (lambda data: data[:1], "cut off"),
        (lambda data: b"", "cut off"),
        (lambda data: data[:-1030], "cut off"),
        (
            lambda data: data.replace(b"messages/00000", b"messages/00009", 1),
            "must be|malformed|signature",
        ),
        (lambda data: bytes([data[0] ^ 1]) + data[1:], "refused"),
    ],
    ids=["half", "one byte", "nothing", "almost all", "another name", "a bit"],
)
def test_a_damaged_tar_is_refused_and_nothing_is_made(
    ready: Ready, run: InProcess, tmp_path: Path, damage: Callable[[bytes], bytes], says: str
) -> None:
    from convault.archive.composed import Archive

    repository = Repository.open(open_store(ready.store))
    tar = tmp_path / "school.tar"
    tar.write_bytes(damage(b"".join(Archive(repository, UUID(ready.id)).stream())))
    done = run("restore", "--from-tar", tar, "--into-file", ready.target_file, **ready.left)
    assert done.status in (
        errors.IntegrityError.exit_code, errors.RepositoryError.exit_code,
        errors.SignatureError.exit_code,
    )  # fmt: skip
    assert any(word in done.err for word in says.split("|")), done.err
    assert rows(ready.target, "SELECT FROM pg_class WHERE relname = 'messages'") == []


def test_what_is_not_signed_is_refused_without_trust(ready: Ready, run: InProcess) -> None:
    """No key, another key: neither shows that the archive is the operator's own."""
    given = ("restore", "latest", "--from-store", ready.store, "--into-file", ready.target_file)
    for key in ({}, {"CONVAULT_SIGNING_KEY": "a1b2c3d4e5f60718" * 4}):
        done = run(*given, **key)
        assert done.status == errors.SignatureError.exit_code
        assert "--trust" in done.err
    shown = run(*given, "--trust")
    assert shown.status == errors.RestoreError.exit_code
    assert "GENERATED ALWAYS AS" in shown.err
    assert rows(ready.target, "SELECT FROM pg_class WHERE relname = 'messages'") == []
    done = run(*given, "--trust", "--yes")
    assert done.status == 0, done.err
    assert rows(ready.target, COUNTS) == [(2, 10, 100, 4)]


@pytest.mark.parametrize(
    ("options", "says"),
    [
        (("latest", "--from-tar", "x.tar"), "leave the ID"),
        ((), "Which backup"),
        (("--from-tar", "nowhere.tar"), "no file"),
        (("latest", "--mode", "sometimes"), "mode"),
        (("latest", "--since", "yesterday"), "--since"),
        (("latest", "--since", "2024-02-01", "--until", "2024-01-01"), "before"),
        (("latest", "--mode", "replace", "--table", "messages"), "cannot go with"),
        (("latest", "--missing-users", "all"), "missing"),
        (("--undo", "it"), "--undo"),
    ],
)
def test_bad_input_is_told_before_anything_is_started(
    ready: Ready, run: InProcess, options: tuple[str, ...], says: str
) -> None:
    from_store = ("--from-store", ready.store) if options[:1] == ("latest",) else ()
    if "--from-tar" in options:
        from_store = ()
    done = run("restore", *options, *from_store, "--into-file", ready.target_file, **ready.left)
    assert done.status not in (0, 1, 2)
    assert says in done.err
    assert rows(ready.target, "SELECT FROM pg_class WHERE relname = 'messages'") == []


@pytest.mark.parametrize("language", ["en", "pt"])
def test_the_recovery_sheet_leads_back_and_holds_no_secret(
    ready: Ready, run: InProcess, language: str
) -> None:
    secret = "SeCrEt0123456789"
    done = run(
        "recovery-sheet", "--language", language, CONVAULT_STORE_URL=ready.store,
        DATABASE_URL=f"postgresql://me:{secret}@127.0.0.1:1/db", AWS_SECRET_ACCESS_KEY=secret,
        **ready.left,
    )  # fmt: skip
    assert done.status == 0, done.err
    assert secret not in done.out + done.err
    assert ready.key not in done.out + done.err
    assert ready.store in done.out
    assert ready.id in done.out
    assert "CONVAULT_SIGNING_KEY" in done.out
    assert ("Folha de recuperação" in done.out) is (language == "pt")
    # Its commands are what they say: the line that restores does.
    line = next(
        words for words in done.out.splitlines() if words.strip().startswith("convault restore")
        and "--dry-run" not in words and "--conversation" not in words
    )  # fmt: skip
    import shlex

    words = shlex.split(line)[1:]
    words[words.index("target.txt")] = str(ready.target_file)
    restored = run(*words, **ready.left)
    assert restored.status == 0, restored.err
    assert rows(ready.target, COUNTS) == [(2, 10, 100, 4)]


def test_the_sheet_of_a_bucket_names_its_region_and_what_opens_it() -> None:
    facts = SheetFacts(
        store="s3://backups/convault?region=sa-east-1", region="sa-east-1", repository_id="r",
        env_file="/srv/convault/.env",
        credentials=(
            Credential("AWS_ACCESS_KEY_ID", ".env", "store"),
            Credential("AWS_SECRET_ACCESS_KEY", "environment", "store"),
            Credential("CONVAULT_SIGNING_KEY", "nowhere", "signing"),
        ),
        signing_keys=(), recipients=("age1xyz",), newest=None, version="1",
        made_at=datetime(2026, 1, 1, tzinfo=UTC),
    )  # fmt: skip
    text = sheet(facts, "pt")
    for told in ("sa-east-1", "AWS_SECRET_ACCESS_KEY", "/srv/convault/.env", "NÃO DEFINIDO",
                 "--identity identity.txt", "age1xyz"):  # fmt: skip
        assert told in text
