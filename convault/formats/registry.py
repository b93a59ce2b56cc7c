"""Which formats there are."""

from __future__ import annotations

from convault.formats.base import Format
from convault.formats.csv import Csv
from convault.formats.ndjson import Ndjson
from convault.formats.parquet import Parquet
from convault.models import BackupFormat

_FORMATS: dict[BackupFormat, Format] = {
    BackupFormat.JSON: Ndjson(),
    BackupFormat.CSV: Csv(),
    BackupFormat.PARQUET: Parquet(),
}


def format_of(format: BackupFormat) -> Format:
    """The format of that name."""
    return _FORMATS[format]


def format_of_name(name: str) -> Format:
    """The format of a part, by its key or its path in the tar, whatever else was done to it.
    ValueError for the name of something else."""
    endings = name.rpartition("/")[2].split(".")[1:]
    for format in _FORMATS.values():
        if endings and endings[0] == format.suffix(0)[1:]:
            return format
    raise ValueError(f"not the name of a part: {name!r}")
