"""`convault notify`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from cli.output import AsJson, moment, print_json, print_table, say
from convault.errors import ConfigurationError, NotTold
from convault.settings import Settings, load_settings

if TYPE_CHECKING:
    from convault.notify.telling import Watched


def notify(
    test: Annotated[
        bool,
        typer.Option("--test", help="Only send a test through each channel, and say how it went."),
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Look whether something is wrong with the backups, and tell who is to be told.

    Backups that failed, crashed or are overdue, too old a last good one, tables that shrank, and so
    on; once when it begins and once when it is over, through the channels of CONVAULT_NOTIFY_URLS.
    Run it every few minutes from cron, or let the deployment `watch/incidents` do that. Ends with 0
    when everybody who was to be told was reached, whatever there was to tell.

    Example: convault notify --test
    """
    settings = load_settings()
    if test:
        _test(settings, as_json=as_json)
        return
    from convault.notify.channels import usable_channels
    from convault.notify.reporting import untold
    from convault.notify.watching import watch

    through, wrong = usable_channels(settings)
    found = watch(settings, through)
    if as_json:
        print_json([incident.model_dump(mode="json") for incident in found.open])
    else:
        _print(found, settings)
    lines = [*wrong, *untold(found)]
    if not through and not wrong:
        say("CONVAULT_NOTIFY_URLS is not set: nobody is told.")
    if lines:
        raise NotTold("\n".join(lines))


def _test(settings: Settings, *, as_json: bool) -> None:
    from convault.notify.channels import channels
    from convault.notify.message import name_of, of_test
    from convault.notify.telling import send

    through = channels(settings)
    if not through:
        raise ConfigurationError(
            "CONVAULT_NOTIFY_URLS is not set, so nobody is told of anything. Set it, for example "
            "to mailto://user:password@example.org, and try again."
        )
    message = of_test(name_of(settings))
    failures = send(dict.fromkeys(through, message))
    ended = {channel.label: failures.get(channel.label, "sent") for channel in through}
    if as_json:
        print_json(ended)
    else:
        print_table(("channel", "result"), list(ended.items()))
    if failures:
        raise NotTold(
            f"{len(failures)} of {len(through)} channels of CONVAULT_NOTIFY_URLS could not be "
            "reached: see whether address and token are right, and whether this machine may "
            "connect to it.",
            channels=", ".join(failures),
        )


def _print(found: Watched, settings: Settings) -> None:
    zone = settings.convault_timezone
    if found.open:
        print_table(
            ("since", "kind", "what", "told", "problem"),
            [
                (moment(i.opened_at, zone), i.kind, i.title, moment(i.told_at, zone), i.problem)
                for i in found.open
            ],
        )
        for incident in found.open:
            say(f"{incident.title}: {incident.detail}")
    else:
        say("Nothing is wrong, as far as the catalog tells.")
    for over in found.over:
        say(f"Over: {over.title}.")
