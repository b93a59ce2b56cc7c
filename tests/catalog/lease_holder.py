"""A process that holds a lease until it is killed: `lease_holder.py URL BACKUP_ID [KEY]`.

URL is that of a database, or, with KEY, of a Supabase. Says `held` when it has the lease. Each line
it reads makes it check the lease and say `ok`, or `lost`.
"""

from __future__ import annotations

import sys
from uuid import UUID

from convault.catalog.base import Catalog
from convault.catalog.postgres import PostgresCatalog
from convault.catalog.supabase import SupabaseCatalog
from convault.errors import LeaseLost
from convault.project import Project
from tests.catalog.lease_times import LEASE_SECONDS, RENEW_SECONDS

url, backup_id, *key = sys.argv[1:]
times = {"lease_seconds": LEASE_SECONDS, "renew_seconds": RENEW_SECONDS}
catalog: Catalog = (
    SupabaseCatalog(Project(url, {"apikey": key[0]}), **times)
    if key
    else PostgresCatalog(url, **times)
)
with catalog.begin(UUID(backup_id), {}) as lease:
    print("held", flush=True)
    for _ in sys.stdin:
        try:
            lease.check()
        except LeaseLost:
            print("lost", flush=True)
        else:
            print("ok", flush=True)
