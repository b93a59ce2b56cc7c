"""The key under which the rows of a range are known again: equal keys, equal rows, stored alike.

What tells versions of rows apart is where each lies and which transaction wrote it: a sum of hashes
over (ctid, xmin) of the visible rows. That is sound within one lineage of one heap alone. After
point-in-time recovery, in a copy of the cluster, after a rewrite, ALTER TYPE ... RENAME VALUE, or a
column that was dropped and added again, equal sums can stand over different content; so whatever a
row's text depends on besides its version goes into the key as well. All of it here is pure.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from hashlib import sha256
from importlib.metadata import version
from typing import Any

import zstandard

from convault.models import MAX_PART_BYTES, BackupFormat, BackupOptions, Range, SourceFacts

SCHEME = 2
"""Of the encoding below, and of what Convault itself makes of rows (order, frames, quoting). With
another number every key is another one, so that every row is read and stored again."""
_SCHEMES = {BackupFormat.PARQUET: 3}
"""of formats in which the same rows were made other bytes since: dictionaries where they pay"""

_LIBRARIES = ("adbc-driver-postgresql", "polars", "pyarrow", "zstandard")
"""What has a hand in the bytes of a part."""

_FACTS = {
    "system_identifier": "the cluster's system identifier",
    "timeline": "its timeline",
    "database_oid": "the database's oid",
    "started_at": "when the server was started",
    "server_version": "the server's version",
}


@dataclass(frozen=True, slots=True)
class Provenance:
    """What the text of a table's rows depends on besides the rows: of the table, its columns and
    their types, the query that reads them, the session."""

    depends: Mapping[str, Any]
    """as JSON has it: objects, lists, text, whole numbers, null"""
    obstacle: str = ""
    """for people: why equal versions of rows do not mean equal rows; '' where they do"""


@dataclass(frozen=True, slots=True)
class Fingerprint:
    """The versions of the rows that are visible in a range."""

    rows: int
    sums: tuple[str, ...]
    """of 64-bit hashes, in decimal"""
    digest: str | None = None
    """of the rows (`convault.ranges.row_digest`), where the same scan was to tell it"""


def writing(
    options: BackupOptions, recipients: Sequence[str] = (), part_bytes: int = MAX_PART_BYTES
) -> dict[str, Any]:
    """What the bytes of a part depend on besides the rows' text, and who can read them: its
    `recipients`, none when it is not encrypted; and how many plain bytes a part has at most.
    Filters are not among it: a filtered backup has no keys."""
    return {
        "scheme": _SCHEMES.get(options.format, SCHEME),
        "format": options.format.value,
        "level": options.compression_level,
        "libraries": {name: version(name) for name in _LIBRARIES},
        "zstd": list(zstandard.ZSTD_VERSION),
        "recipients": sorted(recipients),
        "part_bytes": part_bytes,
    }


def obstacle(facts: SourceFacts, provenance: Provenance) -> str:
    """Why a table's ranges have no keys, for people; '' when they have."""
    if not facts.snapshot:
        return provenance.obstacle or "there was no snapshot"
    unknown = [says for name, says in _FACTS.items() if getattr(facts, name) in (None, "")]
    if unknown:
        return f"the role may not ask for {', '.join(unknown)}"
    return provenance.obstacle


_XIDS = 2**31
"""transactions within which a 32-bit number is known from its neighbours"""


def incomparable(earlier: SourceFacts, now: SourceFacts) -> str:
    """Why keys of an earlier backup must not be compared with those of `now`, for people; '' when
    they may be: the sum in a key tells versions of rows apart only while history goes on from
    there, and the number of a transaction comes again after 2^32 of them."""
    before, after = _position(earlier.wal_position), _position(now.wal_position)
    if None in (before, after, earlier.next_xid, now.next_xid):
        return "how far the source's log and transactions had come is not known"
    assert before is not None
    assert after is not None
    assert earlier.next_xid is not None
    assert now.next_xid is not None
    if after < before:
        return (
            f"the source's log is at {now.wal_position} and was at {earlier.wal_position}: it was "
            "put back"
        )
    if now.next_xid < earlier.next_xid:
        return "the source's transactions are behind those of the earlier backup: it was put back"
    if now.next_xid - earlier.next_xid >= _XIDS:
        return "more than 2^31 transactions came since the earlier backup"
    return ""


def _position(text: str) -> int | None:
    """Of a `pg_lsn` as Postgres writes it."""
    high, slash, low = text.partition("/")
    try:
        return (int(high, 16) << 32) + int(low, 16) if slash else None
    except ValueError:
        return None


def range_key(
    facts: SourceFacts,
    provenance: Provenance,
    written: Mapping[str, Any],
    range_: Range,
    found: Fingerprint,
) -> str:
    """The key, in hex. `written` is from `writing`. ValueError where `obstacle` sees one."""
    hindered = obstacle(facts, provenance)
    if hindered:
        raise ValueError(f"{range_} can have no key: {hindered}")
    content = {
        "source": {
            "system_identifier": facts.system_identifier,
            "timeline": facts.timeline,
            "database_oid": facts.database_oid,
            "started_at": facts.started_at,
            "major_version": facts.server_version.split(".")[0],
        },
        "table": provenance.depends,
        "written": written,
        "range": [range_.first_page, range_.end_page],
        "rows": [found.rows, *found.sums],
    }
    # Canonical: one text for one value, and another value has another text.
    text = json.dumps(
        content, sort_keys=True, separators=(",", ":"), ensure_ascii=True, allow_nan=False
    )
    return sha256(text.encode()).hexdigest()
