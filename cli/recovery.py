"""`convault recovery-sheet`."""

from __future__ import annotations

import os
from dataclasses import asdict
from datetime import datetime
from typing import TYPE_CHECKING, Annotated, Any, Literal, cast
from urllib.parse import parse_qs

import typer

from cli.output import AsJson, print_json, say
from convault import __version__
from convault.errors import ConvaultError, NotFoundError, OptionsError
from convault.newest import newest_of
from convault.settings import ENV_FILE, Settings, environment, load_settings, without_password
from convault.urls import split_url

if TYPE_CHECKING:
    from convault.manifest import Manifest
    from convault.recovery_sheet import Credential, Language
    from convault.repository import Repository

_OF_THE_STORE = {
    "s3": ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN"),
    "gs": ("GOOGLE_APPLICATION_CREDENTIALS",),
    "az": (
        "AZURE_STORAGE_ACCOUNT_NAME", "AZURE_STORAGE_ACCOUNT_KEY", "AZURE_STORAGE_SAS_TOKEN",
        "AZURE_CLIENT_ID", "AZURE_CLIENT_SECRET", "AZURE_TENANT_ID",
    ),
    "supabase": ("SUPABASE_URL", "SUPABASE_SERVICE_ROLE_KEY"),
}  # fmt: skip
"""by the scheme of the store's URL"""
_NEEDED = {"AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "GOOGLE_APPLICATION_CREDENTIALS",
           "AZURE_STORAGE_ACCOUNT_NAME", "SUPABASE_URL", "SUPABASE_SERVICE_ROLE_KEY"}  # fmt: skip
"""told also where they are not set"""
_THEN = {
    "en": "Print it, and write by hand who keeps copies of the secrets.",
    "pt": "Imprima-a, e escreva à mão quem guarda cópias dos segredos.",
}
"""by the sheet's language, for whoever asked for the sheet"""


def recovery_sheet(
    language: Annotated[
        str, typer.Option(metavar="en|pt", help="In English or Portuguese.")
    ] = "en",
    as_json: AsJson = False,
) -> None:
    """Print what somebody needs who has to restore on a bad day: on paper, away from the machines.

    The store, its region, which secrets open it and where they are kept, and the exact commands. It
    holds no secret. Needs the store, and no database.

    Example: convault recovery-sheet --language pt
    """
    from convault.recovery_sheet import SheetFacts, sheet
    from convault.repository import Repository
    from convault.stores import open_store

    if language not in ("en", "pt"):
        raise OptionsError("The sheet is there in English and Portuguese: --language en or pt.")
    settings = load_settings()
    repository = Repository.open(open_store(settings.store_url()))
    newest = _newest(repository)
    zone = settings.convault_timezone
    encryption = None if newest is None else newest.encryption
    facts = SheetFacts(
        store=_store(settings),
        region=_region(settings),
        repository_id=str(repository.repository_id),
        env_file=str(ENV_FILE.absolute()),
        credentials=_credentials(settings, encrypted=encryption is not None),
        signing_keys=settings.signing.ids,
        recipients=() if encryption is None else encryption.recipients,
        newest=None
        if newest is None
        else (str(newest.backup_id), newest.created_at.astimezone(zone)),
        version=__version__,
        made_at=datetime.now(zone),
    )
    if as_json:
        print_json(_json(asdict(facts)))
    else:
        print(sheet(facts, cast("Language", language)), end="")
        say(_THEN[language])


def _newest(repository: Repository) -> Manifest | None:
    """What `latest` is; None, told why, where there is none."""
    found: list[Manifest] = []
    for _, manifest in repository.manifests():
        if isinstance(manifest, ConvaultError):
            say(f"Passed over: {manifest.message}")
        else:
            found.append(manifest)
    try:
        return newest_of(found, repository.store.url)
    except NotFoundError as error:
        if found:
            say(error.message)
        return None


def _store(settings: Settings) -> str:
    """As it was set: a URL of a store holds no credentials, and its parameters are needed."""
    url = settings.store_url()
    return url if split_url(url).scheme in ("file", *_OF_THE_STORE) else without_password(url)


def _region(settings: Settings) -> str:
    parts = split_url(settings.store_url())
    named = parse_qs(parts.query).get("region", [""])[0]
    if parts.scheme != "s3":
        return named
    return named or environment("AWS_REGION") or environment("AWS_DEFAULT_REGION") or ""


def _credentials(settings: Settings, *, encrypted: bool) -> tuple[Credential, ...]:
    from convault.recovery_sheet import Credential

    names = _OF_THE_STORE.get(split_url(settings.store_url()).scheme, ())
    found = [Credential(name, _kept(name), "store") for name in names]
    shown = [c for c in found if c.kept != "nowhere" or c.variable in _NEEDED]
    shown.append(Credential("CONVAULT_SIGNING_KEY", _kept("CONVAULT_SIGNING_KEY"), "signing"))
    if encrypted:
        shown.append(
            Credential("CONVAULT_IDENTITY_FILE", _kept("CONVAULT_IDENTITY_FILE"), "identity")
        )
    return tuple(shown)


def _kept(variable: str) -> Literal["environment", ".env", "nowhere"]:
    if os.environ.get(variable):
        return "environment"
    return ".env" if environment(variable) else "nowhere"


def _json(value: Any) -> Any:
    if isinstance(value, datetime):
        return value.isoformat()
    if isinstance(value, dict):
        return {key: _json(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_json(item) for item in value]
    return value
