"""Which backups may stand for each other."""

from __future__ import annotations

from typing import Any

import pytest

from convault.manifest import Manifest
from convault.models import BackupOptions
from convault.retention.groups import group_in_words, group_of
from tests.handmade import MESSAGES, new_backup, new_repository

FULL = new_backup(new_repository())


def asked(**options: Any) -> Manifest:
    given = BackupOptions.parse(options).to_json()
    return FULL.model_copy(update={"options": given})


@pytest.mark.parametrize(
    "options", [{"format": "csv"}, {"compressionLevel": 9}, {"full": True}], ids=str
)
def test_how_it_is_written_makes_no_other_group(options: dict[str, Any]) -> None:
    assert group_of(asked(**options)) == group_of(FULL)


@pytest.mark.parametrize(
    "options",
    [
        {"conversationIds": ["7"]}, {"startDate": "2026-01-01"}, {"endDate": "2026-01-01"},
        {"status": "closed"}, {"channelIds": ["1"]}, {"participantIds": ["1"]},
        {"includeMessages": False}, {"includeAttachments": True}, {"buckets": ["media"]},
        {"excludeTables": ["audit_*"]}, {"excludeColumns": ["messages.body"]},
        {"maskColumns": {"messages.body": "null"}}, {"includeUsers": True}, {"tables": ["sales.*"]},
    ],
    ids=str,
)  # fmt: skip
def test_what_is_in_it_does_and_so_never_counts_for_everything(options: dict[str, Any]) -> None:
    filtered = asked(**options)
    assert group_of(filtered) != group_of(FULL)
    assert group_of(filtered) == group_of(asked(**options, format="csv"))


def test_another_source_or_root_is_another_group() -> None:
    source = FULL.source
    for changed in (
        {"source": source.__class__(**{**_fields(source), "system_identifier": "1"})},
        {"source": source.__class__(**{**_fields(source), "database": "other"})},
        {"root": MESSAGES},
    ):
        assert group_of(FULL.model_copy(update=changed)) != group_of(FULL)
    # Where the cluster's number is not known, its host tells; a moved one is the same cluster.
    moved = source.__class__(**{**_fields(source), "host": "elsewhere"})
    assert group_of(FULL.model_copy(update={"source": moved})) == group_of(FULL)


def test_older_versions_and_other_orders_say_the_same() -> None:
    older = FULL.model_copy(update={"options": {"includeMessages": True}})
    assert group_of(older) == group_of(FULL)
    ids = [asked(conversationIds=ids) for ids in (["1", "2"], ["2", "1"])]
    assert group_of(ids[0]) == group_of(ids[1])
    assert group_in_words(ids[0]).startswith("app, ")
    assert group_in_words(FULL) == "app"


def _fields(source: Any) -> dict[str, Any]:
    return {name: getattr(source, name) for name in source.__slots__}
