"""Whether the process lives. Open: it tells nothing else."""

from __future__ import annotations

from typing import Literal

from fastapi import APIRouter
from pydantic import BaseModel

from api.routes.examples import shown

router = APIRouter(tags=["health"])


class Health(BaseModel):
    """The one thing it says."""

    status: Literal["alive"] = "alive"


@router.get("/healthz", summary="Is the process alive?", responses=shown(200, Health()))
def healthz() -> Health:
    """Answers as long as the process does. It asks neither the catalog nor Prefect."""
    return Health()
