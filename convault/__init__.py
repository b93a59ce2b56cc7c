"""What things are: settings, datasets, parts, manifests, repositories. Knows no Prefect."""

import os

# Several workers each carry a chunk; one Polars pool per worker would fight over the cores.
# Polars reads this once, when it is first imported.
os.environ.setdefault("POLARS_MAX_THREADS", "1")

__version__ = "0.1.0"
