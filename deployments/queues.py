"""Which runs go first: those of a schedule before those that somebody asked for."""

SCHEDULED = "default"
"""the work pool's own queue, which prefect.yaml names: its priority is 1, the highest"""
MANUAL = "manual"
"""where the API puts what it starts"""
MANUAL_PRIORITY = 10
