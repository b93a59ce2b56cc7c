"""The demo's own key pair."""

from __future__ import annotations

import os
import stat
from pathlib import Path

from cli.demo_encryption import encrypted
from cli.demo_home import DemoHome
from convault.catalog.postgres import PostgresCatalog
from convault.signing.signature import SigningKeys


def test_a_backup_inside_the_block_is_encrypted(database: str, tmp_path: Path) -> None:
    catalog = PostgresCatalog(database)
    catalog.migrate()
    home = DemoHome(tmp_path)
    with encrypted(home, catalog) as first:
        assert os.environ["CONVAULT_ENCRYPTION"] == "required"
    assert os.environ["CONVAULT_ENCRYPTION"] == "auto"
    with encrypted(home, catalog) as again:
        assert [i.recipient for i in again] == [i.recipient for i in first]
    assert [r.public_key for r in catalog.recipients()] == [i.recipient for i in first]
    assert stat.S_IMODE(home.identity.stat().st_mode) == 0o600
    del os.environ["CONVAULT_ENCRYPTION"]


def test_the_signing_key_stays_until_it_is_reset(tmp_path: Path) -> None:
    home = DemoHome(tmp_path)
    key = home.settings()["CONVAULT_SIGNING_KEY"]
    assert SigningKeys.parse(key)
    assert home.settings()["CONVAULT_SIGNING_KEY"] == key
    assert stat.S_IMODE(home.signing_key.stat().st_mode) == 0o600
    home.reset()
    assert home.settings()["CONVAULT_SIGNING_KEY"] != key
