"""Every error that Convault raises on purpose.

ConvaultError
├── ConfigurationError      something must be set, or is set wrongly
│   └── OptionsError        a backup option is unknown, malformed or not possible
├── NotFoundError           no backup, table or target of that name
├── BusyError               somebody else holds what is needed: try later
├── SourceError             the database that is read
│   ├── SourceUnavailable   it cannot be reached, or the connection was lost (transient)
│   ├── SnapshotLost        the exporter's connection went: plan again under a new snapshot
│   ├── AuthenticationError wrong user or password
│   ├── MissingTable        a table of the dataset is not there
│   ├── MissingPrivilege    the role may not read something
│   ├── RowsHidden          row security would hide rows from this role
│   ├── LockNotAvailable    somebody holds a lock that keeps even readers out (transient)
│   └── UnsupportedSource   server too old, foreign partitions, and the like
├── StoreError              the place that bytes go to
│   ├── StoreUnavailable    it cannot be reached, or answered that it is busy (transient)
│   ├── ObjectMissing       an object that must be there is not
│   ├── ObjectConflict      another object is already stored under that key
│   └── QuotaExceeded       it would hold more than CONVAULT_STORE_QUOTA allows
├── RepositoryError         not a repository, another one, a newer format, or a broken manifest
├── CatalogError            the `backups` table and its neighbours
│   ├── CatalogUnavailable  it cannot be reached (transient)
│   └── CatalogTooNew       its tables are those of a newer version
├── LeaseLost               the run no longer holds its lease: it must not commit
├── IncompleteBackup        what was stored is not what was counted: nothing was committed
├── IntegrityError          stored bytes do not have their digest, or an archive is damaged
│   ├── VerificationFailed  objects of the repository are damaged or missing
│   ├── DrillFailed         a restored backup did not pass its checks
│   └── DamagedHeader       the part of an encrypted object that says who may open it is damaged
├── EncryptionError         what is encrypted cannot be made or opened
│   ├── RecipientMissing    a backup must be encrypted, and there is nobody to encrypt it to
│   ├── IdentityNeeded      the rows are encrypted, and no identity was given to read them
│   ├── IdentityMissing     the identity file is not there
│   ├── IdentityUnusable    what was given as an identity file is none, or others can read it
│   ├── WrongIdentity       none of the identities that were given opens the backup
│   └── WrongPassphrase     the passphrase does not open the identity file
├── SignatureError          a manifest is not what was signed
├── RestoreError            the target cannot take the backup
│   └── RestoredWithFaults  it took all rows, but not every index or constraint
├── PolicyError             rules of a clean-up are empty, malformed or contradict each other
├── RemovalRefused          a backup must stay: pinned, the last good one, or still being made
├── SweepRefused            what could be needed cannot be told for certain: nothing was removed
├── NotAdopted              the repository belongs to another installation: it is only read
├── FilesError              the Storage whose files are copied refused or failed
│   ├── FilesUnavailable    it cannot be reached, or answered that it is busy (transient)
│   └── FilesMissing        more of the files that rows point at are missing than may be
├── NotTold                 somebody was to be told of something, and could not be
├── NotHealthy              `convault doctor` found what keeps backups or restores from working
├── ClusterUnavailable      the Dask cluster cannot be reached, or its workers die (transient)
├── StackError              `convault up` cannot go on
│   ├── PartFailed          a part did not start, or kept ending
│   └── PortTaken           somebody listens already where a part would
└── PrefectUnavailable      no Prefect server, or no deployment on it, to run a backup (transient)

Messages say what happened and what to do next. They never hold a secret or a row's value: Postgres
DETAIL, HINT and CONTEXT quote rows, so they are cut where the driver's error is translated
(`convault.sources.failures`), and the driver's error is not chained (`from None`).
"""

from __future__ import annotations

from typing import ClassVar


class ConvaultError(Exception):
    """The root: carries a stable `code`, an exit status, an HTTP status and the ids it is about."""

    code: ClassVar[str] = "error"
    exit_code: ClassVar[int] = 1
    http_status: ClassVar[int] = 500
    transient: ClassVar[bool] = False
    """Whether trying the same thing again can help."""

    def __init__(self, message: str, **ids: object) -> None:
        """`message` is for people; `ids` (table=, key=, backup=, ...) are for machines."""
        super().__init__(message)
        self.message = message
        self.ids = {name: str(value) for name, value in ids.items()}

    def __reduce__(self) -> tuple[object, ...]:
        """Pickle with the ids (Prefect carries errors between processes)."""
        return _rebuild, (type(self), self.message, self.ids)


def sentence_of(code: str) -> str:
    """What errors of that code say of themselves, without a word about this one; '' for none."""
    kinds: list[type[ConvaultError]] = [ConvaultError]
    while kinds:
        kind = kinds.pop()
        if kind.code == code and kind is not ConvaultError:
            return (kind.__doc__ or "").partition("\n")[0].strip()
        kinds += kind.__subclasses__()
    return ""


def _rebuild(cls: type[ConvaultError], message: str, ids: dict[str, str]) -> ConvaultError:
    return cls(message, **ids)


class ConfigurationError(ConvaultError):
    """Something must be set, or is set wrongly."""

    code, exit_code, http_status = "configuration", 3, 500


class OptionsError(ConfigurationError):
    """A backup option is unknown, malformed or not possible."""

    code, exit_code, http_status = "options", 4, 422


class NotFoundError(ConvaultError):
    """No backup, table or target of that name."""

    code, exit_code, http_status = "not-found", 5, 404


class BusyError(ConvaultError):
    """Somebody else holds what is needed."""

    code, exit_code, http_status, transient = "busy", 6, 409, True


class SourceError(ConvaultError):
    """The database that is read refused or failed."""

    code, exit_code, http_status = "source", 10, 502


class SourceUnavailable(SourceError):
    """The source cannot be reached, or a connection was lost."""

    code, exit_code, http_status, transient = "source-unavailable", 11, 503, True


class SnapshotLost(SourceError):
    """The connection that exported the snapshot is gone, and the snapshot with it."""

    code, exit_code = "snapshot-lost", 12


class AuthenticationError(SourceError):
    """The source refuses the user or the password."""

    code, exit_code = "authentication", 13


class MissingTable(SourceError):
    """A table that the dataset needs is not in the source."""

    code, exit_code = "missing-table", 14


class MissingPrivilege(SourceError):
    """The role may not read a table of the dataset."""

    code, exit_code = "missing-privilege", 15


class RowsHidden(SourceError):
    """Row security would hide rows from this role; a backup without them is worse than none."""

    code, exit_code = "rows-hidden", 16


class LockNotAvailable(SourceError):
    """Somebody holds a lock that keeps even readers out."""

    code, exit_code, http_status, transient = "lock-not-available", 17, 503, True


class UnsupportedSource(SourceError):
    """The source has something that cannot be backed up exactly."""

    code, exit_code = "unsupported-source", 18


class StoreError(ConvaultError):
    """The store refused or failed."""

    code, exit_code, http_status = "store", 20, 502


class StoreUnavailable(StoreError):
    """The store cannot be reached or is busy."""

    code, exit_code, http_status, transient = "store-unavailable", 21, 503, True


class ObjectMissing(StoreError):
    """An object that must be there is not."""

    code, exit_code = "object-missing", 22


class ObjectConflict(StoreError):
    """Another object is already stored under that key."""

    code, exit_code = "object-conflict", 23


class QuotaExceeded(StoreError):
    """The store would hold more than CONVAULT_STORE_QUOTA allows."""

    code, exit_code, http_status = "quota-exceeded", 96, 507


class RepositoryError(ConvaultError):
    """Not a repository, another repository, a newer format, or a broken manifest."""

    code, exit_code, http_status = "repository", 30, 500


class CatalogError(ConvaultError):
    """The catalog refused or failed."""

    code, exit_code, http_status = "catalog", 40, 500


class CatalogUnavailable(CatalogError):
    """The catalog cannot be reached."""

    code, exit_code, http_status, transient = "catalog-unavailable", 41, 503, True


class CatalogTooNew(CatalogError):
    """The catalog's tables are those of a newer version."""

    code, exit_code = "catalog-too-new", 74


class LeaseLost(ConvaultError):
    """The run no longer holds its lease."""

    code, exit_code = "lease-lost", 42


class IncompleteBackup(ConvaultError):
    """What was stored is not what was counted."""

    code, exit_code = "incomplete", 50


class IntegrityError(ConvaultError):
    """Stored bytes are not what the manifest says."""

    code, exit_code = "integrity", 51


class VerificationFailed(IntegrityError):
    """Objects that backups need are damaged or missing."""

    code, exit_code = "verification-failed", 52


class DrillFailed(IntegrityError):
    """A backup was restored for a trial, or was to be, and a check of it failed."""

    code, exit_code = "drill-failed", 53


class DamagedHeader(IntegrityError):
    """The header of an encrypted object, which says who may open it, is damaged."""

    code, exit_code = "damaged-header", 54


class RestoreError(ConvaultError):
    """The target cannot take the backup."""

    code, exit_code = "restore", 60


class RestoredWithFaults(RestoreError):
    """All rows are in the target; some index, constraint or generated value is not, as asked."""

    code, exit_code = "restored-with-faults", 61


class PrefectUnavailable(ConvaultError):
    """There is no Prefect server, or no deployment on it, that would run the backup."""

    code, exit_code, http_status, transient = "prefect-unavailable", 70, 503, True


class ClusterUnavailable(ConvaultError):
    """The Dask cluster that carries chunks cannot be reached, has no worker, or loses them."""

    code, exit_code, http_status, transient = "cluster-unavailable", 69, 503, True


class StackError(ConvaultError):
    """`convault up` cannot start, or keep, what it is made of."""

    code, exit_code = "stack", 71


class PartFailed(StackError):
    """A part of the stack did not start, or kept ending."""

    code, exit_code = "part-failed", 72


class PortTaken(StackError):
    """Somebody listens already on a port that a part needs."""

    code, exit_code = "port-taken", 73


class FilesError(ConvaultError):
    """The Storage that files are copied from, or put back into, refused or failed."""

    code, exit_code, http_status = "files", 75, 502


class FilesUnavailable(FilesError):
    """That Storage cannot be reached or is busy."""

    code, exit_code, http_status, transient = "files-unavailable", 76, 503, True


class FilesMissing(FilesError):
    """Files that rows point at are not there, and more of them than may be."""

    code, exit_code = "files-missing", 77


class NotTold(ConvaultError):
    """Somebody was to be told of something, and a channel of CONVAULT_NOTIFY_URLS failed."""

    code, exit_code, http_status, transient = "not-told", 79, 502, True


class NotHealthy(ConvaultError):
    """`convault doctor` found something that keeps backups or restores from working."""

    code, exit_code = "not-healthy", 95


class EncryptionError(ConvaultError):
    """What is encrypted cannot be made or opened."""

    code, exit_code = "encryption", 80


class RecipientMissing(EncryptionError):
    """A backup must be encrypted, and there is nobody to encrypt it to."""

    code, exit_code, http_status = "recipient-missing", 81, 409


class IdentityNeeded(EncryptionError):
    """The rows are encrypted, and no identity was given to read them with."""

    code, exit_code = "identity-needed", 82


class IdentityMissing(EncryptionError):
    """The identity file is not there."""

    code, exit_code = "identity-missing", 83


class IdentityUnusable(EncryptionError):
    """What was given as an identity file is none, or others can read it."""

    code, exit_code = "identity-unusable", 84


class WrongIdentity(EncryptionError):
    """None of the identities that were given opens the backup."""

    code, exit_code = "wrong-identity", 85


class WrongPassphrase(EncryptionError):
    """The passphrase does not open the identity file."""

    code, exit_code = "wrong-passphrase", 86


class SignatureError(ConvaultError):
    """A manifest is not what was signed."""

    code, exit_code = "signature", 90


class PolicyError(ConvaultError):
    """Rules of a clean-up are empty, malformed, or contradict each other."""

    code, exit_code, http_status = "policy", 65, 422


class RemovalRefused(ConvaultError):
    """A backup must stay: it is pinned, the last good one of its kind, or still being made."""

    code, exit_code, http_status = "removal-refused", 66, 409


class SweepRefused(ConvaultError):
    """What backups need cannot be told for certain, so nothing was removed."""

    code, exit_code, http_status = "sweep-refused", 67, 409


class NotAdopted(ConvaultError):
    """The repository belongs to another installation; this one may only read it."""

    code, exit_code, http_status = "not-adopted", 68, 409
