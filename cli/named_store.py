"""`--from NAME`: a repository that is read alone, when the first one may be gone."""

from __future__ import annotations

from convault.errors import OptionsError
from convault.settings import Settings


def read_from(settings: Settings, name: str | None, url: str | None = None) -> str | None:
    """The URL of the store that `--from` or `--from-store` names; None where neither does.
    NotFoundError, OptionsError for both."""
    if name is None:
        return url
    if url is not None:
        raise OptionsError("--from NAME and --from-store URL say the same: give one of them.")
    return settings.named_store_url(name)
