"""What is told of a restore."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any
from uuid import UUID

from cli.listing import left_out_as_object
from cli.output import duration, number, print_table, printable, say
from convault.dataset.filters import described
from convault.dataset.omissions import in_lines, left_out
from convault.models import TableName
from convault.secrets import MARKER

if TYPE_CHECKING:
    from convault.manifest import Manifest
    from convault.restore import Changes, RestoreResult

_NAMED = 8
"""statements that are named when many are left out for the same reason"""


def as_json(manifest: Manifest, result: RestoreResult) -> dict[str, Any]:
    """A result for programs."""
    return {
        "id": str(manifest.backup_id),
        "dry_run": result.dry_run,
        "restore_id": None if result.restore_id is None else str(result.restore_id),
        "tables": [
            {"schema": table.schema, "table": table.name, "rows": rows}
            for table, rows in result.rows.items()
        ],
        "changes": _changes(result.changes),
        "rows": sum(result.rows.values()),
        "seconds": round(result.seconds, 3),
        "left_out": [
            {"kind": s.kind, "name": s.name, "needs": list(s.needs), "sql": s.sql}
            for s in result.left_out
        ],
        "lacking": [
            {"kind": lack.kind, "name": lack.name, "sql": lack.sql, "instead": lack.instead}
            for lack in result.lacking
        ],
        "owner": result.owner,
        "missing_users": result.missing_users,
        "notes": list(result.notes),
        "faults": [
            {
                "kind": fault.statement.kind,
                "name": fault.statement.name,
                "needs": list(fault.statement.needs),
                "reason": fault.reason,
                "not_valid": fault.not_valid,
            }
            for fault in result.faults
        ],
        "redacted": [
            {"kind": s.kind, "name": s.name, "secrets": list(s.redacted)} for s in result.redacted
        ],
        "recomputed": [
            {"schema": table.schema, "table": table.name, "rows": rows}
            for table, rows in result.recomputed.items()
        ],
        **left_out_as_object(manifest),
    }


def undone_as_json(
    restore_id: UUID, changes: Mapping[TableName, Changes], *, dry_run: bool
) -> dict[str, Any]:
    """An undo, for programs."""
    return {"restore_id": str(restore_id), "dry_run": dry_run, "changes": _changes(changes)}


def tell(manifest: Manifest, result: RestoreResult) -> None:
    """A result for people: what became of the rows on stdout, the rest on stderr."""
    _print_changes(result.changes)
    if asked := described(manifest.options):
        say(printable(f"This backup is filtered, and holds nothing else: {asked}."))
    for line in (*in_lines(left_out(manifest)), *_imperfections(result)):
        say(printable(line))
    if result.owner is not None:
        owned = "would belong" if result.dry_run else "belongs"
        say(
            f"What was made {owned} to the role {printable(result.owner)}: SQL of a backup never "
            "runs as a superuser (--owner names another role)."
        )
    if result.dry_run:
        say("A dry run: nothing was changed.")
        return
    rows = sum(change.inserted + change.overwritten for change in result.changes.values())
    skipped = sum(change.skipped for change in result.changes.values())
    left = f" {number(skipped)} were skipped." if skipped else ""
    say(f"Restored {number(rows)} rows in {duration(result.seconds)}.{left}")
    if result.restore_id is not None:
        say(f"To put back what was replaced: convault restore --undo {result.restore_id}")


def tell_undone(changes: Mapping[TableName, Changes], *, dry_run: bool) -> None:
    """An undo, for people."""
    _print_changes(changes)
    say("A dry run: nothing was changed." if dry_run else "What was replaced is back.")


def _print_changes(changes: Mapping[TableName, Changes]) -> None:
    columns = ("inserted", "skipped", "overwritten", "removed")
    print_table(
        ("table", *columns),
        [
            (str(table), number(c.inserted), number(c.skipped), number(c.overwritten),
             number(c.removed))
            for table, c in changes.items()
        ],
        right=columns,
    )  # fmt: skip


def _changes(changes: Mapping[TableName, Changes]) -> list[dict[str, Any]]:
    return [
        {
            "schema": table.schema,
            "table": table.name,
            "inserted": change.inserted,
            "skipped": change.skipped,
            "overwritten": change.overwritten,
            "removed": change.removed,
        }
        for table, change in changes.items()
    ]


def _imperfections(result: RestoreResult) -> Iterator[str]:
    alike: dict[tuple[str, str], list[str]] = defaultdict(list)
    for statement in result.left_out:
        alike[", ".join(statement.needs), statement.kind].append(statement.name)
    for (missing, kind), names in alike.items():
        more = f" and {len(names) - _NAMED} more (--json names all)" if len(names) > _NAMED else ""
        yield f"left out, as {missing} is not there: {kind} {', '.join(names[:_NAMED])}{more}"
    for lack in result.lacking:
        instead = f" ({lack.instead})" if lack.instead else ""
        yield f"the target lacks the {lack.kind} {lack.name}{instead}; to add it: {lack.sql}"
    for reference, rows in result.missing_users.items():
        yield f"{number(rows)} rows named users that are not there: {reference}"
    yield from result.notes
    for statement in result.redacted:
        yield (
            f"without its secret ({', '.join(statement.redacted)}): {statement.kind} "
            f"{statement.name}: set it where it says {MARKER}"
        )
    for fault in result.faults:
        what = "not valid for the restored rows" if fault.not_valid else "left out, as refused"
        yield f"{what}: {fault.statement.kind} {fault.statement.name}: {fault.reason}"
    for table, rows in result.recomputed.items():
        yield f"other generated values than in the backup: {number(rows)} rows of {table}"
