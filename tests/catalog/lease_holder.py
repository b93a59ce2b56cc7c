"""A process that holds a lease until it is killed: `lease_holder.py URL BACKUP_ID`.

Says `held` when it has it. Each line it reads makes it check the lease and say `ok`.
"""

from __future__ import annotations

import sys
from uuid import UUID

from convault.catalog.postgres import PostgresCatalog
from tests.catalog.lease_times import LEASE_SECONDS, RENEW_SECONDS

catalog = PostgresCatalog(sys.argv[1], lease_seconds=LEASE_SECONDS, renew_seconds=RENEW_SECONDS)
with catalog.begin(UUID(sys.argv[2]), {}) as lease:
    print("held", flush=True)
    for _ in sys.stdin:
        lease.check()
        print("ok", flush=True)
