"""What the Prefect server tells of itself, of its workers and of the schedules, judged."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import datetime

from convault.catalog.base import Catalog
from convault.doctor import runs
from convault.doctor.finding import Finding, amber, ok, red
from deployments.schedules import Seen, read
from deployments.server import named
from deployments.workers import POOL, Workers, workers

_START_ONE = f"Start one: `prefect worker start --pool {POOL}`, in the checkout."


def examine_server() -> Finding:
    """The server that Prefect's settings name; here one is needed."""
    server = named()
    if server is None:
        return red(
            "Prefect",
            "PREFECT_API_URL is not set, so nothing can be started",
            "Start a server (`prefect server start`), and set PREFECT_API_URL to its address.",
        )
    return runs.judge(server, runs.ask(server))


def examine_workers() -> Iterator[Finding]:
    """PrefectUnavailable."""
    return judge_workers(workers())


def judge_workers(found: Workers) -> Iterator[Finding]:
    """Whether somebody runs what is started, and keeps up."""
    name = "worker"
    if found.online == 0:
        heard = found.last_heartbeat_at
        told = "none was ever" if heard is None else f"one was last heard of at {heard.isoformat()}"
        yield red(name, f"none is online; {told}", _START_ONE)
    elif found.paused:
        yield red(
            name,
            f"{found.online} online, but the work pool {POOL} is paused",
            f"Resume it: `prefect work-pool resume {POOL}`.",
        )
    else:
        yield ok(name, f"{found.online} online")
    if found.late_runs:
        yield amber(
            "queue",
            f"{found.late_runs} runs are due and wait for a worker",
            "See whether a worker is busy or stuck; runs of a backup wait for one another.",
        )


def examine_schedules(catalog: Catalog, now: datetime) -> Finding:
    """PrefectUnavailable, CatalogUnavailable."""
    return judge_schedules(read(catalog, now=now))


def judge_schedules(seen: Sequence[Seen]) -> Finding:
    """Whether each that is switched on runs when it should."""
    name = "schedules"
    late = [each.row.name for each in seen if each.overdue]
    lost = [each.row.name for each in seen if each.on_server is None and each.row.is_active]
    if late or lost:
        told = [f"overdue: {', '.join(late)}"] if late else []
        told += [f"not on the Prefect server any more: {', '.join(lost)}"] if lost else []
        return amber(
            name,
            "; ".join(told),
            "See the worker and the server; POST .../init makes those again that were lost.",
        )
    active = sum(each.row.is_active for each in seen)
    return ok(name, f"none is overdue; {active} of {len(seen)} are switched on")
