"""The backup: everything of one moment, stored completely or not at all."""

from uuid import UUID

from prefect import flow

from convault.catalog import BackupRecord
from convault.models import BackupOptions
from convault.settings import load_settings
from flows.artifacts import progress_shown, publish
from flows.chunks import carry_all, carry_late
from flows.cluster import carry_away_all
from flows.pausing import wait_for_end_of_pause
from flows.running import Run
from flows.slots import one_backup_per_slot
from flows.stopping import finished_first
from flows.telling import told
from tasks.boundary import contained
from tasks.carry import Work
from tasks.chunk import chunk
from tasks.copy_files import copy_files
from tasks.count import count
from tasks.find_files import find_files, note_files
from tasks.load import Load
from tasks.record import record


@flow(name="backup", retries=0, persist_result=False, log_prints=False)
@one_backup_per_slot
@contained
@told
def backup(
    options: BackupOptions = BackupOptions(),  # noqa: B008  frozen
    backup_id: UUID | None = None,
) -> BackupRecord:
    """Back up the conversations and what belongs to them; the row of the completed backup.

    `backup_id` is that of a pending row which the API made; without it a new one is made, one for
    each time that a schedule comes due. Raises
    ConvaultError only; the row then says `failed`, and nothing that was stored before is touched.
    """
    wait_for_end_of_pause(load_settings())
    run = Run(backup_id, options)
    settings, tally = run.settings, run.tally
    with run.recorded(), progress_shown():
        while run.record is None:
            with run.attempt():
                parentage = run.parentage()
                with run.snapshot() as snapshot:
                    repository = run.installation.repository
                    with tally.timed("chunk"):
                        plan = chunk(
                            snapshot,
                            options,
                            parentage,
                            repository,
                            recipients=run.encryptor.recipients if run.encryptor else (),
                            range_pages=settings.convault_range_pages,
                            chunk_bytes=settings.convault_chunk_bytes,
                            part_bytes=settings.convault_part_bytes,
                            workers=settings.convault_workers,
                        ).content
                    noted = note_files(snapshot, run.files_wanted)
                    tally.plan(plan.chunks, plan.taking)
                    work = Work(
                        snapshot.content, repository, options, settings.convault_part_bytes, tally,
                        run.encryptor, run.deadline,
                    )  # fmt: skip
                    if settings.convault_task_runner == "dask":
                        parts = carry_away_all(plan.chunks, snapshot.content, work, settings)
                    else:
                        parts = carry_all(plan.chunks, work, settings.convault_workers)
                    late, late_keys = carry_late(snapshot.content, work, settings.convault_workers)
                    plan = plan.with_keys([*plan.keys, *late_keys])
                    files = find_files(snapshot, noted)
                    with tally.timed("count"):
                        plan, counts = count(
                            snapshot, Load("plan", plan), settings.convault_workers
                        ).content
                    run.see_again(snapshot.content)
                    run.compare(counts)
                copied = copy_files(files, run.file_work, tally)
                with tally.timed("record"), finished_first():
                    run.record = record(
                        run.backup_id, options, repository, run.catalog, run.lease, snapshot,
                        counts, Load("parts", [*parts, *late]), Load("plan", plan),
                        Load("tally", tally), run.encryptor, run.installation.signing,
                        copied,
                    )  # fmt: skip
    assert run.record is not None
    publish(run.record, run.installation.repository)
    return run.record
