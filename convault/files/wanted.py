"""Which files a backup is asked for, by its options and the settings."""

from __future__ import annotations

from dataclasses import dataclass, field

from convault.errors import ConfigurationError, OptionsError
from convault.files.addresses import Address, Borders, hosts_of
from convault.files.columns import Told, file_columns
from convault.files.references import References
from convault.files.storage import FileStorage
from convault.models import BackupOptions, Dataset
from convault.project import Project, project
from convault.settings import Settings, listed


@dataclass(frozen=True, slots=True)
class FilesWanted:
    """Where files come from, and which of them."""

    project: Project = field(repr=False)
    borders: Borders
    attachments: bool
    """those that rows point at"""
    buckets: tuple[str, ...]
    """those of which every file is wanted"""
    paths: tuple[Told, ...]
    urls: tuple[Told, ...]
    missing_percent: float
    """of the files: more may not be missing; 0 where not one may"""
    workers: int

    def storage(self) -> FileStorage:
        """The Storage, opened."""
        return FileStorage(self.project)

    def references(self, dataset: Dataset) -> References:
        """Nothing yet, of the columns of this dataset. OptionsError as `file_columns`."""
        columns = (
            file_columns(dataset, self.paths, self.urls, self.borders.allowed)
            if self.attachments
            else ()
        )
        return References(self.borders, columns, listed=self.buckets)


def files_wanted(settings: Settings, options: BackupOptions) -> FilesWanted | None:
    """What is asked for; None when no files are. OptionsError without SUPABASE_URL or its key,
    because files are in a project's Storage, and for a bucket that may not be copied. Nothing is
    connected."""
    buckets = tuple(dict.fromkeys(options.buckets or ()))
    if not options.include_attachments and not buckets:
        return None
    name = "includeAttachments" if options.include_attachments else "buckets"
    try:
        opened = project()
    except ConfigurationError as error:
        raise OptionsError(
            f"{name} copies files out of the Storage of a Supabase project, so it needs "
            f"SUPABASE_URL and SUPABASE_SERVICE_ROLE_KEY. {error.message} A database that is no "
            f"Supabase project has no such files: leave {name} out."
        ) from None
    allowed = listed(settings.convault_file_buckets)
    own = own_place(settings, opened.url)
    borders = Borders(hosts_of(opened.url, listed(settings.convault_file_hosts)), allowed, own)
    for bucket in buckets:
        if allowed and bucket not in allowed:
            raise OptionsError(
                f"buckets: CONVAULT_FILE_BUCKETS does not name {bucket}, so nothing is copied from "
                "it. Add it there, or leave it out."
            )
        if own is not None and own == (bucket, ""):
            raise OptionsError(f"buckets: {bucket} is where the backups are kept. Leave it out.")
    return FilesWanted(
        project=opened,
        borders=borders,
        attachments=options.include_attachments,
        buckets=buckets,
        paths=settings.file_paths,
        urls=settings.file_urls,
        missing_percent=0.0
        if options.strict_attachments
        else settings.convault_file_missing_percent,
        workers=settings.convault_file_workers,
    )


def own_place(settings: Settings, project_url: str) -> Address | None:
    """Where in this project the store keeps backups, by either of Storage's protocols."""
    from convault.stores import buckets
    from convault.stores.services import SERVICES
    from convault.stores.supabase.opening import parse

    url = settings.convault_store_url or ""
    scheme = url.partition("://")[0]
    if scheme == "supabase":
        return Address(*parse(url))
    if scheme == "s3":
        address = buckets.parse(url)
        endpoint = buckets.endpoint_of(SERVICES[scheme], address.parameters)
        hosts = hosts_of(project_url, listed(settings.convault_file_hosts))
        if endpoint and hosts_of(endpoint)[0] in hosts:
            return Address(address.container, address.prefix)
    return None
