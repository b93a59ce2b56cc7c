"""The table of the API's routes, each with how it is used well and badly, and what it leans on."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from api.caller import Scope
from tests.serving import PATH

Json = dict[str, Any]


@dataclass(frozen=True)
class Row:
    """One route."""

    method: str
    path: str
    """as OpenAPI writes it"""
    status: int
    """of a success"""
    scope: Scope
    ok: Json = field(default_factory=dict)
    """what httpx is given beside method and URL for a success"""
    bad: Json | None = field(default_factory=dict)
    """for bad input; None: a wrong id in the path"""
    code: str = "invalid-request"
    """of the problem that bad input is; with `method-not-allowed` nothing can be wrong but the
    method"""
    needs: tuple[str, ...] = ("catalog",)
    """what else must work: catalog, prefect, store, source"""

    @property
    def name(self) -> str:
        return f"{self.method} {self.path.removeprefix(PATH) or '/'}"


def body(**members: Any) -> Json:
    """Of JSON."""
    return {"json": members}


ONE = f"{PATH}/{{backup_id}}"
SCHEDULE = f"{PATH}/scheduler/{{schedule_id}}"
NOTHING_TO_SAY: Any = {"bad": {}, "code": "method-not-allowed"}
"""of a route without a parameter"""
RUN: Any = {"status": 202, "needs": ("catalog", "prefect"), "code": "options"}

ROWS = [
    Row("GET", PATH, 200, Scope.LIST, bad={"params": {"limit": 0}}),
    Row("POST", PATH, 202, Scope.OPERATE, bad=body(compressionLevel=99), code="options",
        needs=("catalog", "prefect", "source")),
    Row("GET", ONE, 200, Scope.LIST, bad=None),
    Row("GET", f"{ONE}/download", 200, Scope.DOWNLOAD, bad=None, needs=("catalog", "store")),
    Row("HEAD", f"{ONE}/download", 200, Scope.DOWNLOAD, bad=None, needs=("catalog", "store")),
    Row("DELETE", ONE, 200, Scope.DELETE, bad=None, needs=("catalog", "store")),
    Row("POST", f"{ONE}/restore", scope=Scope.RESTORE, ok=body(target="staging"),
        bad=body(target="postgresql://u@h/d"), **RUN),
    Row("POST", f"{ONE}/verify", scope=Scope.OPERATE, bad=body(readData="9/4"), **RUN),
    Row("POST", f"{ONE}/drill", scope=Scope.OPERATE, bad=body(into="-"), **RUN),
    Row("POST", f"{ONE}/cancel", scope=Scope.OPERATE, bad=None, status=202,
        needs=("catalog", "prefect")),
    Row("POST", f"{PATH}/scheduler", 201, Scope.OPERATE,
        ok=body(schedule="daily", name="row", is_active=False), bad=body(schedule="hourly"),
        code="options", needs=("catalog", "prefect", "source")),
    Row("GET", f"{PATH}/scheduler/status", 200, Scope.LIST, needs=("catalog", "prefect"),
        **NOTHING_TO_SAY),
    Row("POST", f"{PATH}/scheduler/toggle", 200, Scope.OPERATE, ok=body(is_active=False),
        bad=body(id="1", is_active=True), code="options", needs=("catalog", "prefect")),
    Row("PATCH", SCHEDULE, 200, Scope.OPERATE, ok=body(schedule="weekly"),
        bad=body(timezone="Mars/Olympus"), code="options", needs=("catalog", "prefect")),
    Row("DELETE", SCHEDULE, 204, Scope.OPERATE, bad=None, needs=("catalog", "prefect")),
    Row("POST", f"{PATH}/init", 200, Scope.ADMIN, bad=body(force=True), code="options",
        needs=("catalog", "prefect", "store")),
    Row("GET", f"{PATH}/verify", 200, Scope.LIST, needs=("catalog", "prefect", "store", "source"),
        **NOTHING_TO_SAY),
    Row("POST", f"{PATH}/cleanup", 200, Scope.DELETE, ok=body(keepLast=9, dryRun=True),
        bad=body(keepLast=-1), code="policy", needs=("catalog", "store")),
    Row("GET", f"{PATH}/metrics", 200, Scope.LIST, bad={"params": {"from": "yesterday"}}),
    Row("GET", f"{PATH}/audit", 200, Scope.ADMIN, bad={"params": {"limit": 0}}),
    Row("GET", "/metrics", 200, Scope.LIST, **NOTHING_TO_SAY),
]  # fmt: skip
"""Every closed route."""

OPEN = {("GET", "/healthz")}
"""Needs no right and leans on nothing: it says that the process lives."""

Ready = Callable[[Row], str]
"""makes what a row needs, and gives the URL for it"""
