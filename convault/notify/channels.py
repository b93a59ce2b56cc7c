"""The channels of CONVAULT_NOTIFY_URLS, through apprise: mail, Slack, Telegram, webhooks, ..."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from convault.errors import ConfigurationError
from convault.notify import apart
from convault.settings import Settings

SECONDS = 20.0
"""after which a channel that has not taken a message counts as failed"""
_BETWEEN = re.compile(r"\s+|,\s*(?=[A-Za-z][A-Za-z0-9+.-]*://)")
"""URLs may hold commas themselves"""
_SCHEME = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*://.+")


@dataclass(frozen=True, slots=True, eq=False)
class Channel:
    """One of them. `label` is its place and kind, such as `2 slack`; its address is a secret."""

    label: str
    _service: Any

    def __repr__(self) -> str:
        return f"Channel({self.label!r})"

    def send(self, title: str, body: str, *, bad: bool) -> None:
        """Hand a message over; blocks for as long as it takes. apart.Refused, and whatever a
        library raises."""
        from apprise import NotifyType

        kind = NotifyType.FAILURE if bad else NotifyType.SUCCESS
        if not self._service.notify(body=body, title=title, notify_type=kind):
            raise apart.Refused("the message was not taken")


def channels(settings: Settings) -> Sequence[Channel]:
    """Those that are set, in their order; none where none is. ConfigurationError names by its place
    a URL that apprise does not take."""
    usable, wrong = usable_channels(settings)
    if wrong:
        raise ConfigurationError(wrong[0])
    return usable


def usable_channels(settings: Settings) -> tuple[Sequence[Channel], Sequence[str]]:
    """Those that can be used, and what is to be said of the others."""
    secret = settings.convault_notify_urls
    text = "" if secret is None else secret.get_secret_value()
    urls = [url for url in _BETWEEN.split(text) if url]
    made = [(number, url, *_service(url)) for number, url in enumerate(urls, 1)]
    return (
        tuple(
            Channel(f"{number} {url.partition('://')[0].lower()}", service)
            for number, url, service, _ in made
            if service is not None
        ),
        tuple(
            f"URL {number} of CONVAULT_NOTIFY_URLS is none that can be used{why} (it is not shown, "
            "for it may hold a token). They look like mailto://user:password@example.org, "
            "slack://token_a/token_b/token_c, tgram://bot_token/chat_id or json://host/path, with "
            "spaces between; https://github.com/caronc/apprise/wiki has all. `convault notify "
            "--test` tries them."
            for number, _, service, why in made
            if service is None
        ),
    )


def _service(url: str) -> tuple[Any, str]:
    """What apprise makes of it, None where that is nothing; and what went wrong beside, or ''."""
    made: list[Any] = []

    def make() -> None:
        # Here, because it takes a second to load.
        from apprise import Apprise, AppriseAsset

        asset = AppriseAsset(
            async_mode=False, storage_mode="memory", app_id="Convault", app_desc="Convault",
            app_url="",
        )  # fmt: skip
        made.append(Apprise.instantiate(url, asset=asset))

    if not _SCHEME.fullmatch(url):
        return None, ""
    [why] = apart.each([make], SECONDS)  # what it logs of a URL is dropped there
    return (made[0] if made else None), (f", {why}" if why else "")
