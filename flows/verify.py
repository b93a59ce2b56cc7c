"""The verification: whether everything that backups need is there, and some of it read back."""

from uuid import UUID

from prefect import flow
from prefect.artifacts import create_table_artifact

from convault.incidents import Kind
from convault.installation import open_installation
from convault.notify.reporting import reported
from convault.notify.verified import judge
from convault.settings import load_settings
from convault.verification.findings import Verification
from convault.verification.reading import Subset
from convault.verification.verifying import concluded, require_sound
from flows.artifacts import tolerated
from flows.slots import newest_slot_only
from flows.telling import warn
from tasks.boundary import contained
from tasks.load import Load
from tasks.read_back import read_back
from tasks.repair import repair
from tasks.survey import survey


@flow(name="verify", retries=0, persist_result=False, log_prints=False)
@newest_slot_only
@contained
def verify(
    backup_id: UUID | None = None, read_data: str | None = None, put_back: bool = False
) -> Verification:
    """Look every object of every backup up (or of one), and read `read_data` of them back: `N/T`,
    N of T slices, other ones each time; or `all`. With `put_back`, parts that are damaged or
    missing are made again from the source, where it still holds their rows.

    VerificationFailed, when a backup cannot be restored as it is; the table of findings is an
    artifact of the run. Other errors are ConvaultErrors, too.
    """
    subset = None if read_data is None else Subset.parse(read_data)
    settings = load_settings()
    with reported(Kind.VERIFY, settings, warn) as outcome:
        installation = open_installation(settings)
        repository, catalog = installation.repository, Load("catalog", installation.catalog)
        seen = survey(repository, catalog, backup_id, Load("signing keys", installation.signing))
        if subset is not None:
            read_back(repository, catalog, seen, subset)
        repair(Load("installation", installation), seen, put_back)
        found = concluded(repository, catalog.content, seen.content)
        publish(found)
        judge(outcome, found, installation, whole=backup_id is None)
        require_sound(found)
    return found


def publish(found: Verification) -> None:
    """The findings as a table."""
    with tolerated():
        create_table_artifact(
            table=[
                {
                    "what": finding.kind,
                    "object": finding.key,
                    "backups": ", ".join(map(str, finding.backups)),
                    "why": finding.reason,
                    "repair": finding.repair,
                }
                for finding in found.findings
            ],
            key="verification",
            description=f"{found.objects} objects of {len(found.backups)} backups looked up, "
            f"{found.read_objects} read back, {len(found.findings)} findings",
        )
