"""`convault verify` and `convault drill`, and what `list` and `show` tell afterwards."""

from __future__ import annotations

import json
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from convault.errors import ConfigurationError, DrillFailed, OptionsError, VerificationFailed
from tests.cli.conftest import InProcess, School

pytestmark = [pytest.mark.prefect_server, pytest.mark.xdist_group("commands")]


@pytest.fixture
def environment(school: School, tmp_path: Path) -> Iterator[dict[str, str]]:
    """The school's, with a copy of its store and a home for drills that Postgres can reach."""
    shutil.copytree(school.store, tmp_path / "copy")
    home = Path(tempfile.mkdtemp(prefix="cv-"))
    home.chmod(0o711)
    yield {
        **school.environment,
        "CONVAULT_STORE_URL": (tmp_path / "copy").as_uri(),
        "CONVAULT_HOME": str(home),
    }
    shutil.rmtree(home)


def test_verify(
    run: InProcess, environment: dict[str, str], school: School, tmp_path: Path
) -> None:
    sound = run("verify", "--read-data", "1/2", **environment)
    assert (sound.status, sound.out) == (0, "")
    assert "Nothing that a backup needs is damaged or missing" in sound.err
    assert "Longest unread: " in sound.err

    part = next((tmp_path / "copy/data/messages").iterdir())
    whole = part.read_bytes()
    part.write_bytes(whole[:-1] + bytes([whole[-1] ^ 1]))
    assert run("verify").status == 0, "a listing does not show it"
    damaged = run("verify", "latest", "--read-data", "all", "--json")
    assert damaged.status == VerificationFailed.exit_code == 52
    (finding,) = damaged.json["findings"]
    assert finding["kind"] == "damaged"
    assert finding["key"].endswith(part.name)
    assert finding["backups"] == [school.record["id"]]
    assert finding["repair"] == "repairable"
    assert damaged.json["sound"] is False

    repaired = run("verify", "--read-data", "all", "--repair")
    assert repaired.status == 0
    assert "repaired" in repaired.out
    assert part.name in repaired.out
    assert part.read_bytes() == whole
    again = run("verify", "--read-data", "all", "--json")
    assert (again.status, again.json["findings"], again.json["set_aside"]) == (0, [], 1)
    assert again.json["oldest_unread"]["seconds"] < 3600


def test_what_is_asked_for_wrongly_is_refused(
    run: InProcess, environment: dict[str, str], tmp_path: Path
) -> None:
    refused = run("verify", "--read-data", "5/4", **environment)
    assert (refused.status, refused.out) == (OptionsError.exit_code, "")
    assert "1/8" in refused.err
    missing = run("drill", CONVAULT_DRILL_SQL=str(tmp_path / "nothing.sql"))
    assert (missing.status, missing.out) == (ConfigurationError.exit_code, "")
    assert "nothing.sql" in missing.err
    assert list(Path(environment["CONVAULT_HOME"]).iterdir()) == [], "nothing was started"


def test_drill(run: InProcess, environment: dict[str, str], school: School, tmp_path: Path) -> None:
    before = json.loads(run("list", "--json", **environment).out)
    assert (before[0]["verified_at"], before[0]["drill"]) == (None, None)
    passed = run("drill", "--json")
    assert passed.status == 0, passed.err
    assert passed.json["outcome"] == "passed"
    assert passed.json["failed"] == 0
    digests = [c for c in passed.json["checks"] if c["check"] == "digest"]
    assert {check["outcome"] for check in digests} == {"passed"}
    assert {check["subject"] for check in digests} > {"public.messages", "public.conversations"}

    (row,) = json.loads(run("list", "--json").out)
    assert row["verified_at"] is not None
    assert (row["drill"]["outcome"], row["drill"]["checks"]) == ("passed", None)
    assert "passed 2" in run("list").out
    shown = run("show", "latest")
    assert "verified" in shown.out
    assert f"passed ({passed.json['passed']} passed, 0 failed, " in shown.out
    assert "digest" in shown.out
    assert json.loads(run("show", "latest", "--json").out)["backup"]["drill"] == passed.json

    queries = tmp_path / "drill.sql"
    queries.write_text("-- nobody is called so\nSELECT 1 FROM contacts LIMIT 2;")
    failed = run("drill", school.record["id"], CONVAULT_DRILL_SQL=str(queries))
    assert failed.status == DrillFailed.exit_code == 53
    assert "nobody is called so" in failed.out.splitlines()[1], "what failed comes first"
    assert "it returned 2 rows" in failed.err
    (row,) = json.loads(run("list", "--json").out)
    assert (row["verified_at"], row["drill"]["outcome"]) == (None, "failed")
    home = Path(environment["CONVAULT_HOME"])
    assert [path.name for path in (home / "drill").iterdir()] == ["lock"]
