"""The way back: a backup, or some of it, into a database.

`restore` does all of it. `Restoration` is the same in steps, for whoever wants to carry each piece
through download, decompress, deserialize and load by itself, as the Prefect flow does.
"""

from convault.restore.options import MissingUsers, Mode, RestoreOptions
from convault.restore.restoration import Restoration, restore
from convault.restore.result import Changes, RestoreResult

__all__ = [
    "Changes",
    "MissingUsers",
    "Mode",
    "Restoration",
    "RestoreOptions",
    "RestoreResult",
    "restore",
]
