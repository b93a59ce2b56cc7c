"""Which columns of a dataset point at files: told by settings, or known by their names. Pure."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from convault.dataset.declared import parse_column
from convault.errors import OptionsError
from convault.files.several import BUCKETS, PATHS, Form, form_of
from convault.models import Column, Dataset, Table, TableName

TABLES = ("message_attachments", "attachments")
_URL = re.compile(r"(?:.*_)?url", re.IGNORECASE)
_URLS = re.compile(r"(?:.*_)?(?:urls?|attachments|media|files)", re.IGNORECASE)
_TEXT = re.compile(r"text|citext|.*\.citext|character varying.*|character\(.*")
_SEVERAL = re.compile(r"jsonb?|(text|character varying(\(\d+\))?)\[\]")
_PATH_SETTING = re.compile(r"([^@\s]+)@(=?)([^@=\s]+)")


@dataclass(frozen=True, slots=True)
class FileColumn:
    """A column whose values point at files: URLs, or paths in a bucket."""

    table: TableName
    column: str
    bucket_column: str | None = None
    """of the same table; it names the bucket of each path"""
    bucket: str | None = None
    """the bucket of all paths"""
    form: Form = ""
    """whether a value may point at several files"""

    @property
    def is_path(self) -> bool:
        """Or a URL."""
        return self.bucket_column is not None or self.bucket is not None

    @property
    def columns(self) -> tuple[str, ...]:
        """Those to read: what points, and the bucket, where there is one."""
        return (self.column, *([] if self.bucket_column is None else [self.bucket_column]))

    def __str__(self) -> str:
        return f"{self.table}.{self.column}"


@dataclass(frozen=True, slots=True)
class Told:
    """A column that a setting names."""

    table: TableName
    column: str
    bucket_column: str | None = None
    bucket: str | None = None


def parse_paths(text: str) -> tuple[Told, ...]:
    """`table.column@bucket_column` or `table.column@=bucket`, with commas between. ValueError."""
    found = []
    for entry in filter(None, (part.strip() for part in text.split(","))):
        matched = _PATH_SETTING.fullmatch(entry)
        if matched is None:
            raise ValueError("not `table.column@bucket_column` or `table.column@=bucket`")
        table, column = parse_column(matched[1])
        fixed = bool(matched[2])
        found.append(
            Told(table, column, None if fixed else matched[3], matched[3] if fixed else None)
        )
    return tuple(found)


def parse_urls(text: str) -> tuple[Told, ...]:
    """`table.column`, with commas between. ValueError."""
    entries = filter(None, (part.strip() for part in text.split(",")))
    return tuple(Told(*parse_column(entry)) for entry in entries)


def file_columns(
    dataset: Dataset, paths: Sequence[Told] = (), urls: Sequence[Told] = (),
    allowed: Sequence[str] = (),
) -> tuple[FileColumn, ...]:  # fmt: skip
    """The columns of the dataset's rows that point at files.

    Those that the settings name; where they name none of paths (or of URLs), those that are known
    by their names. Masked columns are none: what stands there is no address. OptionsError when
    there is none although nothing was left out, and for names that lead nowhere.
    """
    holders = [table for table in dataset.tables if table.kind == "r" and not table.reference_only]
    found: list[FileColumn] = []
    for table in holders:
        names = {column.name: column for column in table.columns}
        found += _told(dataset, table, names, paths or None)
        if not paths:
            found += _known_paths(dataset, table, names, allowed)
        found += _told(dataset, table, names, urls or None)
        if not urls:
            taken = {column.column for column in found if column.table == table.name}
            found += [
                FileColumn(table.name, column.name, form=form_of(column.type))
                for column in table.columns
                if _is_known(column) and not column.mask and column.name not in taken
            ]
    _require_found(dataset, [*paths, *urls])
    masked = any(column.mask for table in dataset.tables for column in table.columns)
    if not found and not masked and not dataset.absent:
        raise OptionsError(
            "includeAttachments: no column of the backup is known to point at files. Name them: "
            "CONVAULT_FILE_PATHS=table.path_column@bucket_column, "
            "CONVAULT_FILE_URLS=table.url_column."
        )
    return tuple(found)


def _told(
    dataset: Dataset, table: Table, names: dict[str, Column], told: Sequence[Told] | None
) -> Iterator[FileColumn]:
    for entry in told or ():
        if entry.table not in _names(dataset, table):
            continue
        wanted = [entry.column, *([] if entry.bucket_column is None else [entry.bucket_column])]
        if all(name in names and not names[name].mask for name in wanted):
            form = form_of(names[entry.column].type)
            yield FileColumn(table.name, entry.column, entry.bucket_column, entry.bucket, form)


def _is_known(column: Column) -> bool:
    """By its name and type, for one that holds URLs."""
    if _SEVERAL.fullmatch(column.type):
        return _URLS.fullmatch(column.name) is not None
    return bool(_URL.fullmatch(column.name) and _TEXT.fullmatch(column.type))


def _known_paths(
    dataset: Dataset, table: Table, names: dict[str, Column], allowed: Sequence[str]
) -> Iterator[FileColumn]:
    if not any(name.name in TABLES for name in _names(dataset, table)):
        return
    path = next((name for name in PATHS if name in names), None)
    if path is None or names[path].mask:
        return
    form = form_of(names[path].type)
    bucket = next((name for name in BUCKETS if name in names), None)
    if bucket is not None:
        if not names[bucket].mask:
            yield FileColumn(table.name, path, bucket, form=form)
    elif _left_out(dataset, table, BUCKETS):
        return
    elif len(allowed) == 1:
        yield FileColumn(table.name, path, None, allowed[0], form)
    else:
        raise OptionsError(
            f"includeAttachments: {table.name}.{path} holds paths, and no column beside it says in "
            f"which bucket. Say so: CONVAULT_FILE_PATHS={table.name}.{path}@=bucket."
        )


def _left_out(dataset: Dataset, table: Table, columns: Sequence[str]) -> bool:
    names = _names(dataset, table)
    return any(a.table in names and a.column in columns for a in dataset.absent)


def _names(dataset: Dataset, table: Table) -> set[TableName]:
    """Of the table, and of those that it is a partition or an heir of."""
    parents = {other.name: other.parents for other in dataset.tables}
    found, new = set(), {table.name}
    while new:
        found |= new
        new = {parent for name in new for parent in parents.get(name, ())} - found
    return found


def _require_found(dataset: Dataset, told: Sequence[Told]) -> None:
    tables = {table.name: {column.name for column in table.columns} for table in dataset.tables}
    absent = {(absence.table, absence.column) for absence in dataset.absent}
    for entry in told:
        for column in filter(None, (entry.column, entry.bucket_column)):
            known = column in tables.get(entry.table, ())
            if not known and not {(entry.table, None), (entry.table, column)} & absent:
                raise OptionsError(
                    f"includeAttachments: there is no column {entry.table}.{column} in the backup. "
                    "Correct CONVAULT_FILE_PATHS or CONVAULT_FILE_URLS."
                )
