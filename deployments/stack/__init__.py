"""Prefect server, worker and API as one command: `convault up`."""
