"""Backups of one group may stand for each other: same source, dataset, filters, and contents."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from convault.dataset.filters import described
from convault.manifest import Manifest
from convault.models import BackupOptions

_FORM = frozenset({"format", "compressionLevel", "full"})
"""options that say how, and not what"""


def group_of(manifest: Manifest) -> str:
    """What tells the group: equal texts, one group. Tables that come and go make no new one."""
    source = manifest.source
    return json.dumps(
        [
            source.system_identifier or source.host,
            source.database,
            manifest.root,
            asked_for(manifest.options),
        ],
        sort_keys=True,
    )


def asked_for(options: Mapping[str, Any]) -> dict[str, Any]:
    """The options that say what is in a backup; those that an older version did not know have the
    value that means the same."""
    whole = {**BackupOptions().to_json(), **options}
    return {
        name: sorted(value, key=str) if isinstance(value, list) else value
        for name, value in whole.items()
        if name not in _FORM and value is not None
    }


def group_in_words(manifest: Manifest) -> str:
    """For people: the database, and the filter if there is one."""
    filters = described(manifest.options)
    return f"{manifest.source.database}, {filters}" if filters else manifest.source.database
