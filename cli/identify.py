"""Which backup is meant: a full id, the first characters of one, or `latest`."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import TYPE_CHECKING, Annotated
from uuid import UUID

import typer

from convault.errors import NotFoundError
from convault.newest import newest_full

if TYPE_CHECKING:
    from convault.installation import Installation

LATEST = "latest"
SHORTEST = 8
"""characters of an id that `convault list` shows at least"""

BackupName = Annotated[
    str,
    typer.Argument(
        metavar="ID", help="An id, its first characters, or `latest`: the newest full one."
    ),
]


def backup_named(installation: Installation, text: str) -> UUID:
    """The one backup that `text` names: in the catalog, or in the repository alone.

    NotFoundError when there is none, or when the first characters fit several.
    """
    if text == LATEST:
        return newest_full(installation.catalog)
    wanted = text.lower()
    if full := _full(wanted):
        return full
    known = {record.id for record in installation.catalog.list()}
    known.update(installation.repository.backup_ids())
    found = [id_ for id_ in known if wanted and str(id_).startswith(wanted)]
    if len(found) == 1:
        return found[0]
    if found:
        raise NotFoundError(f"{len(found)} backups begin with {text!r}: give more characters.")
    raise NotFoundError(f"There is no backup {text!r}; `convault list` shows those there are.")


def is_backup_name(text: str) -> bool:
    """Whether `text` looks like what `backup_named` takes."""
    return text == LATEST or bool(re.fullmatch("[0-9A-Fa-f-]+", text))


def shortened(ids: Iterable[UUID]) -> dict[UUID, str]:
    """The first characters of each, as few as tell them apart, but at least 8."""
    all_ids = set(ids)
    length = SHORTEST
    while len({str(id_)[:length] for id_ in all_ids}) < len(all_ids):
        length += 1
    return {id_: str(id_)[:length] for id_ in all_ids}


def _full(text: str) -> UUID | None:
    try:
        id_ = UUID(text)
    except ValueError:
        return None
    return id_ if text in (str(id_), id_.hex) else None
