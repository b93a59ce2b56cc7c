"""Telling that the catalog cannot be asked: then it cannot hold the incident either, and a file of
this machine does, in CONVAULT_HOME."""

from __future__ import annotations

import json
from collections.abc import Sequence
from contextlib import suppress
from datetime import UTC, datetime
from hashlib import sha256
from pathlib import Path
from uuid import uuid4

from convault.errors import ConvaultError, sentence_of
from convault.home import home, make_folder
from convault.incidents import Incident, Kind
from convault.notify.channels import Channel
from convault.notify.message import of_incidents
from convault.notify.telling import send
from convault.settings import Settings, without_password

_TITLE = "The catalog cannot be asked"


def tell_unreachable(
    settings: Settings, error: ConvaultError, through: Sequence[Channel], name: str
) -> dict[str, str]:
    """Tell it once; why channels were not reached, by label. When none was, the next call tries
    again. OSError where the file cannot be written."""
    if not through:
        return {}
    file = _file(settings)
    make_folder(file.parent)
    since = datetime.now(UTC)
    try:
        with file.open("x") as made:  # of several processes one makes it
            json.dump({"since": since.isoformat()}, made)
    except FileExistsError:
        return {}
    message = of_incidents([_incident(since, error.code)], name)
    failures = send(dict.fromkeys(through, message))
    if len(failures) == len(through):
        file.unlink(missing_ok=True)
    return failures


def tell_reachable(settings: Settings, through: Sequence[Channel], name: str) -> dict[str, str]:
    """Tell that it can be asked again, if somebody was told that it could not; as above."""
    file = _file(settings)
    mine = file.with_name(f"{file.name}.{uuid4()}")
    try:
        file.rename(mine)  # of several processes one does it
    except (FileNotFoundError, NotADirectoryError):
        return {}
    since = datetime.now(UTC)
    with suppress(ValueError, KeyError, TypeError):  # killed while it was written
        since = datetime.fromisoformat(json.loads(mine.read_text())["since"])
    mine.unlink()
    over = _incident(since, "").model_copy(update={"recovered_at": datetime.now(UTC)})
    message = of_incidents([over], name)
    return send(dict.fromkeys(through, message))


def _file(settings: Settings) -> Path:
    # Of several installations of one machine each has its own.
    which = sha256(without_password(settings.catalog_url()).encode()).hexdigest()[:12]
    return home() / "notify" / f"unreachable-{which}.json"


def _incident(since: datetime, code: str) -> Incident:
    detail = f"{sentence_of(code)} No backup can be made meanwhile. `convault doctor` tells more."
    return Incident(id=uuid4(), kind=Kind.UNREACHABLE, title=_TITLE, detail=detail, opened_at=since)
