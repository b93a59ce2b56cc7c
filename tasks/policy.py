"""How every task behaves, so that each task's file says only what is its own.

No task has a tag: for each one Prefect asks its server for leave before a run starts, which takes
10 ms, and fails the run when the server is away at that moment.
"""

from __future__ import annotations

from typing import Any, TypedDict

from prefect import Task
from prefect.cache_policies import NO_CACHE, CachePolicy
from prefect.client.schemas.objects import State, TaskRun
from prefect.tasks import RetryConditionCallable, exponential_backoff

from convault.errors import ConvaultError


class TaskOptions(TypedDict):
    """Of `prefect.task`; the names are Prefect's."""

    cache_policy: CachePolicy
    persist_result: bool
    log_prints: bool
    retry_delay_seconds: Any
    retry_jitter_factor: float
    retry_condition_fn: RetryConditionCallable


def only_transient(task: Task[..., Any], run: TaskRun, state: State[Any]) -> bool:
    """Whether trying again can help: errors say so themselves."""
    return isinstance(state.data, ConvaultError) and state.data.transient


POLICY: TaskOptions = {
    # Neither hash the arguments nor keep the results: rows are among them.
    "cache_policy": NO_CACHE,
    "persist_result": False,
    "log_prints": False,
    # 1, 2, 4, ... seconds, each up to half more: workers that failed together come back apart.
    "retry_delay_seconds": exponential_backoff(1),
    "retry_jitter_factor": 0.5,
    "retry_condition_fn": only_transient,
}
