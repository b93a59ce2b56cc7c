"""Since when each object is known to be named by no manifest: the first phase of a sweep.

Kept in the repository, `sweep/marks.json`, by the installation that may write there. Marks of
another one count for nothing: what its backups were doing when it lost the repository, nobody here
knows.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from datetime import datetime, timedelta
from uuid import UUID

from pydantic import AwareDatetime, BaseModel, ConfigDict, ValidationError

from convault import layout
from convault.errors import ObjectMissing
from convault.repository import Repository
from convault.retention.garbage import Garbage


class _Marks(BaseModel):
    model_config = ConfigDict(extra="ignore")

    installation_id: UUID
    marked: dict[str, AwareDatetime]


def read(repository: Repository) -> dict[str, datetime]:
    """Marks by key. What cannot be read is as if nothing had been marked: then objects wait
    longer. StoreError."""
    try:
        marks = _Marks.model_validate_json(repository.store.get(layout.MARKS_KEY))
    except (ObjectMissing, ValidationError):
        return {}
    return marks.marked if marks.installation_id == repository.installation_id else {}


def write(repository: Repository, marked: Mapping[str, datetime]) -> None:
    """Instead of what is there. StoreError."""
    content = {
        "installation_id": str(repository.installation_id),
        "marked": {key: time.isoformat() for key, time in sorted(marked.items())},
    }
    data = json.dumps(content, indent=1).encode() + b"\n"
    repository.store.replace(layout.MARKS_KEY, data)
    repository.store.flush()


def renewed(marked: Mapping[str, datetime], garbage: Garbage) -> dict[str, datetime]:
    """Marks of what is garbage now: those that were, and new ones. Pure. A mark is never younger
    than now, nor older than the object, which may have been stored again meanwhile."""
    return {
        key: max(
            min(marked.get(key, garbage.now), garbage.now),
            min(garbage.listing[key].modified, garbage.now),
        )
        for key in garbage.unneeded
    }


def due(marked: Mapping[str, datetime], now: datetime, grace: timedelta) -> list[str]:
    """Keys whose grace period is over. Pure."""
    return sorted(key for key, since in marked.items() if now - since >= grace)
