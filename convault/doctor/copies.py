"""Whether the copies of the repository hold what they should, and nothing else."""

from __future__ import annotations

from collections.abc import Sequence

from convault.copies import CopyState, Lag
from convault.doctor.finding import Finding, amber, ok, red

NAME = "copies"


def judge(lags: Sequence[Lag]) -> Finding:
    """Red when one is late, or holds what was deleted or purged; amber when one was never made, or
    its last run failed."""
    bad = [lag for lag in lags if lag.red and lag.state is not CopyState.NEVER]
    odd = [lag for lag in lags if lag.state in {CopyState.NEVER, CopyState.FAILED}]
    told = "; ".join(lag.in_words for lag in [*bad, *odd] or lags)
    names = ", ".join(lag.name for lag in [*bad, *odd])
    remedy = f"Run `convault copy --to NAME` for {names}, and see that the flow `replicate` does."
    if bad:
        return red(NAME, told, remedy)
    return amber(NAME, told, remedy) if odd else ok(NAME, told)
