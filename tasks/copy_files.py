"""Copy Storage files into the repository."""

from __future__ import annotations

from collections.abc import Callable

from prefect import task

from convault.catalog.base import BackupStatus
from convault.encryption.objects import Encryptor
from convault.files import gathering
from convault.files.copying import Copied, Copier
from convault.files.held import held_of
from convault.files.outcomes import FileReceipts, counted, receipts, require_enough, unkept
from convault.files.references import References
from convault.files.wanted import FilesWanted
from convault.installation import Installation
from tasks.boundary import contained
from tasks.load import Load
from tasks.policy import POLICY
from tasks.tally import Tally

_LATEST = 20
"""backups that are looked at for files that are held already"""


class FileWork:
    """The copying of one run. What is done stays done when a task is tried again, or the run plans
    again under another snapshot."""

    def __init__(
        self,
        wanted: FilesWanted,
        installation: Installation,
        encryptor: Encryptor | None,
        check: Callable[[], None] = lambda: None,
    ) -> None:
        """`check` is called after each file, and ends the copying by an error."""
        self.wanted = wanted
        self.check = check
        self.storage = wanted.storage()
        self._installation = installation
        self._encryptor = encryptor
        self._copier: Copier | None = None

    @property
    def copier(self) -> Copier:
        """Knows what earlier backups hold. StoreError, CatalogError."""
        if self._copier is None:
            repository, catalog = self._installation.repository, self._installation.catalog
            latest = catalog.list(status=BackupStatus.COMPLETED, limit=_LATEST)
            held = held_of(repository, latest, self.storage.url, self._installation.signing)
            self._copier = Copier(self.storage, repository, held, self._encryptor)
        return self._copier


@task(name="copy_files", retries=4, **POLICY)
@contained
def copy_files(
    references: Load[References] | None, work: Load[FileWork] | None, tally: Tally
) -> Load[FileReceipts] | None:
    """Every file into the store, unless it is held; None when no files are wanted.

    FilesMissing when too many are not there. FilesError for anything else that Storage says but
    that a file is not there; only FilesUnavailable and StoreUnavailable are tried again.
    """
    if references is None or work is None:
        return None
    with tally.timed("files"):
        made = _copied(references.content, work.content, tally)
    warning = unkept(made.entries)
    if warning is not None:
        tally.warn(warning)
    require_enough(made.entries, work.content.wanted.missing_percent)
    return Load(f"{len(made.entries)} files", made)


def _copied(found: References, doing: FileWork, tally: Tally) -> FileReceipts:
    public = gathering.gather_listed(doing.storage, found)
    copier = doing.copier
    wanted = sorted(found.files)
    tally.plan_files(len(wanted))
    for address in wanted:
        if address in copier.done:
            tally.add_file(copier.done[address])

    def told(file: Copied) -> None:
        tally.add_file(file)
        doing.check()

    copied = copier.copy_all(wanted, doing.wanted.workers, told)
    made = receipts(
        found,
        {address: file.entry for address, file in copied.items()},
        doing.storage.url,
        public,
        copier.held.digest_keys,
    )
    tally.conclude_files(counted(made.entries))
    return made
