"""`convault doctor`: a table for people, JSON for programs, and how it ends."""

from __future__ import annotations

from pathlib import Path

import psycopg

from convault.errors import NotHealthy
from tests.cli.conftest import InProcess
from tests.flows.application import SCHEMA

PASSWORD = "hunter2-hunter2-hunter2"


def test_red_is_told_with_its_remedy_and_ends_badly(run: InProcess, closed_port: int) -> None:
    settings = {
        "DATABASE_URL": f"postgresql://reader:{PASSWORD}@127.0.0.1:{closed_port}/app",
        "CONVAULT_STORE_URL": "file:///nowhere/at/all",
        "CONVAULT_MASK_KEY": PASSWORD,
        "PREFECT_API_URL": f"http://me:{PASSWORD}@127.0.0.1:{closed_port}/api",
    }
    ended = run("doctor", **settings)
    assert ended.status == NotHealthy.exit_code == 95
    states = dict(line.split("  ", 1) for line in ended.out.splitlines())
    assert states["source"].strip().startswith("red")
    assert states["tables"].strip().startswith("not checked")
    assert states["repository"].strip().startswith("red")
    assert states["mask key"].strip().startswith("ok")
    assert "repository (red): If it lies on a disk that should be mounted, mount it" in ended.err
    assert "checks are red: source, catalog, repository" in ended.err
    again = run("doctor", "--json")
    assert again.status == 95
    assert {one["state"] for one in again.json} == {"ok", "amber", "red", "not checked"}
    assert all(one["found"] for one in again.json)
    assert all(one["remedy"] for one in again.json if one["state"] in ("amber", "red"))
    for text in (ended.out, ended.err, again.out, again.err):
        assert PASSWORD not in text


def test_amber_ends_well(run: InProcess, database: str, tmp_path: Path) -> None:
    with psycopg.connect(database) as connection:
        connection.execute(SCHEMA)
    settings = {"DATABASE_URL": database, "CONVAULT_STORE_URL": (tmp_path / "store").as_uri()}
    assert run("init", **settings).status == 0
    ended = run("doctor", "--probe", "--json")
    assert ended.status == 0, ended.out
    states = {one["name"]: one["state"] for one in ended.json}
    assert states["encryption"] == "amber", "there is no recipient"
    assert states["store"] == "ok"
    assert not [one for one in (tmp_path / "store").rglob("*") if one.is_file()][1:]
