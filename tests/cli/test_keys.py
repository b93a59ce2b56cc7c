"""`convault keys` and `rekey`, `--identity` and `--trust`: on a real catalog and a real store."""

from __future__ import annotations

import json
import os
import stat
import subprocess
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from uuid import UUID

import psycopg
import pytest

from convault import errors
from convault.embedded.server import EmbeddedPostgres
from convault.encryption import age
from convault.encryption.objects import Encryptor
from convault.env_file import put_variable
from convault.repository import Repository
from convault.settings import load_settings
from convault.signing.signature import SigningKeys, new_key
from convault.stores import open_store
from tests.cli.conftest import COMMAND, InProcess, clean_environment
from tests.encryption.keys import new_key as new_identity
from tests.patience import PATIENCE, awaited
from tests.restore.builder import back_up
from tests.restore.conftest import target as target  # a second database
from tests.restore.plain_owner import owned_database

PASSPHRASE = "uma senha que não se vê"
CONVERSATIONS = """
    CREATE TABLE public.conversations (id integer PRIMARY KEY, subject text);
    CREATE TABLE public.messages (
        id integer PRIMARY KEY, conversation_id integer REFERENCES public.conversations, body text);
    INSERT INTO public.conversations VALUES (1, 'a');
    INSERT INTO public.messages SELECT n, 1, 'body ' || n FROM generate_series(1, 100) n;
"""


class House:
    """An installation whose backups are made without Prefect."""

    def __init__(self, database: str, store: Path, home: Path) -> None:
        self.database = database
        self.environment = {
            "DATABASE_URL": database,
            "CONVAULT_STORE_URL": store.as_uri(),
            "CONVAULT_HOME": str(home),
        }

    @property
    def repository(self) -> Repository:
        return Repository.open(open_store(self.environment["CONVAULT_STORE_URL"]))

    def back_up(self, *recipients: str, keys: SigningKeys | None = None) -> UUID:
        encryptor = Encryptor(recipients) if recipients else None
        repository = self.repository
        manifest = back_up(repository, self.database, encryptor=encryptor)
        repository.put_manifest(manifest, load_settings().signing if keys is None else keys)
        return manifest.backup_id


@pytest.fixture
def house(database: str, run: InProcess, tmp_path: Path) -> House:
    """Initialised, with a signing key in `.env`, and no backup yet."""
    with psycopg.connect(database, autocommit=True) as connection:
        connection.execute(CONVERSATIONS)
    (tmp_path / "store").mkdir(mode=0o700)
    made = House(database, tmp_path / "store", tmp_path / "home")
    done = run("init", "--json", **made.environment)
    assert done.status == 0
    assert done.json["signing_key"]["made"]
    assert load_settings().signing.ids == tuple(done.json["signing_key"]["key_ids"])
    return made


def identity_file(path: Path, secret: str) -> Path:
    path.write_text(f"{secret}\n")
    path.chmod(0o600)
    return path


# keys


def test_a_new_key_is_written_and_only_its_public_half_is_told(
    house: House, run: InProcess
) -> None:
    done = run("keys", "new", "--output", "key.txt", "--label", "office", **house.environment)
    public_key = done.out.strip()
    assert done.status == 0
    assert age.check_recipient(public_key) == public_key
    path = Path("key.txt")
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert "AGE-SECRET-KEY" not in done.out + done.err
    assert "AGE-SECRET-KEY" in path.read_text()
    assert "New backups are encrypted to it" in done.err
    assert "a copy of it elsewhere" in done.err
    (shown,) = run("keys", "show", "--json").json
    assert (shown["public_key"], shown["label"], shown["active"]) == (public_key, "office", True)
    assert shown["opens"] == []
    before = path.read_bytes()
    again = run("keys", "new", "--output", "key.txt")
    assert again.status == errors.ConfigurationError.exit_code
    assert "there already" in again.err
    assert path.read_bytes() == before


def test_a_new_key_needs_no_settings(run: InProcess, monkeypatch: pytest.MonkeyPatch) -> None:
    done = run("keys", "new", "--json")
    found = done.json
    assert found["recipient"] is False
    assert Path(found["file"]).name == "convault-identity.txt"
    assert f"convault keys add {found['public_key']}" in done.err


def test_a_secret_key_is_not_put_into_the_store(house: House, run: InProcess) -> None:
    store = house.environment["CONVAULT_STORE_URL"].removeprefix("file://")
    done = run("keys", "new", "--output", f"{store}/key.txt")
    assert done.status == errors.ConfigurationError.exit_code
    assert "lies in the store" in done.err
    assert not Path(store, "key.txt").exists()


def test_recipients_are_added_shown_and_retired(house: House, run: InProcess) -> None:
    first, second = new_identity()[1].recipient, new_identity()[1].recipient
    assert run("keys", "add", first, "--label", "office", **house.environment).out == f"{first}\n"
    old = house.back_up(first)
    assert run("keys", "add", second, "--json").json["retired_at"] is None
    new = house.back_up(first, second)
    refused = run("keys", "retire", first)
    assert refused.status == 0
    last = run("keys", "retire", second)
    assert last.status == errors.EncryptionError.exit_code
    assert "--last" in last.err
    shown = {found["public_key"]: found for found in run("keys", "show", "--json").json}
    assert set(shown[first]["opens"]) == {str(old), str(new)}
    assert shown[second]["opens"] == [str(new)]
    assert (shown[first]["active"], shown[second]["active"]) == (False, True)
    text = run("keys", "show").out
    for word in (first, second, "retired", "active", "office", str(old)[:8], str(new)[:8]):
        assert word in text
    unknown = run("keys", "retire", new_identity()[1].recipient)
    assert unknown.status == errors.NotFoundError.exit_code
    for word in ("age1wrong", new_identity()[0]):
        malformed = run("keys", "add", word)
        assert malformed.status == errors.ConfigurationError.exit_code
        assert "AGE-SECRET-KEY-1" not in malformed.err


def test_a_backup_is_refused_before_prefect_starts(house: House, run: InProcess) -> None:
    key = new_identity()[1].recipient
    run("keys", "add", key, **house.environment)
    assert run("keys", "retire", key, "--last").status == 0
    done = run("backup")
    assert done.status == errors.RecipientMissing.exit_code
    assert "convault keys add" in done.err


# Reading


def test_restore_and_extract_want_the_right_key(
    house: House, run: InProcess, target: str, tmp_path: Path
) -> None:
    secret, alice = new_identity()
    other, eve = new_identity()
    house.back_up(alice.recipient)
    run("init", **house.environment)
    right = identity_file(tmp_path / "right.txt", secret)
    wrong = identity_file(tmp_path / "wrong.txt", other)
    assert run("download", "latest", "-o", "b.tar").status == 0
    commands = [
        ["restore", "latest", "--into", target],
        ["extract", "latest", "out"],
        ["extract", "b.tar", "out"],
    ]
    for command in commands:
        needed = run(*command)
        assert needed.status == errors.IdentityNeeded.exit_code
        assert alice.recipient in needed.err
        refused = run(*command, "--identity", wrong)
        assert refused.status == errors.WrongIdentity.exit_code
        assert alice.recipient in refused.err
        assert eve.recipient in refused.err
        lost = run(*command, "--identity", tmp_path / "lost.txt")
        assert lost.status == errors.IdentityMissing.exit_code
        assert not Path("out").exists()
        if command[0] == "restore":
            with psycopg.connect(target) as connection:
                query = "SELECT count(*) FROM pg_tables WHERE schemaname = 'public'"
                assert connection.execute(query).fetchone() == (0,)
        done = run(*command, "--identity", wrong, "--identity", right, "--json")
        assert done.status == 0, done.err
        assert done.json["signature"] == "signed"
        if command[0] == "extract":
            subprocess.run(["sha256sum", "-c", "--quiet", "SHA256SUMS"], cwd="out", check=True)
            plain = subprocess.run(
                "zstd -dc messages/*.zst", shell=True, cwd="out", capture_output=True, check=True
            ).stdout
            assert len([json.loads(line) for line in plain.splitlines()]) == 100
            subprocess.run(["rm", "-r", "out"], check=True)
    Path("out").mkdir()
    assert run("extract", "latest", "out", CONVAULT_IDENTITY_FILE=str(right)).status == 0
    for command in (["list"], ["show", "latest"]):
        assert run(*command).status == 0
    shown = run("show", "latest", "--json").json
    assert shown["contents"]["encryption"]["recipients"] == [alice.recipient]
    assert "encrypted to" in run("show", "latest").out


@contextmanager
def processes_watched() -> Iterator[set[bytes]]:
    """The command lines of everything that runs meanwhile, but for this process."""
    seen: set[bytes] = set()
    over = threading.Event()

    def watch() -> None:
        while not over.wait(0.2):
            for path in Path("/proc").glob("[0-9]*/cmdline"):
                if path.parent.name != str(os.getpid()):
                    with suppress(OSError):  # it ended meanwhile
                        seen.add(path.read_bytes())

    watcher = threading.Thread(target=watch)
    watcher.start()
    try:
        yield seen
    finally:
        over.set()
        watcher.join()


def test_a_passphrase_goes_nowhere(
    house: House, run: InProcess, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Made, used in a process of its own, and wrong: neither it nor the secret key is told."""
    file = identity_file(tmp_path / "pass", PASSPHRASE)
    environment = {**house.environment, "CONVAULT_IDENTITY_PASSPHRASE_FILE": str(file)}
    key = tmp_path / "key.txt"
    made = run("keys", "new", "-o", key, "--passphrase", **environment)
    assert made.status == 0
    house.back_up(made.out.strip())
    run("init")
    with (
        processes_watched() as seen,
        subprocess.Popen(
            [*COMMAND[:-1], f"import sys; sys.stdin.read(); {COMMAND[-1]}", "extract", "latest",
             "out", "--identity", key],
            cwd=tmp_path, env=clean_environment(**environment), stdin=subprocess.PIPE,
            stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        ) as extract,
    ):  # fmt: skip
        # It begins once it was seen: on a busy machine the watcher may be the slower one.
        awaited(
            lambda: any(
                {b"extract", os.fsencode(key)} <= {*line.split(b"\0")} for line in seen.copy()
            )
        )
        out, err = extract.communicate(timeout=PATIENCE)
    assert extract.returncode == 0, err
    identity_file(tmp_path / "pass", "another")
    wrong = run("extract", "latest", "elsewhere", "--identity", key)
    assert wrong.status == errors.WrongPassphrase.exit_code
    monkeypatch.delenv("CONVAULT_IDENTITY_PASSPHRASE_FILE")
    nobody = run("extract", "latest", "elsewhere", "--identity", key)
    assert nobody.status == errors.ConfigurationError.exit_code
    assert "CONVAULT_IDENTITY_PASSPHRASE_FILE" in nobody.err
    secret = age.decrypt_with_passphrase(key.read_bytes(), PASSPHRASE).decode().split()[-1]
    told = [made.out, made.err, out, err, wrong.err, nobody.err]
    told += [line.decode(errors="replace") for line in seen]
    told += [
        path.read_bytes().decode(errors="replace")
        for folder in (tmp_path / "store", tmp_path / "home")
        for path in folder.rglob("*")
        if path.is_file()
    ]
    with psycopg.connect(house.database) as connection:
        rows = connection.execute("SELECT r::text FROM backup_recipients r").fetchall()
    told += [row for (row,) in rows]
    for text in told:
        assert PASSPHRASE not in text
        assert secret not in text


# rekey


def test_rekey_writes_old_backups_anew(
    house: House, run: InProcess, target: str, tmp_path: Path
) -> None:
    old_secret, old = new_identity()
    new_secret, new = new_identity()
    old_file = identity_file(tmp_path / "old.txt", old_secret)
    new_file = identity_file(tmp_path / "new.txt", new_secret)
    plain, before = house.back_up(), house.back_up(old.recipient)
    run("init", **house.environment)
    assert run("rekey").status == run("rekey", "latest", "--all").status == 3
    none = run("rekey", "--all", "--identity", old_file)
    assert none.status == errors.RecipientMissing.exit_code
    run("keys", "add", new.recipient)
    needed = run("rekey", str(before))
    assert needed.status == errors.IdentityNeeded.exit_code
    done = run("rekey", "--all", "--identity", old_file, "--json")
    assert done.status == 0, done.err
    assert {found["id"]: found["revision"] for found in done.json["backups"]} == {
        str(plain): 2,
        str(before): 2,
    }
    assert done.json["old_bytes"] > 0
    again = run("rekey", "--all")
    assert again.out.count("to the recipients of today already") == 2
    assert "of old objects are still in the store" in again.err
    assert {row["revision"] for row in run("list", "--json").json} == {2}
    # Whoever has the old key reads what is left of the old objects, retired or not.
    run("keys", "add", old.recipient)
    run("keys", "retire", old.recipient)
    left = {r["public_key"]: r for r in run("keys", "show", "--json").json}[old.recipient]
    assert (left["active"], left["opens"], left["opens_left_behind"]) == (False, [], [str(before)])
    told = run("keys", "show").out
    assert f"opens objects of {str(before)[:8]} from before a rekey" in told
    assert "opens no backup" not in told
    shown = run("show", str(plain), "--json").json
    assert shown["manifest_key"].endswith("/revisions/0002.json")
    assert shown["signature"] == "signed"
    refused = run("restore", str(before), "--into", target, "--identity", old_file)
    assert refused.status == errors.WrongIdentity.exit_code
    restored = run("restore", str(before), "--into", target, "--identity", new_file)
    assert restored.status == 0
    unpacked = run("extract", str(plain), "out", "--identity", new_file)
    assert unpacked.status == 0
    assert not list((tmp_path / "home" / "rekey").iterdir())


# Signatures


def test_what_is_said_of_each_signature(
    house: House, run: InProcess, cluster: EmbeddedPostgres, tmp_path: Path
) -> None:
    mine = load_settings().signing
    signed = house.back_up(keys=mine)
    unsigned = house.back_up(keys=SigningKeys())
    wrong = house.back_up(keys=SigningKeys.parse(new_key()))
    run("init", **house.environment)
    expected = {str(signed): "signed", str(unsigned): "unsigned", str(wrong): "wrong"}
    assert {row["id"]: row["signature"] for row in run("list", "--json").json} == expected
    for backup_id, state in expected.items():
        assert run("show", backup_id, "--json").json["signature"] == state
        facts = [line.split(maxsplit=1) for line in run("show", backup_id).out.splitlines()]
        assert any(fact[0] == "signature" and fact[1].startswith(state) for fact in facts if fact)
        done = run("extract", backup_id, f"out-{state}", "--json")
        assert done.json["signature"] == state
        assert ("Warning" in done.err) is (state != "signed")
    with owned_database(cluster) as target:
        for backup_id in (wrong, unsigned):
            refused = run("restore", str(backup_id), "--into", target)
            assert refused.status == errors.SignatureError.exit_code
            assert "--trust" in refused.err
        trusted = run("restore", str(wrong), "--into", target, "--trust", "--yes", "--json")
        assert (trusted.status, trusted.json["signature"]) == (0, "wrong"), trusted.err
        assert "Warning" in trusted.err


def test_without_a_key_it_cannot_be_checked(
    house: House, run: InProcess, cluster: EmbeddedPostgres
) -> None:
    house.back_up(keys=SigningKeys.parse(new_key()))
    run("init", **house.environment)
    Path(load_settings.__globals__["ENV_FILE"]).unlink()
    with owned_database(cluster) as target:
        refused = run("restore", "latest", "--into", target)
        assert refused.status == errors.SignatureError.exit_code
        assert "without CONVAULT_SIGNING_KEY" in refused.err
        done = run("restore", "latest", "--into", target, "--trust", "--yes", "--json")
        assert (done.status, done.json["signature"]) == (0, "unchecked"), done.err
        assert "CONVAULT_SIGNING_KEY is not set" in done.err


def test_the_signing_key_is_rotated(house: House, run: InProcess) -> None:
    before = house.back_up()
    (only,) = run("keys", "signing", "--json", **house.environment).json
    assert only["signs"]
    done = run("keys", "signing", "--rotate", "--json")
    assert [found["signs"] for found in done.json] == [True, False]
    assert done.json[1]["key_id"] == only["key_id"]
    after = house.back_up()
    assert run("keys", "signing").out.count("proves") == 2
    for backup_id in (before, after):
        assert run("show", str(backup_id), "--json").json["signature"] == "signed"
    keys = load_settings().convault_signing_key
    assert keys is not None
    assert not any(key in done.out + done.err for key in keys.get_secret_value().split(","))
    env_file = load_settings.__globals__["ENV_FILE"]
    put_variable(env_file, "CONVAULT_SIGNING_KEY", "short")
    for command in (["backup"], ["list"], ["keys", "signing"]):
        assert run(*command).status == errors.ConfigurationError.exit_code
