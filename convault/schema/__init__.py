"""The schema of a dataset, read from the catalogs in the backup's snapshot.

Not by `pg_dump`: it runs on its own connection, leaves out types and functions of chosen tables,
and needs to be there in the server's version or newer. The tests hold this package against it.
"""

from convault.schema.reading import read_statements
from convault.schema.script import RESTORE_SETTINGS, as_script

__all__ = ["RESTORE_SETTINGS", "as_script", "read_statements"]
