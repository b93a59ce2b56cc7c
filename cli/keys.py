"""`convault keys`: who can read encrypted backups, and what signs manifests."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from cli.identify import shortened
from cli.identities import new_passphrase
from cli.opening import opened
from cli.output import AsJson, moment, print_json, print_table, say
from convault.errors import (
    ConfigurationError,
    ConvaultError,
    NotFoundError,
    ObjectMissing,
    RepositoryError,
)
from convault.settings import Settings, load_settings

if TYPE_CHECKING:
    from uuid import UUID

    from convault.catalog.base import Recipient
    from convault.installation import Installation
    from convault.manifest import Manifest
    from convault.repository import Repository

app = typer.Typer(
    no_args_is_help=True,
    rich_markup_mode=None,
    help="Who can read encrypted backups, and what signs manifests.",
)

_KEEP = (
    "Keep {file} where backups are not, and a copy of it elsewhere: whoever has it can read the "
    "backups, and without it, or the identity of another recipient, nobody ever can. Backups do "
    "not need it; restore, extract and rekey take it with --identity."
)
Label = Annotated[str, typer.Option(metavar="TEXT", help="Whose it is, for people.")]
PublicKey = Annotated[str, typer.Argument(metavar="age1...", help="The public key of a recipient.")]


@app.command("new")
def new(
    output: Annotated[
        Path, typer.Option("-o", "--output", metavar="FILE", help="Where to; never overwritten.")
    ] = Path("convault-identity.txt"),
    passphrase: Annotated[
        bool, typer.Option("--passphrase", help="Encrypt the file with a passphrase, asked for.")
    ] = False,
    label: Label = "",
    add: Annotated[
        bool,
        typer.Option(
            "--add/--no-add",
            help="Encrypt new backups to it, if a catalog is set here. Without one, only the file "
            "is made.",
        ),
    ] = True,
    as_json: AsJson = False,
) -> None:
    """Make a key: an identity file for you, its public key for the backups.

    Prints the public key and nothing secret. Best done on the machine that will restore, not on
    the one that backs up: there, `convault keys add age1...` is enough.

    Example: convault keys new --output school-key.txt --label office
    """
    from convault.encryption import identities

    settings = load_settings()
    path = output.absolute()
    _refuse_store(settings, path)
    if path.exists() or path.is_symlink():
        raise ConfigurationError(
            f"{path} is there already, and may hold a key that backups need: it was left as it is. "
            "Name another file with --output."
        )
    installation = opened(settings) if add and settings.has_catalog else None
    secret = new_passphrase(settings, path) if passphrase else None
    public_key = identities.write_new(path, label=label, passphrase=secret)
    say(f"The secret key is in {path}. {_KEEP.format(file='it')}")
    if installation is None:
        say(f"Where backups are made, run: convault keys add {public_key}")
    else:
        try:
            installation.catalog.add_recipient(public_key, label)
        except ConvaultError:
            say(f"It is no recipient yet; when the catalog works: convault keys add {public_key}")
            raise
        say("New backups are encrypted to it from now on.")
    if as_json:
        print_json(
            {"public_key": public_key, "file": str(path), "recipient": installation is not None}
        )
    else:
        print(public_key)


@app.command("show")
def show(as_json: AsJson = False) -> None:
    """Show the recipients, and which backups each can open.

    Example: convault keys show
    """
    settings = load_settings()
    installation = opened(settings)
    recipients = installation.catalog.recipients()
    can_open, left = _backups_by_recipient(installation)
    if as_json:
        print_json([_as_object(r, can_open.get(r.public_key, []), left) for r in recipients])
        return
    if not recipients:
        say("There is no recipient: backups are not encrypted. `convault keys new` makes one.")
        return
    short = shortened(
        b for found in (can_open, left) for backups in found.values() for b in backups
    )
    for recipient in recipients:
        backups = can_open.get(recipient.public_key, [])
        print(recipient.public_key)
        state = (
            "active"
            if recipient.retired_at is None
            else f"retired {moment(recipient.retired_at, settings.convault_timezone)}"
        )
        added = f"added {moment(recipient.added_at, settings.convault_timezone)}"
        about = f"{state}, {added}"
        print(f"  {about}, {recipient.label}" if recipient.label else f"  {about}")
        if backups:
            print(f"  opens {', '.join(short[b] for b in backups)}")
        if behind := left.get(recipient.public_key, []):
            print(
                f"  opens objects of {', '.join(short[b] for b in behind)} from before a rekey: "
                "they stay in the store until a sweep removes them"
            )
        if not backups and not behind:
            print("  opens no backup")


@app.command("add")
def add(public_key: PublicKey, label: Label = "", as_json: AsJson = False) -> None:
    """Encrypt new backups to a public key as well. Earlier ones stay as they are: see rekey.

    Example: convault keys add age1q47k6a6v9qh0...
    """
    from convault.encryption import age

    key = age.check_recipient(public_key)
    recipient = opened(load_settings()).catalog.add_recipient(key, label)
    _told(recipient, "New backups are encrypted to it from now on.", as_json=as_json)


@app.command("retire")
def retire(
    public_key: PublicKey,
    last: Annotated[
        bool,
        typer.Option("--last", help="Also when no recipient is left; backups are refused then."),
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Encrypt nothing to a public key any more, from the next backup on.

    Whoever has its identity can still read the backups that were made before; `convault rekey
    --all` writes them anew.

    Example: convault keys retire age1q47k6a6v9qh0...
    """
    from convault.encryption import age

    key = age.check_recipient(public_key)
    recipient = opened(load_settings()).catalog.retire_recipient(key, last=last)
    said = (
        "New backups are encrypted without it. Its identity still opens those that were made "
        "before: `convault rekey --all` writes them anew."
    )
    _told(recipient, said, as_json=as_json)


@app.command("signing")
def signing(
    rotate: Annotated[
        bool,
        typer.Option("--rotate", help="Put a new key in front in .env: it signs from now on."),
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Show the ids of the keys that sign and prove manifests; the keys themselves are not shown.

    Example: convault keys signing --rotate
    """
    from convault.signing import signing_key

    settings = load_settings()
    if rotate:
        report = signing_key.rotate()
        say(report.said)
        ids = report.keys.ids
    else:
        ids = settings.signing.ids
    if as_json:
        print_json([{"key_id": key_id, "signs": n == 0} for n, key_id in enumerate(ids)])
    elif ids:
        print_table(
            ("key", "use"),
            [(key_id, "signs and proves" if n == 0 else "proves") for n, key_id in enumerate(ids)],
        )
    else:
        say("There is no signing key: backups are unsigned. `convault init` makes one.")


def _told(recipient: Recipient, said: str, *, as_json: bool) -> None:
    if as_json:
        print_json(recipient.model_dump(mode="json"))
    else:
        print(recipient.public_key)
        say(said)


def _as_object(
    recipient: Recipient, backups: list[UUID], left: dict[str, list[UUID]]
) -> dict[str, Any]:
    return {
        **recipient.model_dump(mode="json"),
        "active": recipient.active,
        "opens": [str(backup) for backup in backups],
        "opens_left_behind": [str(backup) for backup in left.get(recipient.public_key, [])],
    }


def _backups_by_recipient(
    installation: Installation,
) -> tuple[dict[str, list[UUID]], dict[str, list[UUID]]]:
    """Which backups of the repository each public key opens, and of which it opens objects that
    earlier revisions named and that are still stored; what cannot be read is told."""
    from convault.encryption.recipients import opens, recipients_of

    repository = installation.repository
    found: dict[str, list[UUID]] = {}
    left: dict[str, list[UUID]] = {}
    for backup_id, manifest in repository.manifests():
        if isinstance(manifest, ConvaultError):
            say(f"Backup {backup_id} cannot be read: {manifest.message}")
            continue
        for public_key in recipients_of(manifest):
            if opens(manifest, public_key):
                found.setdefault(public_key, []).append(backup_id)
        for public_key in _left_behind(repository, manifest):
            left.setdefault(public_key, []).append(backup_id)
    return found, left


def _left_behind(repository: Repository, manifest: Manifest) -> set[str]:
    """Public keys that open objects which only superseded revisions of the manifest name."""
    from convault.encryption.recipients import opens, recipients_of
    from convault.manifest import Manifest

    keys: set[str] = set()
    needed = manifest.objects()
    for revision in range(1, repository.revision(manifest.backup_id)):
        try:
            data = repository.manifest_bytes(manifest.backup_id, revision)
            earlier = Manifest.from_bytes(data, where=f"revision {revision}")
        except (NotFoundError, RepositoryError) as error:
            say(f"Revision {revision} of {manifest.backup_id} cannot be read: {error.message}")
            continue
        opening = {key for key in recipients_of(earlier) if opens(earlier, key)} - keys
        parts = [p.key for t in earlier.tables for p in t.parts if p.key not in needed]
        # A sweep takes all of them; so a few tell.
        if opening and any(_is_there(repository, key) for key in parts[:3]):
            keys |= opening
    return keys


def _is_there(repository: Repository, key: str) -> bool:
    try:
        repository.store.head(key)
    except ObjectMissing:
        return False
    return True


def _refuse_store(settings: Settings, path: Path) -> None:
    """The secret key must not lie beside what it opens."""
    from urllib.parse import unquote, urlsplit

    url = urlsplit(settings.convault_store_url or "")
    if url.scheme != "file":
        return
    store = Path(unquote(url.path)).resolve()
    if path.resolve().is_relative_to(store):
        raise ConfigurationError(
            f"{path} lies in the store, where whoever can read the backups would find the key to "
            "them. Name a file elsewhere with --output."
        )
