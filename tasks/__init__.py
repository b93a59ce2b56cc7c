"""The steps of a backup: one Prefect task per file. What a step does lies in `convault`.

| task | takes | gives |
|---|---|---|
| begin | a catalog | the lease of one backup |
| chunk | a snapshot | chunks: ranges of heap pages, packed |
| carry | a chunk | its receipt; runs the next four for one piece after the other |
| fetch | a reader of one range | the next rows, as Arrow |
| serialize | rows | documents of NDJSON, CSV or Parquet |
| compress | a document | the bytes to store, and their digests |
| upload | bytes | a part: the receipt of one stored object |
| count | a table | its rows in the snapshot |
| record | parts and counts | the manifest, and the row `completed` |

And those of a verification and of a drill:

| task | takes | gives |
|---|---|---|
| survey | a repository | what its backups need, what is there, what is the matter |
| read_back | a survey | the same, some or all objects read and held against their digests |
| repair | a survey | the same, with what the source can still tell, and what was put back |
| rehearse | a backup, a scratch database | what a restore into it did |
| examine | a restored backup | the checks, each passed, failed or not verified |
"""

import os
import zoneinfo

# Prefect reads its settings when it is first imported, and `flows` and `deployments` import this
# package before it. Without telemetry a server starts in half the time.
os.environ.setdefault("DO_NOT_TRACK", "1")
os.environ.setdefault("PREFECT_SERVER_ANALYTICS_ENABLED", "false")
# Each task run sends three events. Of a server that is ours they are written once a second, all
# together: in a transaction for each of them they took more than half of its CPU.
os.environ.setdefault("PREFECT_SERVER_SERVICES_TASK_RUN_RECORDER_BATCH_SIZE", "100")
os.environ.setdefault("PREFECT_SERVER_SERVICES_TASK_RUN_RECORDER_FLUSH_INTERVAL", "1")
os.environ.setdefault("PREFECT_SERVER_SERVICES_EVENT_PERSISTER_BATCH_SIZE", "200")
# Each time that Prefect reads a schedule it asks for the names of all zones. The package tzdata has
# them in one file; of the system it opens six hundred, which takes six times as long.
if "PYTHONTZPATH" not in os.environ:
    os.environ["PYTHONTZPATH"] = ""
    zoneinfo.reset_tzpath(())
