"""The demo's recipient: a key pair of its own, so that it can show an encrypted backup."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from cli.demo_home import DemoHome
from convault.encryption import identities

if TYPE_CHECKING:
    from convault.catalog import Catalog
    from convault.encryption.age import Identity


@contextmanager
def encrypted(home: DemoHome, catalog: Catalog) -> Iterator[tuple[Identity, ...]]:
    """Backups that are made inside the block are encrypted to the demo's recipient; gives what
    opens them. The key pair is made the first time."""
    identity = _identity(home, catalog)
    before = os.environ.get("CONVAULT_ENCRYPTION", "auto")
    os.environ["CONVAULT_ENCRYPTION"] = "required"
    try:
        yield identity
    finally:
        os.environ["CONVAULT_ENCRYPTION"] = before


def _identity(home: DemoHome, catalog: Catalog) -> tuple[Identity, ...]:
    if not home.identity.exists():
        identities.write_new(home.identity, label="demo")
    found = identities.read_all([home.identity], _no_passphrase)
    for identity in found:
        catalog.add_recipient(identity.recipient, "demo")
    return found


def _no_passphrase(path: Path) -> str:
    raise AssertionError(f"{path} was written without one")
