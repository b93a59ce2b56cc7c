"""Find the Storage files that rows point at."""

from __future__ import annotations

from prefect import task

from convault.files import gathering
from convault.files.references import References
from convault.files.wanted import FilesWanted
from convault.sources.base import Snapshot
from tasks.boundary import contained
from tasks.load import Load
from tasks.policy import POLICY


def note_files(
    snapshot: Load[Snapshot], wanted: Load[FilesWanted] | None
) -> Load[References] | None:
    """What is to be found, of which the snapshot is told before its rows are read; None when no
    files are wanted. OptionsError when no column is known to point at files."""
    if wanted is None:
        return None
    references = wanted.content.references(snapshot.content.dataset)
    gathering.note(snapshot.content, references)
    return Load("columns that point at files", references)


@task(name="find_files", retries=4, **POLICY)
@contained
def find_files(snapshot: Load[Snapshot], noted: Load[References] | None) -> Load[References] | None:
    """What the rows of the snapshot point at, the very rows that the backup holds, all of which
    were read; None when no files are wanted."""
    if noted is None:
        return None
    references = noted.content.anew()
    gathering.gather(snapshot.content, references)
    return Load(f"{len(references.files)} files", references)
