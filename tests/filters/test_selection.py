"""A filtered backup holds exactly the rows that belong, and the rows that these reference."""

from __future__ import annotations

import random
from collections.abc import Callable
from contextlib import closing
from typing import Any

import psycopg
import pytest

from convault.embedded.server import EmbeddedPostgres
from convault.manifest import Manifest
from convault.repository import Repository
from convault.restore import restore
from convault.sources import readers, selection
from convault.stores import open_store
from tests.databases import drop_database
from tests.filters.world import EXPECTED, expected, fill, selected, source_of, wanted
from tests.restore.builder import back_up
from tests.soak import count
from tests.sources.reading import run

Make = Callable[[EmbeddedPostgres], str]

FILTERS: dict[str, tuple[dict[str, Any], str]] = {
    "status": ({"status": "open"}, "status = 'open'"),
    "statuses, one with every quote": (
        {"status": ["closed", "it's \"%s\""]}, "status IN ('closed', 'it''s \"%s\"')"
    ),
    "channels": ({"channelIds": [1, "2"]}, "channel_id IN (1, 2)"),
    "participants": (
        {"participantIds": [3, 4, 5]},
        "id IN (SELECT conversation_id FROM conversation_participants"
        " WHERE contact_id IN (3, 4, 5))",
    ),
    "from a day": ({"startDate": "2026-01-20"}, "created_at >= '2026-01-20 00:00+00'"),
    "through a day": ({"endDate": "2026-01-05"}, "created_at < '2026-01-06 00:00+00'"),
    "before a time": (
        {"startDate": "2026-01-02", "endDate": "2026-01-09T08:30:00Z"},
        "created_at >= '2026-01-02 00:00+00' AND created_at < '2026-01-09 08:30+00'",
    ),
    "all at once": (
        {"status": "open", "channelIds": [1, 2, 3, 4], "startDate": "2026-01-03"},
        "status = 'open' AND channel_id IN (1, 2, 3, 4) AND created_at >= '2026-01-03 00:00+00'",
    ),
    "nothing": ({"status": "no such status"}, "false"),
    "everything": ({"startDate": "1970-01-01"}, "created_at IS NOT NULL"),
}  # fmt: skip


@pytest.fixture(scope="module")
def world(cluster: EmbeddedPostgres) -> Any:
    name = f"world_{random.SystemRandom().getrandbits(40):x}"
    with closing(psycopg.connect(cluster.url(), autocommit=True)) as connection:
        connection.execute(f"CREATE DATABASE {name} TEMPLATE template0".encode())
        fill(cluster.url(name), 7)
        yield cluster.url(name)
        drop_database(cluster.url(), name)


@pytest.mark.parametrize("name", FILTERS)
def test_the_rows_are_those_of_queries_by_hand(world: str, name: str) -> None:
    options, condition = FILTERS[name]
    found = selected(world, options)
    assert found == expected(world, f"SELECT id FROM conversations WHERE {condition}")
    if name != "nothing":
        assert found["conversations"]


@pytest.mark.soak
@pytest.mark.parametrize("seed", range(count(1, 30)))
def test_of_random_rows_too(any_cluster: EmbeddedPostgres, new_database: Make, seed: int) -> None:
    url = new_database(any_cluster)
    fill(url, seed)
    ids = [row[0] for row in run(url, "SELECT id::text FROM conversations")]
    for size in (1, 4):
        chosen = random.Random(seed).sample(ids, size)
        listed = ", ".join(f"'{id_}'::uuid" for id_ in chosen)
        assert selected(url, {"conversationIds": chosen}) == expected(
            url, f"SELECT unnest(ARRAY[{listed}]) AS id"
        )


def test_small_batches_find_the_same(world: str, monkeypatch: pytest.MonkeyPatch) -> None:
    options, condition = FILTERS["from a day"]
    monkeypatch.setattr(selection, "BATCH", 3)
    monkeypatch.setattr(readers, "SELECTED_ROWS", 2)
    assert selected(world, options) == expected(
        world, f"SELECT id FROM conversations WHERE {condition}"
    )


@pytest.mark.parametrize("name", ["status", "nothing"])
def test_it_restores_into_an_empty_database_and_foreign_keys_hold(
    world: str, cluster: EmbeddedPostgres, new_database: Make, name: str
) -> None:
    options, condition = FILTERS[name]
    repository, manifest = stored(world, options)
    target = new_database(cluster)
    result = restore(repository, manifest, target)
    assert result.complete
    assert not result.faults
    assert not result.left_out
    there = {
        table: {str(row[0]) for row in run(target, f"SELECT id FROM ONLY {table}")}
        for table in EXPECTED
        if table != "messages"
    }
    there["messages"] = {str(row[0]) for row in run(target, "SELECT id FROM messages")}
    assert there == expected(world, f"SELECT id FROM conversations WHERE {condition}")
    # campaigns are not part of it: they use a channel.
    keys = "SELECT count(*) FROM pg_constraint WHERE contype = 'f' AND conname !~ '^campaigns'"
    assert run(target, f"{keys} AND convalidated") == run(world, keys)


def test_the_manifest_tells_how_rows_were_selected(world: str) -> None:
    _, manifest = stored(
        world,
        {"startDate": "2026-01-02", "endDate": "2026-01-03"},
        convault_timezone="America/Sao_Paulo",
    )
    read = Manifest.from_bytes(manifest.to_bytes(), where="here")
    assert read == manifest
    assert read.selection is not None
    assert read.selection.filters == ("startDate", "endDate")
    assert read.selection.start == "2026-01-02T03:00:00+00:00"
    assert read.selection.end == "2026-01-04T03:00:00+00:00"
    assert read.selection.time_zone == "America/Sao_Paulo"
    matching = run(
        world,
        "SELECT count(*) FROM conversations WHERE created_at >= '2026-01-02 03:00+00'"
        " AND created_at < '2026-01-04 03:00+00'",
    )
    assert [(read.selection.conversations,)] == matching
    assert not read.selection.empty


def test_a_filter_that_matches_nothing_gives_an_empty_backup_that_says_so(world: str) -> None:
    _, manifest = stored(world, {"status": "no such status"})
    assert manifest.selection is not None
    assert manifest.selection.empty
    assert manifest.rows == 0
    assert all(not table.parts for table in manifest.tables)
    assert manifest.index is not None  # it covers the tables, and no conversation


def test_an_unfiltered_backup_has_no_selection(world: str) -> None:
    _, manifest = stored(world, {})
    assert manifest.selection is None


def test_ids_that_are_not_there_are_counted_and_not_named(world: str) -> None:
    (there,) = run(world, "SELECT id::text FROM conversations LIMIT 1")[0]
    asked = [there, "0b6f4e0e-6a3e-4f39-9d4c-2f1c8b7f5a10"]
    with source_of(world, {"conversationIds": asked}).snapshot() as snapshot:
        assert [w for w in snapshot.warnings if "by id" in w] == [
            "1 of the 2 conversations that were asked for by id are not in public.conversations."
        ]
        assert asked[1] not in str(snapshot.warnings)


def test_a_role_that_may_only_read_will_do(world: str, cluster: EmbeddedPostgres) -> None:
    role = f"reader_{random.SystemRandom().getrandbits(40):x}"
    run(world, f"CREATE ROLE {role} LOGIN; GRANT SELECT ON ALL TABLES IN SCHEMA public TO {role};"
        f"REVOKE TEMPORARY ON DATABASE {world.partition('?')[0].rpartition('/')[2]} FROM PUBLIC;"
        f"ALTER ROLE {role} SET default_transaction_read_only = on")  # fmt: skip
    try:
        url = world.replace("postgres@", f"{role}@").replace("user=postgres", f"user={role}")
        assert role in url
        found = selected(url, {"status": "open"})
    finally:
        run(world, f"DROP OWNED BY {role}; DROP ROLE {role}")
    assert found == expected(world, "SELECT id FROM conversations WHERE status = 'open'")


def test_rows_that_come_while_it_reads_are_not_in_it(
    cluster: EmbeddedPostgres, new_database: Make
) -> None:
    url = new_database(cluster)
    fill(url, 3)
    before = expected(url, "SELECT id FROM conversations WHERE status = 'open'")
    with source_of(url, {"status": "open"}).snapshot() as snapshot:
        run(url, "UPDATE messages SET body = body || '!'; DELETE FROM scans; UPDATE conversations"
            " SET status = CASE status WHEN 'open' THEN 'closed' ELSE 'open' END")  # fmt: skip
        for table in snapshot.dataset.tables:
            if table.name.name in before:
                assert snapshot.count(table) == len(before[table.name.name]) or table.kind == "p"


def stored(url: str, options: dict[str, Any], **settings: str) -> tuple[Repository, Manifest]:
    repository = Repository.create(open_store(f"memory://{random.getrandbits(64):x}"))
    return repository, back_up(repository, url, scope=wanted(options, **settings), range_pages=2)
