"""How these options are asked for: on the command line, through the API, in Prefect's JSON."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import psycopg
import pytest
from prefect.client.orchestration import get_client

from api.app import create_app
from cli.backups import wanted_options
from convault import errors
from convault.installation import initialise
from convault.models import BackupOptions
from convault.repository import Repository
from convault.settings import Settings, load_settings
from convault.stores import open_store
from tests.cli.conftest import InProcess
from tests.cli.conftest import run as run  # the command, in this process
from tests.prefect_server import PrefectServer
from tests.prefect_worker import deploy
from tests.restore.builder import back_up
from tests.sensitive.school import rows, scope
from tests.serving import KEY as API_KEY
from tests.serving import PATH, client_of, served

ASKED: dict[str, Any] = {
    "excludeTables": ["audit*"],
    "excludeColumns": ["crm.contacts.note"],
    "maskColumns": {"crm.contacts.email": "hash", "messages.body": "null"},
    "includeUsers": False,
}


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ({"excludeTables": [""]}, "excludeTables.*name of a table"),
        ({"excludeTables": ["a."]}, "excludeTables.*name of a table"),
        ({"excludeTables": "a"}, "excludeTables"),
        ({"excludeColumns": ["a"]}, "excludeColumns.*table.column"),
        ({"excludeColumns": ["a..b"]}, "excludeColumns.*table.column"),
        ({"maskColumns": {"a.b": "rot13"}}, "maskColumns.*'null' or 'hash'"),
        ({"maskColumns": {"b": "null"}}, "maskColumns.*table.column"),
        ({"maskColumns": ["a.b"]}, "maskColumns"),
        ({"maskColumns": {"a.b": "null"}, "excludeColumns": ["a.b"]}, "both excluded and masked"),
        ({"includeUsers": "perhaps"}, "includeUsers"),
        ({"includeUsers": "yes"}, "includeUsers"),
        ({"includeUsers": 1}, "includeUsers"),
        ({"excludeTables": ["caf\udce9*"]}, "excludeTables.*name of a table"),
        ({"excludeColumns": ["a.caf\udce9"]}, "excludeColumns.*table.column"),
        ({"maskColumns": {"a.caf\udce9": "null"}}, "maskColumns.*table.column"),
        ({"excludeTables": ["a"] * 1001}, "excludeTables"),
        ({"excludeTable": ["a"]}, "excludeTable"),
    ],
)
def test_what_cannot_be_is_refused_by_itself(values: dict[str, Any], words: str) -> None:
    with pytest.raises(errors.OptionsError, match=words) as raised:
        BackupOptions.parse(values)
    assert raised.value.message.encode()  # or no terminal, log and catalog could take it


def test_json_takes_both_kinds_of_names_and_gives_back_one() -> None:
    options = BackupOptions.parse(ASKED)
    snake = {
        "exclude_tables": ["audit*"],
        "exclude_columns": ["crm.contacts.note"],
        "mask_columns": ASKED["maskColumns"],
    }
    assert BackupOptions.parse(snake) == options
    assert {name: options.to_json()[name] for name in ASKED} == ASKED
    assert BackupOptions.parse(json.loads(json.dumps(options.to_json()))) == options


def test_the_command_line_adds_to_what_is_left_out() -> None:
    given = json.dumps({**ASKED, "includeUsers": False})
    wanted = wanted_options(
        given, None, None, exclude_tables=["x"], exclude_columns=["a.b"],
        mask_columns=["messages.body=hash", "a=b.c=null"], include_users=True,
    )  # fmt: skip
    assert wanted.exclude_tables == ("audit*", "x")
    assert wanted.exclude_columns == ("crm.contacts.note", "a.b")
    assert wanted.mask_columns == {
        "crm.contacts.email": "hash", "messages.body": "hash", "a=b.c": "null",
    }  # fmt: skip
    assert wanted.include_users
    snake = '{"mask_columns": {"a.b": "null"}, "exclude_tables": ["y"]}'
    both = wanted_options(snake, None, None, exclude_tables=["x"], mask_columns=["c.d=null"])
    assert both.exclude_tables == ("y", "x")
    assert both.mask_columns == {"a.b": "null", "c.d": "null"}


@pytest.mark.parametrize("text", ["a.b", "=hash", "a.b=", "a.b=x"])
def test_a_mask_without_its_kind_is_refused(text: str) -> None:
    with pytest.raises(errors.OptionsError):
        wanted_options(None, None, None, mask_columns=[text])


@pytest.fixture
def environment(school: str, run: InProcess, tmp_path: Path) -> dict[str, str]:
    """Of an installation that `init` has seen."""
    (tmp_path / "store").mkdir(mode=0o700)
    found = {"DATABASE_URL": school, "CONVAULT_STORE_URL": (tmp_path / "store").as_uri()}
    assert run("init", **found).status == 0
    return found


def test_the_command_refuses_before_there_is_a_row(
    environment: dict[str, str], run: InProcess
) -> None:
    for arguments, status, words in [
        (["--exclude-table", "conversation"], errors.OptionsError, "public.conversations"),
        (["--exclude-table", "messages"], errors.OptionsError, "includeMessages false"),
        (["--exclude-column", "messages.bodi"], errors.OptionsError, "messages.body"),
        (["--mask-column", "messages.id=null"], errors.OptionsError, "primary key"),
        (["--mask-column", "messages.body=hash"], errors.ConfigurationError, "CONVAULT_MASK_KEY"),
        (["--include-users"], errors.OptionsError, "no table auth.users"),
    ]:
        refused = run("backup", *arguments, **environment)
        assert refused.status == status.exit_code, refused.err
        assert words in refused.err
        assert refused.out == ""
    assert run("list", "--json", **environment).json == []


def test_show_and_restore_tell_what_is_absent(
    environment: dict[str, str], run: InProcess, target: str
) -> None:
    school = environment["DATABASE_URL"]
    with psycopg.connect(school, autocommit=True) as connection:
        connection.execute(
            "CREATE SCHEMA auth; CREATE TABLE auth.users (id integer PRIMARY KEY, email text);"
            "INSERT INTO auth.users VALUES (1, 'canaryuser'), (2, 'x');"
            "ALTER TABLE conversations ADD owner integer DEFAULT 1 REFERENCES auth.users"
        )
    repository = Repository.open(open_store(environment["CONVAULT_STORE_URL"]))
    asked = scope(
        tables=["audits"], columns=["crm.contacts.note"], users=True,
        masks={"messages.body": "null", "crm.contacts.email": "hash"},
    )  # fmt: skip
    manifest = back_up(repository, school, scope=asked)
    repository.put_manifest(manifest, load_settings().signing)
    assert run("init", **environment).status == 0

    shown = run("show", "latest", **environment).out
    facts = {tuple(line.split(None, 2)) for line in shown.splitlines()}
    assert {
        ("left", "out", "table public.audits"),
        ("left", "out", "table public.audit_details, only reached through these"),
        ("left", "out", "column crm.contacts.note"),
        ("masked", "column", "public.messages.body: null"),
        ("masked", "column", "crm.contacts.email: hash"),
    } <= facts
    assert "auth.users (for reference)" in shown
    assert "messages_old.body" not in shown

    expected = {
        "absent": [
            {"schema": "public", "table": "audits", "column": None, "reason": "excluded"},
            {"schema": "public", "table": "audit_details", "column": None,
             "reason": "unreachable"},
            {"schema": "crm", "table": "contacts", "column": "note", "reason": "excluded"},
        ],
        "masked": [
            {"schema": "crm", "table": "contacts", "column": "email", "mask": "hash"},
            *({"schema": "public", "table": table, "column": "body", "mask": "null"}
              for table in ("messages", "messages_new", "messages_old")),
        ],
        "reference_only": [{"schema": "auth", "table": "users", "rows": 1}],
    }  # fmt: skip
    contents = run("show", "latest", "--json", **environment).json["contents"]
    assert {name: contents[name] for name in expected} == expected

    told = run("restore", "latest", "--into", target, **environment)
    assert told.status == 0
    assert "left out: table public.audits, as asked for" in told.err
    assert "masked: column public.messages.body (null)" in told.err
    assert "for reference only, not restored: auth.users" in told.err
    assert rows(target, "SELECT count(*) FROM conversations") == [(12,)]


def test_restore_tells_programs_too(
    environment: dict[str, str], run: InProcess, target: str
) -> None:
    repository = Repository.open(open_store(environment["CONVAULT_STORE_URL"]))
    asked = scope(tables=["audits"], masks={"messages.body": "null"})
    assert run("init", **environment).status == 0
    manifest = back_up(repository, environment["DATABASE_URL"], scope=asked)
    repository.put_manifest(manifest, load_settings().signing)
    assert run("init", **environment).status == 0
    restored = run("restore", "latest", "--into", target, "--json", **environment).json
    assert [a["table"] for a in restored["absent"]] == ["audits", "audit_details"]
    assert {m["column"] for m in restored["masked"]} == {"body"}
    assert restored["reference_only"] == []


@pytest.mark.prefect_server
@pytest.mark.xdist_group("prefect")
def test_a_scheduled_run_that_cannot_be_says_so_and_stores_nothing(
    environment: dict[str, str],
    run: InProcess,
    prefect_api: PrefectServer,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Nobody was there to be told, so there is a row that tells."""
    from flows.backup import backup

    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    with pytest.raises(errors.OptionsError, match=r"messages\.body"):
        backup(BackupOptions.parse({"excludeColumns": ["messages.bodi"]}))
    with pytest.raises(errors.ConfigurationError, match="CONVAULT_MASK_KEY"):
        backup(BackupOptions.parse({"maskColumns": {"messages.body": "hash"}}))
    listed = run("list", "--json", **environment).json
    assert [row["status"] for row in listed] == ["failed", "failed"]
    assert "CONVAULT_MASK_KEY" in listed[0]["error"]
    repository = Repository.open(open_store(environment["CONVAULT_STORE_URL"]))
    assert not list(repository.store.list("data/"))


@pytest.fixture
def client(school: str, tmp_path: Path, prefect_api: PrefectServer) -> Iterator[httpx.Client]:
    """Of an API that has the deployment behind it."""
    (tmp_path / "store").mkdir(mode=0o700)
    settings = Settings(
        database_url=school,
        convault_store_url=(tmp_path / "store").as_uri(),
        convault_api_key=API_KEY,
        convault_mask_key="a key of sixteen bytes or more",
    )
    initialise(settings)
    deploy(prefect_api)
    with served(create_app(settings)) as url, client_of(url) as client:
        yield client


@pytest.mark.prefect_server
@pytest.mark.xdist_group("prefect")
def test_the_api_hands_them_on_and_refuses_before_there_is_a_row(client: httpx.Client) -> None:
    for body, words in [
        ({"excludeTables": ["conversations"]}, "starts from"),
        ({"exclude_columns": ["messages.bodi"]}, "messages.body"),
        ({"maskColumns": {"crm.contacts.score": "hash"}}, "integer"),
        ({"maskColumns": {"a": "hash"}}, "table.column"),
        ({"includeUsers": True}, "auth.users"),
    ]:
        refused = client.post(PATH, json=body)
        assert refused.status_code == 422, refused.text
        assert refused.json()["code"] == "options"
        assert words in refused.text
    assert client.get(PATH).json()["backups"] == []

    taken = client.post(PATH, json=ASKED)
    assert taken.status_code == 202, taken.text
    row = taken.json()
    assert {name: row["options"][name] for name in ASKED} == ASKED
    with get_client(sync_client=True) as prefect:
        run = prefect.read_flow_run(row["flow_run_id"])
        prefect.delete_flow_run(run.id)  # no worker of another test shall run it
    assert run.parameters["options"] == row["options"]
