"""Masks and filters together: which rows a backup holds must not tell what a mask hides."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from convault.dataset.scope import Scope, scope_of
from convault.errors import OptionsError
from convault.models import BackupOptions
from convault.settings import Settings
from tests.sensitive.school import carried_over, entry, rows, scope, source


def wanted(asked: Scope, options: dict[str, Any], **settings: Any) -> Scope:
    """The scope, with the filters of `options`."""
    filters = scope_of(Settings(**settings), BackupOptions.parse(options)).filters
    return replace(asked, filters=filters)


def test_what_a_masked_key_refers_to_is_not_selected_for_it(school: str, target: str) -> None:
    """Or the one contact in the backup would be the conversation's."""
    masks = {"conversations.contact_id": "null"}
    asked = wanted(scope(masks=masks), {"conversationIds": [3]})
    manifest, result = carried_over(school, target, asked)
    assert result.complete
    assert rows(target, "SELECT id, channel_id, contact_id FROM conversations") == [(3, 2, None)]
    assert rows(target, "SELECT id FROM channels") == [(2,)]
    assert entry(manifest, "crm.contacts").rows == 0
    assert rows(target, "SELECT id FROM messages ORDER BY 1") == rows(
        school, "SELECT id FROM messages WHERE conversation_id = 3 ORDER BY 1"
    )


@pytest.mark.parametrize("how", ["masked", "excluded"])
@pytest.mark.parametrize(
    ("options", "column"),
    [
        ({"status": "canarysubject"}, "conversations.subject"),
        ({"participantIds": ["canaryaudit"]}, "audits.what"),
    ],
)
def test_nothing_is_selected_by_what_is_masked_or_left_out(
    school: str, how: str, options: dict[str, Any], column: str
) -> None:
    kept = {"convault_status_column": "subject", "convault_participants_column": "audits.what"}
    asked = scope(masks={column: "hash"}) if how == "masked" else scope(columns=[column])
    with pytest.raises(OptionsError, match=f"{column} is {how}") as raised:
        source(school, wanted(asked, options, **kept)).check()
    assert "canary" not in raised.value.message
