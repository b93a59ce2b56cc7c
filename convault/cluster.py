"""Whether chunks may be carried by a Dask cluster (CONVAULT_TASK_RUNNER)."""

from __future__ import annotations

from importlib.util import find_spec

from convault.errors import ConfigurationError
from convault.settings import Settings

SCHEMES = ("tcp://", "tls://", "ucx://", "ws://", "wss://")


def require_cluster(settings: Settings) -> None:
    """ConfigurationError where chunks are to be carried by a cluster and cannot be."""
    if settings.convault_task_runner != "dask":
        return
    address = settings.convault_dask_address or ""
    store = settings.convault_store_url or ""
    if not address.startswith(SCHEMES):
        why = "CONVAULT_DASK_ADDRESS must name its scheduler, such as tcp://scheduler:8786"
    elif find_spec("prefect_dask") is None:
        why = "the package prefect-dask is not installed: run `pip install -e '.[dask]'`"
    elif settings.by_rest:
        why = "rows by REST have no snapshot that other processes could read in"
    elif store.startswith("memory:"):
        why = "a store in memory is seen by one process alone"
    elif settings.store_quota is not None:
        why = "CONVAULT_STORE_QUOTA is kept within one process: unset it, or let threads do it"
    elif settings.convault_source_connections is not None:
        why = (
            "CONVAULT_SOURCE_CONNECTIONS is kept within one process: unset it (each worker has one "
            "connection, CONVAULT_WORKERS says how many work at a time), or let threads do it"
        )
    else:
        return
    raise ConfigurationError(f"CONVAULT_TASK_RUNNER=dask cannot be used: {why}.")
