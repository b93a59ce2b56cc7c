"""How a run is started on a Prefect server; prefect.yaml says what is deployed there."""

import tasks  # noqa: F401  sets what Prefect must find in the environment when it is imported
from deployments.start import (
    DEPLOYMENT,
    cancel,
    start_backup,
    start_drill,
    start_restore,
    start_verify,
)

__all__ = [
    "DEPLOYMENT",
    "cancel",
    "start_backup",
    "start_drill",
    "start_restore",
    "start_verify",
]
