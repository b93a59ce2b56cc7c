"""Encrypted, signed backups, copied to two other providers by the flow, and brought back from one
when nothing else is left: no first store, no catalog."""

from __future__ import annotations

import secrets
import shutil
from collections.abc import Iterator
from pathlib import Path
from uuid import uuid4

import pytest

from convault.commit import commit
from convault.comparison import compare
from convault.copies import lag
from convault.embedded.server import EmbeddedPostgres
from convault.encryption.identities import write_new
from convault.errors import NotFoundError, OptionsError
from convault.installation import Installation
from convault.manifest import SHARED_INDEX, Manifest
from convault.replication import transport
from flows.backup import backup
from flows.replicate import replicate
from tests.cli.conftest import InProcess
from tests.cli.conftest import run as run
from tests.flows.application import build, database
from tests.handmade import new_backup
from tests.object_servers import ObjectServer
from tests.prefect_server import PrefectServer
from tests.restore.plain_owner import owned_database


@pytest.fixture(scope="module")
def urls(cluster: EmbeddedPostgres) -> Iterator[tuple[str, str]]:
    with database(cluster) as source, database(cluster) as catalog:
        yield source, catalog


@pytest.mark.prefect_server
@pytest.mark.xdist_group("commands")
def test_a_copy_is_enough(
    urls: tuple[str, str], moto: ObjectServer, rclone: ObjectServer, cluster: EmbeddedPostgres,
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, run: InProcess, prefect_api: PrefectServer,
) -> None:  # fmt: skip
    application = build(*urls, tmp_path / "store", conversations=10, messages=200)
    # Two providers, each with its own keys; the third name is none of ours.
    far, near = moto.url(moto.new_bucket(), "far"), rclone.url(rclone.new_bucket(), "near")
    for name, server in (("FAR", moto), ("NEAR", rclone)):
        for variable, value in server.environment.items():
            monkeypatch.setenv(f"CONVAULT_STORE_{name}_{variable}", value)
    environment = {
        **application.environment, "CONVAULT_STORE_FAR_URL": far, "CONVAULT_STORE_NEAR_URL": near,
        "CONVAULT_UPLOAD_LIMIT": "20MB",
    }  # fmt: skip
    for variable, value in environment.items():
        monkeypatch.setenv(variable, value)
    monkeypatch.setattr(transport, "IN_MEMORY", 2**20 - 1)
    installation = application.installation()
    repository, catalog = installation.repository, installation.catalog
    identity = tmp_path / "identity.txt"
    catalog.add_recipient(write_new(identity))
    made = [backup(), backup()]
    manifest = repository.manifest(made[1].id)
    assert (manifest.encryption is not None, SHARED_INDEX in manifest.features) == (True, True)
    files = with_files(installation)
    far_first, near_first = replicate()
    assert [far_first["name"], near_first["name"]] == ["far", "near"]
    assert far_first["copied"] == near_first["copied"]
    assert set(far_first["copied"]) == {str(one.id) for one in made} | {str(files.backup_id)}
    # One more: only what it brought along travels.
    application.execute("INSERT INTO messages (conversation_id, body) VALUES (1, 'and one more')")
    third = backup()
    again = replicate("far")
    assert again[0]["copied"] == [str(third.id)]
    assert 0 < again[0]["objects"] < far_first["objects"]
    now, rows = catalog.now(), catalog.list()
    states = {c.name: lag(c, rows, now).missing for c in catalog.copies(repository.repository_id)}
    assert states == {"far": (), "near": (third.id,)}
    assert [row["state"] for row in run("copies", "--json").json] == ["current", "current"]
    with pytest.raises(NotFoundError, match="There are: far, near"):
        replicate("elsewhere")

    # The day it happens: no first store, no catalog, no source.
    shutil.rmtree(application.store)
    for variable in ("DATABASE_URL", "CONVAULT_CATALOG_URL", "CONVAULT_STORE_URL"):
        monkeypatch.delenv(variable)
    listed = run("list", "--from", "far", "--json")
    assert {row["id"] for row in listed.json} == {*far_first["copied"], str(third.id)}
    proven = run("verify", "--from", "far", "--read-data", "all", "--json")
    assert proven.status == 0, proven.err
    assert proven.json["read_objects"] == proven.json["objects"] - len(listed.json)
    assert run("verify", "--from", "near", "--repair").status == OptionsError.exit_code
    with owned_database(cluster) as target:
        file = tmp_path / "target.txt"
        file.write_text(target)
        file.chmod(0o600)
        done = run(
            "restore", str(third.id), "--from", "far", "--into-file", file, "--identity", identity,
            "--json",
        )  # fmt: skip
        assert done.status == 0, done.err
        assert done.json["signature"] == "signed"
        found = compare(application.url, target, [t.name for t in manifest.tables])
        assert {one.only_in_source + one.only_in_target for one in found} == {0}


def with_files(installation: Installation) -> Manifest:
    """A backup by hand that holds Storage files, one of them larger than is carried in memory."""
    made = new_backup(
        installation.repository, backup_id=uuid4(),
        files={("media", "a.png"): b"small", ("media", "b.mp4"): secrets.token_bytes(2**20)},
    )  # fmt: skip
    with installation.catalog.begin(made.backup_id, made.options) as lease:
        commit(
            installation.repository, installation.catalog, lease, made, metrics={},
            keys=installation.signing,
        )  # fmt: skip
    return made
