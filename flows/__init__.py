"""Sentences made of tasks: each flow reads like its description."""

import tasks  # noqa: F401  sets what Prefect must find in the environment when it is imported
