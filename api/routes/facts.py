"""`GET /api/communication/backups/verify`: whether backups can be made, as it is found now."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Annotated

from fastapi import APIRouter, Depends, Request, Response, Security
from pydantic import BaseModel

from api.auth import caller
from api.caller import Scope
from api.facts import Facts
from api.routes.context import CLOSED, PREFIX
from convault.doctor.facts import Fact
from convault.doctor.finding import State


class FindingAnswer(BaseModel):
    """What was found, and what to do about it."""

    name: str
    state: State
    found: str
    remedy: str
    """empty where nothing is to be done"""


class FactAnswer(BaseModel):
    """One thing that was looked at."""

    name: str
    state: State
    """the worst of its findings"""
    needed: bool
    """no backup can be made without it"""
    at: datetime
    """when this was known"""
    seconds: float
    """that it took"""
    findings: list[FindingAnswer]


class FactsAnswer(BaseModel):
    """Everything that was looked at."""

    works: bool
    """nothing that is needed is down"""
    facts: list[FactAnswer]


_EXAMPLE = FactsAnswer(
    works=True,
    facts=[
        FactAnswer(
            name="worker",
            state=State.OK,
            needed=True,
            at=datetime(2026, 1, 31, 3, 0, tzinfo=UTC),
            seconds=0.02,
            findings=[FindingAnswer(name="worker", state=State.OK, found="1 online", remedy="")],
        )
    ],
).model_dump(mode="json")
_CONTENT = {"application/json": {"example": _EXAMPLE}}

router = APIRouter(prefix=PREFIX, tags=["health"])


async def facts_of(request: Request) -> Facts:
    """The application's."""
    facts: Facts = request.app.state.facts
    return facts


@router.get(
    "/verify",
    summary="Does everything work that backups need?",
    dependencies=[Security(caller, scopes=[Scope.LIST])],
    responses={
        **{status: told for status, told in CLOSED.items() if status != 503},
        200: {"content": _CONTENT},
        503: {
            "model": FactsAnswer,
            "description": "Something that is needed is down",
            "content": {"application/json": {"example": {**_EXAMPLE, "works": False}}},
        },
    },
)
def verify(response: Response, facts: Annotated[Facts, Depends(facts_of)]) -> FactsAnswer:
    """Looks at database, catalog, store (with an object that is written, read and deleted, at most
    once a minute), Prefect, worker, schedules, the last good backup, copies and clock. 503 when
    one that is needed is down; what is not needed says so by its state alone."""
    found = facts.all()
    works = not any(fact.is_down for fact in found)
    if not works:
        response.status_code = 503
    response.headers["Cache-Control"] = "no-store"
    return FactsAnswer(works=works, facts=[_told(fact) for fact in found])


def _told(fact: Fact) -> FactAnswer:
    return FactAnswer(
        name=fact.name,
        state=fact.state,
        needed=fact.needed,
        at=fact.at,
        seconds=round(fact.seconds, 3),
        findings=[FindingAnswer.model_validate(finding.to_json()) for finding in fact.findings],
    )
