"""`convault list` and `convault show`, and how a backup is told about."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from dataclasses import asdict
from datetime import datetime, tzinfo
from typing import TYPE_CHECKING, Annotated, Any

import typer

from cli.drilled import print_checks
from cli.identify import BackupName, backup_named, shortened
from cli.listing_store import list_store
from cli.named_store import read_from
from cli.opening import opened
from cli.output import (
    AsJson,
    duration,
    moment,
    number,
    print_facts,
    print_json,
    print_table,
    ratio,
    say,
    size,
)
from cli.signatures import in_words, signature_of, signatures
from convault.catalog.base import BackupRecord, BackupStatus
from convault.dataset.filters import described, is_filtered
from convault.dataset.omissions import left_out
from convault.drill.report import summary as drill_summary
from convault.errors import NotFoundError
from convault.settings import load_settings

if TYPE_CHECKING:
    from convault.manifest import Manifest, TableEntry
    from convault.repository import Repository

_STEPS = (
    "snapshot",
    "chunk",
    "fetch",
    "serialize",
    "compress",
    "upload",
    "count",
    "settle",
    "record",
)
"""of the flow, in their order: jsonb keeps none"""


def list_(
    limit: Annotated[
        int | None, typer.Option("--limit", metavar="N", min=1, help="Only the newest N.")
    ] = None,
    deleted: Annotated[
        bool, typer.Option("--deleted", help="Also those that were deleted.")
    ] = False,
    from_store: Annotated[
        str | None,
        typer.Option(
            metavar="URL", help="A repository, as in CONVAULT_STORE_URL; no catalog is needed."
        ),
    ] = None,
    from_: Annotated[
        str | None,
        typer.Option(
            "--from", metavar="NAME", help="The same, of CONVAULT_STORE_<NAME>_URL: a copy."
        ),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """List the backups, newest first.

    With --from-store those of a repository, from nothing but its URL: for the day it happens.

    Example: convault list --limit 10
    """
    settings = load_settings()
    url = read_from(settings, from_, from_store)
    if url is not None:
        list_store(url, settings.convault_timezone, limit=limit, as_json=as_json)
        return
    installation = opened(settings)
    rows = installation.catalog.list()
    records = [row for row in rows if deleted or row.status is not BackupStatus.DELETED]
    unlisted = set(installation.repository.backup_ids()) - {row.id for row in rows}
    if as_json:
        shown = records[:limit]
        states = signatures(installation, [record.id for record in shown])
        print_json(
            [{**_without_checks(as_object(r)), "signature": states.get(r.id)} for r in shown]
        )
    elif records:
        print_records(records[:limit], settings.convault_timezone)
    else:
        say("There is no backup yet: run `convault backup`.")
    if unlisted:
        say(f"The store holds {len(unlisted)} more, not listed yet: run `convault init`.")


def show(backup: BackupName, as_json: AsJson = False) -> None:
    """Show one backup: its row, what it holds, where it comes from and where it lies.

    Example: convault show latest
    """
    settings = load_settings()
    installation = opened(settings)
    backup_id = backup_named(installation, backup)
    repository = installation.repository
    try:
        manifest, data = repository.stored_manifest(backup_id)
    except NotFoundError:
        manifest, data = None, b""
    try:
        record = installation.catalog.get(backup_id)
    except NotFoundError:
        if manifest is None:
            raise
        record = None
    store = repository.store.url
    signed = None if manifest is None else signature_of(installation, manifest, data)
    if as_json:
        print_json(
            {
                "backup": None if record is None else as_object(record),
                "contents": None if manifest is None else contents(manifest),
                "store": store,
                "signature": signed,
                "manifest_key": None if manifest is None else _key(repository, manifest),
            }
        )
        return
    facts = [("id", str(backup_id))]
    if record is not None:
        facts += _row_facts(record, settings.convault_timezone)
    if manifest is not None and signed is not None:
        facts += _manifest_facts(manifest)
        facts.append(("store", store))
        facts.append(("manifest", _key(repository, manifest)))
        facts.append(("signature", in_words(signed, data, installation.signing)))
    print_facts(facts)
    if record is None:
        say("The catalog does not list it yet: run `convault init`.")
    if manifest is not None:
        print()
        print_contents(manifest)
    if record is not None and record.drill is not None:
        print()
        print_checks(record.drill["checks"])


def as_object(record: BackupRecord) -> dict[str, Any]:
    """The row for programs, with the names of its columns."""
    return record.model_dump(mode="json")


def _without_checks(row: dict[str, Any]) -> dict[str, Any]:
    """A list tells how a drill ended; `convault show` tells each of its checks."""
    drill = row["drill"]
    return row if drill is None else {**row, "drill": {**drill, "checks": None}}


def _drilled(record: BackupRecord, zone: tzinfo) -> str:
    """How the last drill ended, and when."""
    if record.drill is None:
        return ""
    when = datetime.fromisoformat(str(record.drill["finished_at"]))
    return f"{record.drill['outcome']} {moment(when, zone)[:10]}"


def summary(record: BackupRecord) -> str:
    """A completed backup in a line."""
    seconds = _seconds(record)
    took = f" in {duration(seconds)}" if seconds is not None else ""
    return f"{number(record.rows)} rows, {size(record.stored_bytes)} stored{took}."


def selection(record: BackupRecord) -> str:
    """Which part of the data a completed backup holds; '' for all of it."""
    asked = described(record.options)
    if not asked:
        return ""
    if is_filtered(record.options) and record.rows == 0:
        return f"Nothing matched ({asked}): the backup is complete, and it is empty."
    return f"Filtered: {asked}."


def omissions(record: BackupRecord) -> list[str]:
    """What the backup does not hold, in lines: warnings, and the tables beside its own."""
    metrics = record.metrics or {}
    lines = [f"Warning: {warning}" for warning in metrics.get("warnings") or ()]
    names = metrics.get("not_included")
    return [*lines, f"Not included: {', '.join(names)}."] if names else lines


def print_records(records: Sequence[BackupRecord], zone: tzinfo) -> None:
    """The table of `convault list`."""
    short = shortened(record.id for record in records)
    columns = ("id", "created", "status", "rows", "stored", "new", "ratio", "time", "drill")
    filtered = any(described(record.options) for record in records)
    torn = any(map(_per_page, records))
    print_table(
        (*columns, *(["consistency"] if torn else []), *(["filter"] if filtered else [])),
        [
            (
                short[record.id],
                moment(record.created_at, zone),
                record.status,
                number(record.rows),
                size(record.stored_bytes),
                size(_new_bytes(record)),
                ratio(_plain_bytes(record), record.stored_bytes),
                duration(_seconds(record)),
                _drilled(record, zone),
                *(["per-page" if _per_page(record) else "snapshot"] if torn else []),
                *([_filter(record)] if filtered else []),
            )
            for record in records
        ],
        right=columns[3:8],
    )
    for record in records:
        if record.error:
            print(f"\n{short[record.id]} {record.status}: {record.error}")


def print_contents(manifest: Manifest) -> None:
    """Table by table what a backup holds."""
    rows = [
        (_named(table), number(table.rows), number(len(table.parts)), size(plain), size(stored),
         ratio(plain, stored))
        for table in manifest.tables
        for plain, stored in [_bytes(table)]
    ]  # fmt: skip
    rows.append(
        ("all", number(manifest.rows), number(sum(len(t.parts) for t in manifest.tables)),
         size(manifest.plain_bytes), size(manifest.stored_bytes),
         ratio(manifest.plain_bytes, manifest.stored_bytes))
    )  # fmt: skip
    columns = ("table", "rows", "parts", "plain", "stored", "ratio")
    print_table(columns, rows, right=columns[1:])
    if manifest.storage is not None:
        print()
        print(files_in_words(files_as_object(manifest), manifest.storage.project))


def files_as_object(manifest: Manifest) -> dict[str, int]:
    """What became of Storage files: their number by outcome, of `external` rows; bytes."""
    from convault.files.outcomes import counted

    return counted(manifest.files)


def files_in_words(counts: dict[str, int], project: str) -> str:
    """The same for people."""
    lost = f", {number(counts['missing'])} missing" if counts["missing"] else ""
    lost += f", {number(counts['changed'])} changed while read" if counts["changed"] else ""
    others = counts["external_rows"]
    outside = f"; {number(others)} rows point elsewhere" if others else ""
    files, bytes_ = number(counts["stored"]), size(counts["bytes"])
    return f"Storage files of {project}: {files} ({bytes_}){lost}{outside}."


def contents(manifest: Manifest) -> dict[str, Any]:
    """What a backup holds, for programs. Sizes in bytes."""
    from convault.encryption.recipients import recipients_of

    return {
        "created_at": manifest.created_at.isoformat(),
        "source": {
            "host": manifest.source.host,
            "database": manifest.source.database,
            "system_identifier": manifest.source.system_identifier,
            "server_version": manifest.source.server_version,
            "snapshot": manifest.source.snapshot,
        },
        "consistency": manifest.consistency,
        "lacks": list(manifest.lacks),
        "options": manifest.options,
        "selection": None
        if manifest.selection is None
        else {**asdict(manifest.selection), "empty": manifest.selection.empty},
        "absent": [
            {
                "schema": a.table.schema,
                "table": a.table.name,
                "column": a.column,
                "reason": a.reason,
            }
            for a in manifest.absent
        ],
        "revision": manifest.revision,
        "parent_id": None if manifest.parent_id is None else str(manifest.parent_id),
        "reuse": None if manifest.reuse is None else manifest.reuse.model_dump(mode="json"),
        "encryption": None
        if manifest.encryption is None
        else {
            "scheme": manifest.encryption.scheme,
            "recipients": list(recipients_of(manifest)),
            "access": manifest.encryption.access,
        },
        "rows": manifest.rows,
        "plain_bytes": manifest.plain_bytes,
        "stored_bytes": manifest.stored_bytes,
        "tables": [
            {
                "schema": table.name.schema,
                "table": table.name.name,
                "reference_only": table.reference_only,
                "rows": table.rows,
                "parts": len(table.parts),
                "plain_bytes": _bytes(table)[0],
                "stored_bytes": _bytes(table)[1],
                "reading": None if table.reading is None else table.reading.model_dump(mode="json"),
            }
            for table in manifest.tables
        ],
        "files": None if manifest.storage is None else files_as_object(manifest),
        **left_out_as_object(manifest),
    }


def left_out_as_object(manifest: Manifest) -> dict[str, Any]:
    """What the backup was asked to leave out or to mask, for programs."""
    return {
        "absent": [
            {"schema": a.table.schema, "table": a.table.name, "column": a.column,
             "reason": a.reason}
            for a in manifest.absent
        ],
        "masked": [
            {"schema": table.name.schema, "table": table.name.name, "column": column.name,
             "mask": column.mask}
            for table in manifest.tables
            for column in table.columns
            if column.mask
        ],
        "reference_only": [
            {"schema": table.name.schema, "table": table.name.name, "rows": table.rows}
            for table in manifest.tables
            if table.reference_only
        ],
    }  # fmt: skip


def steps(seconds: dict[str, float]) -> str:
    """The seconds of each step in a line, in the order of the work."""
    order = sorted(seconds, key=lambda step: _STEPS.index(step) if step in _STEPS else len(_STEPS))
    return ", ".join(f"{step} {duration(seconds[step])}" for step in order)


def _per_page(record: BackupRecord) -> bool:
    return (record.metrics or {}).get("consistency") == "per-page"


def _filter(record: BackupRecord) -> str:
    nothing = record.status is BackupStatus.COMPLETED and record.rows == 0
    asked = described(record.options)
    return f"{asked}: nothing matched" if nothing and is_filtered(record.options) else asked


def _row_facts(record: BackupRecord, zone: tzinfo) -> Iterable[tuple[str, str]]:
    yield "status", record.status
    if record.error:
        yield "error", record.error
    yield "created", moment(record.created_at, zone)
    if record.deleted_at is not None:
        yield "deleted", moment(record.deleted_at, zone)
    if record.pinned is not None:
        yield "pinned", record.pinned
    if record.acknowledged_at is not None:
        yield "acknowledged", moment(record.acknowledged_at, zone)
    if record.status is BackupStatus.COMPLETED:
        yield "completed", moment(record.completed_at, zone)
    seconds = _seconds(record)
    if seconds is not None:
        yield "took", duration(seconds)
    if record.file_name is not None:
        yield "download", f"{record.file_name}, {size(record.file_size)}"
    if record.verified_at is not None:
        yield "verified", moment(record.verified_at, zone)
    if record.drill is not None:
        when = datetime.fromisoformat(str(record.drill["finished_at"]))
        told = drill_summary(record.drill, str(record.drill["outcome"]))
        yield "drill", f"{told} in {record.drill['place']}, {moment(when, zone)}"
    if record.flow_run_id is not None:
        yield "flow run", str(record.flow_run_id)
    for name, value in (record.metrics or {}).items():
        if name == "reused":
            yield "taken over", taken_over(record)
        elif name == "warnings":
            yield from (("warning", warning) for warning in value or ())
        elif value not in (None, []) and name != "consistency":  # the manifest tells more of it
            yield name.replace("_", " "), _metric(name, value)


def _manifest_facts(manifest: Manifest) -> Iterable[tuple[str, str]]:
    from convault.encryption.recipients import recipients_of

    source = manifest.source
    version = f", Postgres {source.server_version}" if source.server_version else ""
    yield "source", f"{source.database} on {source.host}{version}"
    if manifest.consistency == "per-page":
        yield "consistency", f"per-page: no snapshot, read by REST from {source.taken_at} on"
        yield from (("torn", line) for line in _torn(manifest))
        yield from (("not known", what) for what in manifest.lacks)
    else:
        yield "system", source.system_identifier
        yield "snapshot", f"{source.snapshot} of {source.taken_at}"
    yield "options", json.dumps(manifest.options)
    if manifest.parent_id is not None:
        yield "parent", str(manifest.parent_id)
    if manifest.reuse is not None and manifest.reuse.since_full:
        yield "last read whole", manifest.reuse.full_at.isoformat()
    asked, selected = described(manifest.options), manifest.selection
    if asked:
        yield "filter", asked
    if selected is not None:
        if selected.start is not None:
            yield "created from", selected.start
        if selected.end is not None:
            yield "created before", selected.end
        matched = number(selected.conversations)
        yield (
            "matched",
            "nothing: this backup is empty" if selected.empty else (f"{matched} conversations"),
        )
    missing = left_out(manifest)
    yield from (("left out", f"table {name}") for name in missing.excluded)
    yield from (
        ("left out", f"table {name}, only reached through these") for name in missing.unreachable
    )
    yield from (("left out", f"column {name}") for name in missing.columns)
    yield from (("masked", f"column {name}: {mask}") for name, mask in missing.masked)
    if manifest.encryption is not None:
        yield from (("encrypted to", recipient) for recipient in recipients_of(manifest))
    if manifest.revision > 1:
        yield "revision", str(manifest.revision)


def _torn(manifest: Manifest) -> Iterable[str]:
    for table in manifest.tables:
        read = table.reading
        if read is None:
            continue
        yield (
            f"{table.name}: {read.first_page_at.isoformat()} to {read.last_page_at.isoformat()}, "
            f"{number(read.counted_before)} rows before, {number(read.counted_after)} after, "
            f"{number(read.late)} late, {number(read.gone)} deleted meanwhile"
        )
        for gap in read.missing:
            yield (
                f"{table.name}: {number(gap.values)} rows of {gap.references} that it refers to by "
                f"{', '.join(gap.columns)} were deleted before they were read"
            )


def _named(table: TableEntry) -> str:
    return f"{table.name} (for reference)" if table.reference_only else str(table.name)


def _key(repository: Repository, manifest: Manifest) -> str:
    return repository.manifest_key(manifest.backup_id, manifest.revision)


def _metric(name: str, value: Any) -> str:
    if name == "seconds" and isinstance(value, dict):
        return steps(value)
    if name == "tables" and isinstance(value, dict):
        return ", ".join(f"{table} {number(rows)}" for table, rows in value.items())
    if name == "files" and isinstance(value, dict):
        return ", ".join(f"{key.replace('_', ' ')} {_metric(key, n)}" for key, n in value.items())
    if isinstance(value, list):
        return ", ".join(map(str, value))
    if isinstance(value, int):
        return size(value) if name.endswith("bytes") else number(value)
    return str(value)


def _bytes(table: TableEntry) -> tuple[int, int]:
    """Plain and stored."""
    return sum(p.plain_bytes for p in table.parts), sum(p.stored_bytes for p in table.parts)


def _plain_bytes(record: BackupRecord) -> int | None:
    value = (record.metrics or {}).get("plain_bytes")
    return value if isinstance(value, int) else None


def _new_bytes(record: BackupRecord) -> int | None:
    """Of the parts, those that were not in the store before."""
    value = (record.metrics or {}).get("new_bytes")
    return value if isinstance(value, int) else None


def taken_over(record: BackupRecord) -> str:
    """How much of a completed backup is its parent's, or why nothing is; '' for early ones."""
    reused = (record.metrics or {}).get("reused")
    if not reused:
        return ""
    if not reused["ranges"]:
        return f"Every row was read: {reused['full_because']}."
    ranges = f"{number(reused['ranges'])} of {number(reused['of_ranges'])} ranges"
    return f"Taken over unchanged: {ranges}, {size(reused['stored_bytes'])}; the rest was read."


def _seconds(record: BackupRecord) -> float | None:
    """How long the run took: by its own clock, or else by the row's times."""
    total = (record.metrics or {}).get("seconds", {}).get("total")
    if isinstance(total, int | float):
        return float(total)
    if record.started_at is None or record.completed_at is None:
        return None
    return (record.completed_at - record.started_at).total_seconds()
