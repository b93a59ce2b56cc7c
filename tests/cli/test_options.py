"""The options of the command line and of --options, put together."""

from __future__ import annotations

import pytest

from cli.backups import wanted_options
from convault.errors import OptionsError
from convault.models import BackupOptions


def test_nothing_asked_for_means_the_defaults() -> None:
    assert wanted_options(None, None, None) == wanted_options("{}", None, None) == BackupOptions()


@pytest.mark.parametrize("name", ["compressionLevel", "compression_level"])
def test_json_takes_both_kinds_of_names_and_the_command_line_wins(name: str) -> None:
    as_json = f'{{"{name}": 9}}'
    assert wanted_options(as_json, None, None).compression_level == 9
    assert wanted_options(as_json, None, 0).compression_level == 0
    assert wanted_options(as_json, "json", 22).compression_level == 22


@pytest.mark.parametrize("as_json", ["{", "[]", "3", '"x"', '{"include_messages": "no"}'])
def test_what_cannot_be_is_refused(as_json: str) -> None:
    with pytest.raises(OptionsError):
        wanted_options(as_json, None, None)


def test_files_are_asked_for() -> None:
    assert not BackupOptions().include_attachments
    strict = wanted_options(None, None, None, strict_attachments=True, include_attachments=True)
    assert strict.include_attachments
    assert wanted_options('{"includeAttachments": true}', None, None, buckets=["media"]) == (
        BackupOptions(include_attachments=True, buckets=("media",))
    )
    with pytest.raises(OptionsError, match="strictAttachments is about files"):
        wanted_options(None, None, None, strict_attachments=True)
