"""A process that holds a lease until it is killed: `lease_holder.py URL WHAT SECONDS [KEY]`.

URL is that of a database, or, with KEY, of a Supabase; WHAT a backup's id, or the name of something
that one does alone; SECONDS how long the lease lasts. Says `held` when it has the lease. Each line
it reads makes it check the lease and say `ok`, or `lost`.
"""

from __future__ import annotations

import sys
from uuid import UUID

from convault.catalog.base import Catalog, Guard, Lease
from convault.catalog.postgres import PostgresCatalog
from convault.catalog.supabase import SupabaseCatalog
from convault.errors import BusyError, LeaseLost
from convault.project import Project
from tests.catalog.lease_times import RENEW_SECONDS

url, what, seconds, *key = sys.argv[1:]
times = {"lease_seconds": float(seconds), "renew_seconds": RENEW_SECONDS}
catalog: Catalog = (
    SupabaseCatalog(Project(url, {"apikey": key[0]}), **times)
    if key
    else PostgresCatalog(url, **times)
)
held: Lease | Guard
try:
    held = catalog.begin(UUID(what), {})
except ValueError:
    held = catalog.exclusive(what, BusyError("Somebody has it."))
with held as lease:
    print("held", flush=True)
    for _ in sys.stdin:
        try:
            lease.check()
        except LeaseLost:
            print("lost", flush=True)
        else:
            print("ok", flush=True)
