"""What rows of megabytes cost: memory above all, since a row cannot be cut.

    python -m benchmarks.large_rows --rows 200 --megabytes 10

Messages whose bodies are 10 MB each are backed up in full by the core, in every form, and restored
into an empty database. Printed are medians.
"""

from __future__ import annotations

import argparse
import shutil
from pathlib import Path
from statistics import median

from benchmarks.case import take
from benchmarks.databases import SCHEMA, cluster, execute, installed, new_database, workplace
from benchmarks.meter import Taken, postmaster
from benchmarks.run import FORMATS
from convault.embedded.server import EmbeddedPostgres, wheel_binaries

_FILL = """
CREATE TEMP TABLE text AS SELECT string_agg(md5(n::text), '' ORDER BY n) AS whole
    FROM generate_series(1, {megabytes} * 1000000 / 32) n;
INSERT INTO contacts VALUES (1, 'contact', NULL);
INSERT INTO conversations VALUES (md5('c')::uuid, 1, 'subject', 'open', '2026-01-01');
INSERT INTO messages SELECT n, md5('c')::uuid, 'agent',
        substr(whole, n * 40000) || substr(whole, 1, n * 40000 - 1), '{{}}', '2026-01-01', NULL
    FROM text, generate_series(1, {rows}) n;
"""
"""Each body is the same text begun elsewhere: other bytes in each row, and in no row a repetition
that a compressor would reach."""


def filled(server: EmbeddedPostgres, rows: int, megabytes: int) -> str:
    """URL of a database with so many messages of so many megabytes."""
    url = new_database(server, "app")
    execute(url, SCHEMA)
    execute(url, "ALTER TABLE messages ALTER body SET STORAGE EXTERNAL")
    execute(url, _FILL.format(rows=rows, megabytes=megabytes))
    execute(url, "VACUUM ANALYZE")
    return url


def measured(
    server: EmbeddedPostgres, url: str, store: Path, format: str, level: int
) -> dict[str, Taken]:
    """A full backup of one form and its restore. SystemExit where one fails."""
    installed(url, new_database(server, "catalog"), store)
    asked = {"postgres": postmaster(server)}
    full, told = take({**asked, "kind": "core", "format": format, "level": level})
    target = new_database(server, "target")
    back, _ = take({**asked, "kind": "restore", "backup": told["backup"], "target": target})
    shutil.rmtree(store)
    name = f"{format.upper()} {level}"
    return {f"core {name}, full": full, f"restore {name}, everything": back}


def table(found: dict[str, list[Taken]]) -> str:
    """Markdown: a line for each case."""
    lines = ["| | seconds | CPU seconds | peak MiB |", "|---|---|---|---|"]
    for name, rounds in found.items():
        wall, cpu, peak = (
            median(getattr(t, key) for t in rounds) for key in ("wall", "cpu", "peak")
        )
        lines.append(f"| {name} | {wall:.2f} | {cpu:.2f} | {peak:.0f} |")
    return "\n".join(lines)


def main() -> None:
    """See the module."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--rows", type=int, default=200)
    parser.add_argument("--megabytes", type=int, default=10)
    parser.add_argument("--rounds", type=int, default=1)
    parser.add_argument("--binaries", type=Path, help="of Postgres; the wheel's 18 unless told")
    parser.add_argument("--folder", type=Path, help="where there is room: 12 GB")
    given = parser.parse_args()
    with (
        workplace(given.folder) as folder,
        cluster(folder, given.binaries or wheel_binaries()) as server,
    ):
        url = filled(server, given.rows, given.megabytes)
        found: dict[str, list[Taken]] = {}
        for _ in range(given.rounds):
            for format_, level in FORMATS:
                for name, one in measured(server, url, folder / "store", format_, level).items():
                    found.setdefault(name, []).append(one)
                    print(name, one, flush=True)
        print(table(found))


if __name__ == "__main__":
    main()
