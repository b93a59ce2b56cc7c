"""Compress documents into the bytes that are stored."""

from __future__ import annotations

from prefect import task

from convault import carrying
from convault.carrying import Packed, Written
from convault.encryption.objects import Encryptor
from convault.models import BackupOptions
from tasks.boundary import contained
from tasks.load import Load
from tasks.policy import POLICY


@task(name="compress", task_run_name="compress {documents}", retries=0, **POLICY)
@contained
def compress(
    documents: Load[list[Written]], options: BackupOptions, encryptor: Encryptor | None
) -> Load[list[Packed]]:
    """Parts, encrypted behind the compression when there is an `encryptor`. The documents are let
    go on the way. No retries: it depends on nothing but its input."""
    packed = carrying.packed(documents.content, options, encryptor)
    return Load(str(documents), list(packed))
