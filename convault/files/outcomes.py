"""From what became of each file to what the manifest says, and whether that is enough. Pure."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from convault.errors import FilesMissing
from convault.files.addresses import Address, Elsewhere, Reason
from convault.files.columns import FileColumn
from convault.files.entries import ColumnEntry, FileEntry, Referrer, StorageFacts
from convault.files.references import References
from convault.manifest import DigestKey


@dataclass(frozen=True, slots=True)
class FileReceipts:
    """What the manifest is to say of files."""

    entries: tuple[FileEntry, ...]
    facts: StorageFacts
    digest_keys: tuple[DigestKey, ...] = ()
    """of earlier backups, with which files that were held already are encrypted"""


def receipts(
    references: References, copied: Mapping[Address, FileEntry], project: str,
    public: Sequence[str] = (), digest_keys: Mapping[str, DigestKey] | None = None,
) -> FileReceipts:  # fmt: skip
    """Every file that was copied or tried, with the rows that point at it; then what was not.
    `digest_keys` of earlier backups, by id."""
    columns, borders = references.columns, references.borders
    entries = [
        copied[address].model_copy(update={"referrers": _referrers(columns, counts)})
        for address, counts in sorted(references.files.items(), key=lambda found: found[0])
    ]
    used = {entry.digest_key for entry in entries}
    entries += [
        _external(place, _referrers(columns, counts))
        for place, counts in sorted(
            references.elsewhere.items(), key=lambda found: _order(found[0])
        )
    ]
    facts = StorageFacts(
        project=project,
        hosts=borders.hosts,
        allowed=borders.allowed,
        own=borders.own,
        columns=tuple(
            ColumnEntry(
                table=column.table,
                column=column.column,
                bucket_column=column.bucket_column,
                bucket=column.bucket,
                form=column.form,
                rows=references.rows(number),
            )
            for number, column in enumerate(columns)
        ),
        listed=references.listed,
        public=tuple(public),
    )
    old = tuple(key for id_, key in (digest_keys or {}).items() if id_ in used)
    return FileReceipts(tuple(entries), facts, old)


def require_enough(entries: Sequence[FileEntry], percent: float) -> None:
    """FilesMissing when more than `percent` of the project's files are missing, or could not be
    read because they kept changing."""
    tried = [entry for entry in entries if entry.outcome != "external"]
    lost = [entry for entry in tried if not entry.stored]
    if not lost or len(lost) * 100 <= percent * len(tried):
        return
    where: Counter[str] = Counter()
    for entry in lost:
        for referrer in entry.referrers:
            where[f"{referrer.table}.{referrer.column}"] += 1
    named = _most(where)
    raise FilesMissing(
        f"{len(lost)} of {len(tried)} files are missing in Storage, or changed each time they were "
        f"read{f' ({named})' if named else ''}, and at most {percent:g} % may be. Nothing was "
        "committed. See what deletes or moves files there; CONVAULT_FILE_MISSING_PERCENT says how "
        "many may be missing, and strictAttachments that not one may.",
        missing=len(lost),
        files=len(tried),
    )


def unkept(entries: Sequence[FileEntry]) -> str | None:
    """What to warn of: rows that hold no address, or the address of a file whose name cannot be
    kept. None when there are none."""
    where: Counter[str] = Counter()
    for entry in entries:
        if entry.reason == Reason.MALFORMED:
            for referrer in entry.referrers:
                where[f"{referrer.table}.{referrer.column}"] += referrer.rows
    if not where:
        return None
    return (
        f"Files of {sum(where.values())} rows were not copied, because what stands there is no "
        f"address of a file, or of one whose name cannot be kept ({_most(where)})."
    )


def _most(where: Counter[str]) -> str:
    """The columns with most of them."""
    return ", ".join(f"{number} of {column}" for column, number in where.most_common(3))


def counted(entries: Sequence[FileEntry]) -> dict[str, int]:
    """For the row's metrics: files by outcome (of `external`: rows), and their bytes, an object
    that several files share once."""
    outcomes = Counter(entry.outcome for entry in entries)
    sizes = {entry.key: (entry.plain_bytes, entry.stored_bytes) for entry in entries if entry.key}
    external = sum(r.rows for e in entries if e.outcome == "external" for r in e.referrers)
    return {
        "stored": outcomes["stored"],
        "missing": outcomes["missing"],
        "changed": outcomes["changed"],
        "external_rows": external,
        "objects": len(sizes),
        "bytes": sum(plain for plain, _ in sizes.values()),
        "stored_bytes": sum(stored for _, stored in sizes.values()),
    }


def _referrers(columns: Sequence[FileColumn], counts: Counter[int]) -> tuple[Referrer, ...]:
    return tuple(
        Referrer(table=columns[number].table, column=columns[number].column, rows=rows)
        for number, rows in sorted(counts.items())
    )


def _external(place: Elsewhere, referrers: tuple[Referrer, ...]) -> FileEntry:
    address = place.address or Address("", "")
    return FileEntry(
        outcome="external",
        bucket=address.bucket,
        path=address.path,
        reason=place.reason.value,
        host=place.host,
        referrers=referrers,
    )


def _order(place: Elsewhere) -> tuple[str, str, tuple[str, str]]:
    return place.reason.value, place.host, place.address or ("", "")
