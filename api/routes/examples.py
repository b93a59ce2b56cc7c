"""Answers as the documentation shows them."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

from pydantic import BaseModel

from convault.catalog.base import BackupRecord, BackupStatus
from convault.models import BackupOptions

_BEGUN = datetime(2026, 1, 31, 3, 0, tzinfo=UTC)
_PENDING = BackupRecord(
    id=UUID("0b6f4e0e-6a3e-4f39-9d4c-2f1c8b7f5a10"),
    status=BackupStatus.PENDING,
    options=BackupOptions().to_json(),
    created_at=_BEGUN,
    updated_at=_BEGUN,
)

RECORD: dict[str, Any] = _PENDING.model_dump(mode="json")
"""of a backup that waits for its run"""
COMPLETED: dict[str, Any] = {
    **_PENDING.model_copy(
        update={
            "status": BackupStatus.COMPLETED,
            "file_name": "backup_0b6f4e0e-6a3e-4f39-9d4c-2f1c8b7f5a10.tar",
            "file_size": 11_840_000,
            "url": "/api/communication/backups/0b6f4e0e-6a3e-4f39-9d4c-2f1c8b7f5a10/download"
            "?token=...",
            "expires_at": _BEGUN + timedelta(minutes=20),
            "rows": 92_572,
            "completed_at": _BEGUN + timedelta(seconds=4),
        }
    ).model_dump(mode="json"),
    "progress": None,
}
"""of one that is complete, with a link"""


def shown(status: int, example: object) -> dict[int | str, dict[str, Any]]:
    """The entry for FastAPI's `responses` that documents a success with an example: a model, or
    what JSON is made of."""
    value = example.model_dump(mode="json") if isinstance(example, BaseModel) else example
    return {status: {"content": {"application/json": {"example": value}}}}
