"""`convault copy`, `convault copies`, `convault adopt --copy`, as they are typed."""

from __future__ import annotations

from pathlib import Path

import pytest

from convault.errors import (
    ConfigurationError,
    CopyError,
    CopyIncomplete,
    NotFoundError,
    OptionsError,
)
from convault.retention.operating import delete
from tests.cli.conftest import InProcess
from tests.cli.conftest import run as run
from tests.copies.conftest import Copies
from tests.retention.conftest import WHO


def test_a_life_of_a_copy(copies: Copies, run: InProcess, monkeypatch: pytest.MonkeyPatch) -> None:
    vault = copies.vault
    monkeypatch.setenv("DATABASE_URL", vault.url)
    monkeypatch.setenv("CONVAULT_STORE_URL", vault.folder.as_uri())
    assert "There is no copy" in run("copies").err
    unknown = run("copy", "--to", "far")
    assert unknown.status == NotFoundError.exit_code
    assert "CONVAULT_STORE_FAR_URL" in unknown.err
    monkeypatch.setenv("CONVAULT_STORE_FAR_URL", copies.url)
    assert [c["state"] for c in run("copies", "--json").json] == ["never"]
    first, second = vault.daily(2)
    tried = run("copy", "--to", "far", "--dry-run")
    assert "2 backups would be copied" in tried.err
    assert copies.copy.backup_ids() == []
    done = run("copy", "--to", "FAR")
    assert done.status == 0, done.err
    assert "2 backups copied" in done.err
    assert "current" in run("copies").out
    listed = run("list", "--from", "far", "--json").json
    assert [row["id"] for row in listed] == [str(first.backup_id), str(second.backup_id)]
    assert run("verify", str(second.backup_id)[:8], "--from", "far").status == 0
    both = run("list", "--from", "far", "--from-store", copies.url)
    assert both.status == OptionsError.exit_code
    # What is deleted shows until the next run, and what that would do.
    delete(vault.repository, vault.catalog, second.backup_id, WHO)
    assert "holding" in run("copies").out
    tried = run("copy", "--to", "far", "--dry-run", "--json").json
    assert tried["wouldTrash"] == [str(second.backup_id)]
    assert run("copy", "--to", "far", "--json").json["trashed"] == [str(second.backup_id)]
    assert run("adopt", "--copy", "far", "--json").json == {"copy": "far", "changed": False}
    bad = run("copy", "--to", "far", CONVAULT_STORE_FAR_KEEP="for ever")
    assert bad.status == ConfigurationError.exit_code
    assert "CONVAULT_STORE_FAR_KEEP" in bad.err
    kept = run("copy", "--to", "far", "--check", CONVAULT_STORE_FAR_KEEP="last=1")
    assert kept.status == 0, kept.err
    # The place of the first one is no copy; what is damaged there is told by its exit status.
    monkeypatch.setenv("CONVAULT_STORE_HERE_URL", vault.folder.as_uri())
    assert run("copy", "--to", "here").status == CopyError.exit_code
    for inside in (vault.folder / "copy", vault.folder.parent):
        monkeypatch.setenv("CONVAULT_STORE_HERE_URL", inside.as_uri())
        refused = run("copy", "--to", "here")
        assert refused.status == CopyError.exit_code
        assert "one in the other" in refused.err
    third = vault.back_up(5)
    part = next(k for k in third.objects() if k.startswith("data/") and k not in first.objects())
    Path(vault.folder / part).write_bytes(b"x")
    broken = run("copy", "--to", "far", CONVAULT_STORE_FAR_KEEP="last=9")
    assert broken.status == CopyIncomplete.exit_code
    assert part in broken.err
    assert "could not be copied" in run("copies").err
