"""A restore takes the memory of a few parts, however many there are."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import psycopg
import pytest

from convault.embedded.server import EmbeddedPostgres
from convault.manifest import Manifest, TableEntry
from convault.repository import Repository
from convault.stores import open_store
from tests.restore.builder import back_up

PART_BYTES = 8 << 20
FEW, PARTS = 5, 14
"""with five, the next parts are on their way while one is loaded, as with more"""

CHILD = """
import sys
from pathlib import Path
from convault.manifest import Manifest
from convault.repository import Repository
from convault.restore import restore
from convault.stores import open_store

store, manifest, target = sys.argv[1:]
manifest = Manifest.model_validate_json(Path(manifest).read_bytes())
restore(Repository.open(open_store(store)), manifest, target)
# Not getrusage: a process starts with the peak of the one that started it.
print(Path("/proc/self/status").read_text().split("VmHWM:")[1].split()[0])
"""


def _repeated(manifest: Manifest, times: int) -> Manifest:
    """The same part again and again: as good as other rows, and quicker to make."""

    def repeated(table: TableEntry) -> TableEntry:
        parts = tuple(
            part.model_copy(update={"ordinal": n}) for part in table.parts for n in range(times)
        )
        return table.model_copy(update={"parts": parts, "rows": table.rows * times})

    tables = tuple(repeated(table) for table in manifest.tables)
    return manifest.model_copy(update={"tables": tables})


def _peak(store: str, manifest: Manifest, target: str, folder: Path) -> int:
    """Bytes that a process which does nothing else has at most."""
    file = folder / "manifest.json"
    file.write_text(manifest.model_dump_json())
    answer = subprocess.run(
        [sys.executable, "-c", CHILD, store, str(file), target],
        check=True, capture_output=True, text=True,
    )  # fmt: skip
    return int(answer.stdout) * 1024


@pytest.mark.skipif(
    not Path("/proc/self/status").exists(), reason="the system does not tell a process its peak"
)
def test_memory_does_not_grow_with_the_number_of_parts(
    cluster: EmbeddedPostgres, new_database: Callable[[EmbeddedPostgres], str], tmp_path: Path
) -> None:
    source = new_database(cluster)
    with psycopg.connect(source) as connection:
        connection.execute("CREATE TABLE public.conversations (id int PRIMARY KEY)")
        connection.execute("CREATE TABLE public.messages"
                           " (id int REFERENCES public.conversations, body text)")  # fmt: skip
        connection.execute("INSERT INTO public.messages SELECT NULL, repeat('message ', 120)"
                           " FROM generate_series(1, 8000)")  # fmt: skip
    store = f"file://{tmp_path}/store"
    repository = Repository.create(open_store(store, create=True))
    once = back_up(repository, source, part_bytes=PART_BYTES, range_pages=1 << 20)
    often = _repeated(once, PARTS)
    assert often.plain_bytes > PARTS * PART_BYTES * 0.9
    few, many = (_peak(store, m, new_database(cluster), tmp_path)
                 for m in (_repeated(once, FEW), often))  # fmt: skip
    assert many - few < 2 * PART_BYTES
