"""`convault download` and `convault extract`."""

from __future__ import annotations

import os
import sys
import tempfile
from collections.abc import Iterable, Iterator
from pathlib import Path
from shlex import quote
from typing import TYPE_CHECKING, Annotated

import typer

from cli import progress
from cli.identify import BackupName, backup_named, is_backup_name
from cli.identities import Identities, identities_of
from cli.opening import opened
from cli.output import AsJson, number, print_json, say, size
from cli.signatures import say_signature
from convault.durability import sync
from convault.errors import ConfigurationError, NotFoundError
from convault.layout import MANIFEST_NAME
from convault.progress import report
from convault.settings import load_settings

if TYPE_CHECKING:
    from convault.archive.extraction import Extracted

Output = Annotated[
    str | None,
    typer.Option(
        "-o",
        "--output",
        metavar="FILE",
        help="Where to; `-` is stdout. By default backup_<id>.tar in this folder.",
    ),
]


def download(
    backup: BackupName,
    output: Output = None,
    force: Annotated[bool, typer.Option("--force", help="Replace a file that is there.")] = False,
    as_json: AsJson = False,
) -> None:
    """Write a backup into one tar file.

    Every tool opens it: `tar xf`, then `sha256sum -c SHA256SUMS`, then `zstd -d`.

    Example: convault download latest -o school.tar
    """
    from convault.archive.composed import Archive

    if output == "-" and (as_json or sys.stdout.isatty()):
        raise ConfigurationError(
            "With `-o -` the archive itself goes to stdout: redirect it, and leave --json away."
        )
    installation = opened(load_settings())
    archive = Archive(installation.repository, backup_named(installation, backup))
    pieces = reported(archive.stream(), archive.file_name, archive.size)
    if output == "-":
        with progress.shown():
            for piece in pieces:
                sys.stdout.buffer.write(piece)
            sys.stdout.buffer.flush()
        return
    path = _path(output, archive.file_name)
    with progress.shown():
        write_file(pieces, path, force=force)
    if as_json:
        file = {"id": str(archive.manifest.backup_id), "file": str(path), "bytes": archive.size}
        print_json(file)
    else:
        print(path)
        say(f"{size(archive.size)}. Look inside with: convault extract {quote(str(path))} FOLDER")


def extract(
    source: Annotated[
        str, typer.Argument(metavar="ID|FILE.tar", help="A backup, or a tar that was downloaded.")
    ],
    folder: Annotated[
        Path, typer.Argument(metavar="DIR", help="A folder that is empty or does not exist.")
    ],
    identity: Identities = None,
    as_json: AsJson = False,
) -> None:
    """Unpack a backup into a folder and check every file against its digest.

    The folder appears only when all of it is there and right. A tar file needs no settings. Files
    that are encrypted are decrypted with --identity; `tar xf` leaves them as they are.

    Example: convault extract latest school
    """
    from convault.archive import extraction

    if is_backup_name(source) and not Path(source).exists():
        done = _extract_stored(source, folder, identity)
    else:
        path = Path(source)
        if not path.is_file():
            raise NotFoundError(f"There is no file {source}, nor is that the id of a backup.")
        settings = load_settings()
        encrypted = extraction.manifest_of(path).encryption is not None
        identities = identities_of(settings, identity) if encrypted else ()
        with progress.shown():
            done = extraction.extract(
                reported(_read(path), path.name, path.stat().st_size),
                folder,
                identities=identities,
                keys=settings.signing,
            )
    if as_json:
        print_json(
            {
                "id": str(done.manifest.backup_id),
                "folder": str(done.folder),
                "files": done.files,
                "bytes": done.bytes,
                "decrypted": done.decrypted,
                "signature": done.signature,
            }
        )
    else:
        print(done.folder)
        say(f"{number(done.files)} files, {size(done.bytes)}: each has its digest of SHA256SUMS.")
        if done.decrypted:
            say(f"{number(done.decrypted)} of them were encrypted, and lie there decrypted now.")
    stored = (done.folder / MANIFEST_NAME).read_bytes()
    say_signature(done.signature, stored, load_settings().signing)


def _extract_stored(name: str, folder: Path, identity: list[Path] | None) -> Extracted:
    from convault.archive import extraction
    from convault.archive.composed import Archive

    settings = load_settings()
    installation = opened(settings)
    archive = Archive(installation.repository, backup_named(installation, name))
    identities = identities_of(settings, identity) if archive.manifest.encryption else ()
    with progress.shown():
        pieces = reported(archive.stream(), archive.file_name, archive.size)
        return extraction.extract(pieces, folder, identities=identities, keys=installation.signing)


def reported(pieces: Iterable[bytes], subject: str, total: int) -> Iterator[bytes]:
    """`pieces`, telling the listeners (convault.progress) how many bytes have gone by."""
    done = 0
    for piece in pieces:
        report("copy", subject, done=done, total=total, unit="bytes")
        yield piece
        done += len(piece)
    report("copy", subject, done=done, total=total, unit="bytes")


def write_file(pieces: Iterable[bytes], path: Path, *, force: bool = False) -> None:
    """Write `pieces` to `path`, mode 0600: the whole on stable storage, or nothing.

    ConfigurationError when it is there already (unless `force`); StoreError when the disk refuses.
    """
    from convault.stores.failures import translated

    _refuse_existing(path, force)
    with translated("writing the archive", str(path.parent)):
        descriptor, scratch = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)
        try:
            with os.fdopen(descriptor, "wb") as file:
                for piece in pieces:
                    file.write(piece)
                file.flush()
                os.fsync(file.fileno())
            _refuse_existing(path, force)
            Path(scratch).replace(path)
        except BaseException:
            Path(scratch).unlink()
            raise
        sync(path.parent)


def _refuse_existing(path: Path, force: bool) -> None:
    if path.is_dir():
        raise ConfigurationError(f"{path} is a folder: name a file.")
    if not force and os.path.lexists(path):
        raise ConfigurationError(
            f"{path} is there already: name another file with -o, or replace it with --force."
        )


def _path(output: str | None, file_name: str) -> Path:
    path = Path(output or file_name)
    if path.is_dir():
        path /= file_name
    if not path.parent.is_dir():
        raise ConfigurationError(f"The folder {path.parent} does not exist: make it first.")
    return path.absolute()


def _read(path: Path) -> Iterator[bytes]:
    with path.open("rb") as file:
        while piece := file.read(1024 * 1024):
            yield piece
