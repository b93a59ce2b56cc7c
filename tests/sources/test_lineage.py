"""Keys of copies of a cluster: what was one history and is two must not look like one."""

from __future__ import annotations

import os

import pytest

from convault.embedded.server import EmbeddedPostgres
from convault.models import RangeKey, SourceFacts
from tests.clusters import Clusters, copied
from tests.patience import awaited
from tests.sources.keys import keys_in
from tests.sources.reading import TABLES, Row, read, run, source, whole


@pytest.fixture
def original(new_cluster: Clusters) -> EmbeddedPostgres:
    cluster = new_cluster("original")
    cluster.start()
    run(cluster.url(), TABLES)
    return cluster


Seen = tuple[SourceFacts, list[RangeKey], list[Row]]


def seen(cluster: EmbeddedPostgres) -> Seen:
    with source(cluster.url()).snapshot() as snapshot:
        return snapshot.facts, keys_in(snapshot), read(snapshot, whole(snapshot, "messages"))


def keys_of(seen_: Seen) -> set[str]:
    found = {key.key for key in seen_[1] if key.key is not None}
    assert len(found) == len(seen_[1])
    return found


def sums(cluster: EmbeddedPostgres) -> list[tuple[str, ...]]:
    with source(cluster.url()).snapshot() as snapshot:
        return [snapshot.fingerprint(key.range).sums for key in keys_in(snapshot)]


def test_two_copies_that_go_their_own_ways_share_no_key(
    original: EmbeddedPostgres, new_cluster: Clusters
) -> None:
    copy = copied(original, new_cluster("copy"))
    copy.start()
    for cluster, body in ((original, "of the original"), (copy, "of the copy")):
        run(cluster.url(), f"INSERT INTO messages VALUES (1000, 1, '{body}')")
    one, other = seen(original), seen(copy)
    assert one[2] != other[2]
    assert sums(original) == sums(copy), "or there would be nothing to tell apart"
    assert one[0].system_identifier == other[0].system_identifier
    assert one[0].timeline == other[0].timeline
    assert not keys_of(one) & keys_of(other)


def test_a_disk_that_was_put_back_shares_no_key(
    original: EmbeddedPostgres, new_cluster: Clusters
) -> None:
    """Though the log has gone on further than it was."""
    copy = copied(original, new_cluster("copy"))
    run(original.url(), "INSERT INTO messages VALUES (1000, 1, 'lost')")
    lost = seen(original)
    copy.start()
    run(copy.url(), "INSERT INTO messages VALUES (1000, 1, 'new')")
    run(copy.url(), "SELECT pg_switch_wal(); CREATE TABLE x ()")
    now = seen(copy)
    assert now[2] != lost[2]
    assert not keys_of(now) & keys_of(lost)


def test_a_standby_has_keys_and_loses_them_when_it_is_promoted(
    original: EmbeddedPostgres, new_cluster: Clusters
) -> None:
    standby = copied(original, new_cluster("standby"))
    signal, owner = standby.data / "standby.signal", standby.data.stat()
    signal.touch()
    os.chown(signal, owner.st_uid, owner.st_gid)
    host = str(original.socket_folder)
    standby.options["primary_conninfo"] = f"host={host} user=postgres"
    standby.start()
    run(original.url(), "INSERT INTO messages VALUES (1000, 1, 'new')")
    caught_up(original, standby)
    first, again = seen(standby), seen(standby)
    primary = seen(original)
    assert first[2] == primary[2]
    assert keys_of(first) == keys_of(again)
    assert first[0].timeline == primary[0].timeline == 1
    assert position(first[0]) <= position(primary[0])
    assert first[0].next_xid == primary[0].next_xid
    run(standby.url(), "SELECT pg_promote()")
    run(standby.url(), "INSERT INTO messages VALUES (1001, 1, 'after')")
    promoted = seen(standby)
    assert promoted[0].timeline == 2
    assert not keys_of(promoted) & keys_of(first)
    assert position(promoted[0]) > position(first[0])


def test_the_position_and_the_next_transaction_go_on(database: str) -> None:
    run(database, TABLES)
    before = facts(database)
    run(database, "INSERT INTO messages VALUES (1000, 1, 'new')")
    after = facts(database)
    assert position(after) > position(before)
    assert before.next_xid is not None
    assert after.next_xid == before.next_xid + 1
    ((oid,),) = run(database, "SELECT oid FROM pg_database WHERE datname = current_database()")
    assert after.database_oid == oid
    ((started,),) = run(database, "SELECT pg_postmaster_start_time() AT TIME ZONE 'UTC'")
    assert after.started_at == f"{started.isoformat()}+00:00"  # type: ignore[attr-defined]


def facts(url: str) -> SourceFacts:
    with source(url).snapshot() as snapshot:
        return snapshot.facts


def position(facts: SourceFacts) -> int:
    high, low = facts.wal_position.split("/")
    return (int(high, 16) << 32) + int(low, 16)


def caught_up(original: EmbeddedPostgres, standby: EmbeddedPostgres) -> None:
    ((target,),) = run(original.url(), "SELECT pg_current_wal_insert_lsn()::text")
    replayed = f"SELECT pg_last_wal_replay_lsn() >= '{target}'"
    awaited(lambda: run(standby.url(), replayed) == [(True,)], pause=0.05)
