"""From the receipts of the workers to a manifest: what was stored is what was counted."""

from __future__ import annotations

import random
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any
from uuid import UUID, uuid4

import pytest

from convault.commit import build_manifest, check_counts, check_keys, write_members
from convault.errors import IncompleteBackup, RepositoryError
from convault.manifest import Manifest
from convault.models import (
    BackupOptions,
    Part,
    Range,
    RangeKey,
    SourceFacts,
    Statement,
    TableName,
)
from tests.handmade import CONVERSATIONS, MESSAGES, TAKEN, dataset, new_repository


def a_part(
    table: TableName, first: int, end: int | None, rows: int, ordinal: int = 0, key: str = ""
) -> Part:
    digest = f"{abs(hash((table, first, ordinal))):064x}"[-64:]
    return Part(
        range=Range(table, first, end),
        ordinal=ordinal,
        key=key or f"data/{table.name}/{digest}.ndjson.zst",
        sha256=digest,
        stored_bytes=10,
        plain_sha256=digest,
        plain_bytes=100,
        rows=rows,
    )


PARTS = [
    a_part(CONVERSATIONS, 0, None, 5),
    a_part(MESSAGES, 0, 10, 3),
    a_part(MESSAGES, 0, 10, 4, ordinal=1),
    a_part(MESSAGES, 20, 30, 0),
    a_part(MESSAGES, 30, None, 2),
]
COUNTS = {CONVERSATIONS: 5, MESSAGES: 9, TableName("public", "empty"): 0}


def test_counts_that_agree_pass_in_any_order() -> None:
    for seed in range(20):
        check_counts(COUNTS, random.Random(seed).sample(PARTS, len(PARTS)))
    check_counts({}, [])


@pytest.mark.parametrize("counted", [8, 10, 0])
def test_counts_that_differ_name_the_table(counted: int) -> None:
    with pytest.raises(
        IncompleteBackup, match=rf"public\.messages has {counted} rows, 9"
    ) as caught:
        check_counts({**COUNTS, MESSAGES: counted}, PARTS)
    assert caught.value.ids == {
        "table": "public.messages",
        "expected": str(counted),
        "got": "9",
    }


def test_an_empty_success_is_none() -> None:
    with pytest.raises(IncompleteBackup, match="has 9 rows, 0 are stored"):
        check_counts(COUNTS, PARTS[:1])


def test_parts_of_a_table_that_was_not_counted_are_refused() -> None:
    with pytest.raises(IncompleteBackup, match=r"public\.messages was not counted"):
        check_counts({CONVERSATIONS: 5}, PARTS)


@pytest.mark.parametrize(
    "parts",
    [
        [a_part(MESSAGES, 0, 10, 3), a_part(MESSAGES, 0, 10, 3)],
        [a_part(MESSAGES, 0, 10, 3), a_part(MESSAGES, 9, 20, 3)],
        [a_part(MESSAGES, 0, 10, 3), a_part(MESSAGES, 0, 20, 3)],
        [a_part(MESSAGES, 0, None, 3), a_part(MESSAGES, 10, None, 3)],
        [a_part(MESSAGES, 0, 10, 3), a_part(MESSAGES, 0, 10, 3, ordinal=2)],
        [a_part(MESSAGES, 0, 10, 6, ordinal=1)],
        [a_part(MESSAGES, 0, 10, 6), a_part(MESSAGES, 10, 20, 0, ordinal=1)],
    ],
    ids=[
        "twice",
        "overlap",
        "other end",
        "after the end",
        "gap",
        "no first",
        "no first further on",
    ],
)
def test_sums_that_agree_by_accident_are_refused(parts: list[Part]) -> None:
    for seed in range(3):
        with pytest.raises(IncompleteBackup, match="stored twice or in part"):
            check_counts({MESSAGES: 6}, random.Random(seed).sample(parts, len(parts)))


KEYS = [
    RangeKey(Range(CONVERSATIONS, 0, None), 5, "1" * 64),
    RangeKey(Range(MESSAGES, 0, 10), 7, "2" * 64),
    RangeKey(Range(MESSAGES, 10, 20), 0, "3" * 64),
    RangeKey(Range(MESSAGES, 20, 30), reason="because"),
    RangeKey(Range(MESSAGES, 30, None), 2, "4" * 64),
]


def test_keys_of_the_rows_that_are_stored_pass_in_any_order() -> None:
    for seed in range(5):
        chosen = random.Random(seed)
        check_keys(chosen.sample(KEYS, len(KEYS)), chosen.sample(PARTS, len(PARTS)))


@pytest.mark.parametrize(
    ("keys", "says"),
    [
        (
            [replace(KEYS[0], rows=4), *KEYS[1:]],
            "has 4 rows in public.conversations pages 0-end, 5",
        ),
        ([*KEYS[:2], replace(KEYS[2], rows=1), *KEYS[3:]], "has 1 rows in .* pages 10-19, 0"),
        (KEYS[:-1], "has parts of public.messages pages 30-end, which was not planned"),
        ([*KEYS[:-1], replace(KEYS[-1], range=Range(MESSAGES, 31, None))], "in .* 31-end, 0"),
    ],
    ids=["fewer", "none stored", "no range", "another range"],
)
def test_keys_of_other_rows_are_refused(keys: list[RangeKey], says: str) -> None:
    with pytest.raises(IncompleteBackup, match=says):
        check_keys(keys, PARTS)


FACTS = SourceFacts("localhost", "app", "1", "18.0", "0-1", TAKEN.isoformat())


def a_manifest(parts: list[Part], **columns: Any) -> Manifest:
    given: dict[str, Any] = {
        "backup_id": UUID(int=1),
        "repository_id": UUID(int=2),
        "options": BackupOptions(compression_level=9),
        "facts": FACTS,
        "dataset": dataset([*COUNTS]),
        "statements": [Statement("table", "x", "CREATE TABLE x ()", False)],
        "counts": COUNTS,
        "parts": parts,
        "members": (),
    }
    return build_manifest(**given | columns)


def test_a_manifest_is_the_same_whatever_order_the_workers_ended_in() -> None:
    expected = a_manifest(PARTS).to_bytes()
    for seed in range(20):
        shuffled = random.Random(seed).sample(PARTS, len(PARTS))
        assert a_manifest(shuffled).to_bytes() == expected


def test_a_manifest_numbers_the_parts_of_each_table_by_their_pages() -> None:
    manifest = a_manifest(PARTS[::-1])
    assert [table.name for table in manifest.tables] == list(COUNTS)
    conversations, messages, empty = manifest.tables
    assert [part.path for part in conversations.parts] == ["conversations/00000.ndjson.zst"]
    assert [part.path for part in messages.parts] == [
        f"messages/{n:05d}.ndjson.zst" for n in range(4)
    ]
    assert [(p.first_page, p.end_page, p.ordinal) for p in messages.parts] == [
        (0, 10, 0),
        (0, 10, 1),
        (20, 30, 0),
        (30, None, 0),
    ]
    assert (messages.rows, empty.rows, empty.parts) == (9, 0, ())
    assert manifest.options["compressionLevel"] == 9
    assert manifest.created_at == datetime.fromisoformat(FACTS.taken_at)
    assert manifest.parent_id is None


def test_a_manifest_holds_every_range_in_the_order_of_pages() -> None:
    for seed in range(5):
        tables = a_manifest(PARTS, keys=random.Random(seed).sample(KEYS, len(KEYS))).tables
        assert [(r.first_page, r.end_page, r.rows, r.key, r.reason) for r in tables[1].ranges] == [
            (0, 10, 7, "2" * 64, ""),
            (10, 20, 0, "3" * 64, ""),
            (20, 30, 0, None, "because"),
            (30, None, 2, "4" * 64, ""),
        ]
        assert [(r.rows, r.key) for r in tables[0].ranges] == [(5, "1" * 64)]
        assert tables[2].ranges == ()


def test_the_rows_of_a_manifest_are_those_that_were_counted() -> None:
    manifest = a_manifest([], counts={**COUNTS, MESSAGES: 12})
    assert manifest.tables[1].rows == 12


def test_a_part_that_is_stored_plain_has_a_plain_name() -> None:
    part = PARTS[0]
    plain = replace(part, key=part.key.removesuffix(".zst"))
    assert a_manifest([plain]).tables[0].parts[0].path == "conversations/00000.ndjson"


def test_parts_of_strangers_are_a_mistake() -> None:
    stranger = a_part(TableName("public", "stranger"), 0, None, 0)
    with pytest.raises(ValueError, match=r"public\.stranger"):
        a_manifest([stranger])


def test_members_lie_beside_the_manifest_and_can_be_written_again() -> None:
    repository = new_repository()
    backup_id, about = uuid4(), dataset([CONVERSATIONS])
    given: dict[str, Any] = {"dataset": about, "options": BackupOptions(), "statements": []}
    first = write_members(repository, backup_id, facts=FACTS, **given)
    assert [member.path for member in first] == ["README.txt", "schema.sql"]
    for member in first:
        assert len(repository.store.get(member.key)) == member.bytes
    later = replace(FACTS, taken_at=datetime(2031, 1, 1, tzinfo=UTC).isoformat())
    second = write_members(repository, backup_id, facts=later, **given)
    assert second[0].sha256 != first[0].sha256
    assert b"2031-01-01" in repository.store.get(second[0].key)
    repository.put_manifest(
        a_manifest(
            [],
            backup_id=backup_id,
            repository_id=repository.repository_id,
            members=second,
            counts=dict.fromkeys(COUNTS, 0),
        )
    )
    assert write_members(repository, backup_id, facts=later, **given) == second
    with pytest.raises(RepositoryError):
        write_members(repository, backup_id, facts=FACTS, **given)
