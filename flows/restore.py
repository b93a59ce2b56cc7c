"""The restore: a backup, or some of it, into a database - completely or not at all."""

from typing import Annotated
from uuid import UUID

from prefect import flow
from pydantic import Field

from convault.files.restoring import require_files
from convault.restore import Restoration, RestoreOptions, RestoreResult
from flows.artifacts import publish_restore
from flows.restoring import Given, admitted
from tasks.boundary import contained
from tasks.decompress import decompress
from tasks.deserialize import deserialize
from tasks.download import download
from tasks.load import Load
from tasks.load_rows import load
from tasks.put_files import put_files

TargetName = Annotated[str, Field(pattern=r"^[A-Za-z][A-Za-z0-9_-]{0,62}$")]
"""NAME of CONVAULT_TARGET_<NAME>_URL: Prefect keeps and shows parameters, so never a URL"""


@flow(name="restore", retries=0, persist_result=False, log_prints=False)
@contained
def restore(
    backup_id: UUID,
    target: TargetName,
    options: RestoreOptions = RestoreOptions(),  # noqa: B008  frozen
    trust: bool = False,
    agree: bool = False,
) -> RestoreResult:
    """Restore the backup `backup_id` into the database of CONVAULT_TARGET_<TARGET>_URL.

    Needs the store and the target, and no catalog. `trust` takes an archive that is not signed,
    `agree` is the answer to what the command line would ask. Raises ConvaultError only; then the
    target is as it was.
    """
    given = Given(backup_id, target)
    trusted = admitted(given, options, trust=trust, agree=agree)
    if options.files:
        require_files(given.manifest)
    if options.files and not options.selects:
        put_files(Load(f"files of backup {backup_id}", given), options)
    with Restoration(
        given.store, given.manifest, given.target_url, options,
        identities=given.identities,
        trusted=trusted,
        confirm=lambda question: agree,
    ) as restoration:  # fmt: skip
        restoration.prepare()
        for piece in restoration.pieces():
            step = Load(str(piece), piece)
            stored = download(step, given.store, restoration.opener)
            plain = decompress(step, stored, restoration.opener)
            rows = deserialize(step, plain)
            load(step, rows, restoration)
        if restoration.pointed is not None:
            # Before the rows can be seen; what they point at was not known before.
            pointed = Load("files of the rows", restoration.pointed.files)
            put_files(Load(f"files of backup {backup_id}", given), options, pointed)
        result = restoration.finish()
    publish_restore(given.manifest, target, result)
    return result
