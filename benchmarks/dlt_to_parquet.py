"""Have dlt write the three tables to Parquet: `python dlt_to_parquet.py BACKEND URL FOLDER`.

It runs in a Python of its own, in which `dlt[sql_database,parquet]`, `psycopg2-binary` and
`connectorx` are installed.
"""

import os
import sys
from pathlib import Path

backend, url, folder = sys.argv[1:]
os.environ["RUNTIME__DLTHUB_TELEMETRY"] = "false"
os.environ["RUNTIME__LOG_LEVEL"] = "ERROR"
os.environ["DESTINATION__FILESYSTEM__BUCKET_URL"] = Path(folder).absolute().as_uri()

import dlt  # noqa: E402
from dlt.sources.sql_database import sql_database  # noqa: E402

source = sql_database(
    credentials=url.replace("postgresql://", "postgresql+psycopg2://", 1),
    backend=backend,
    table_names=["contacts", "conversations", "messages"],
    backend_kwargs={"conn": url, "return_type": "arrow"} if backend == "connectorx" else {},
    chunk_size=50_000,
)
pipeline = dlt.pipeline(
    "measured", pipelines_dir=f"{folder}.work", destination="filesystem", dataset_name="app"
)
pipeline.run(source, loader_file_format="parquet", write_disposition="replace")
