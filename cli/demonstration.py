"""`convault demo`: everything once, on a made-up school, with proofs."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated

import typer

from cli import demo_home
from cli.demo_home import DemoHome
from cli.ending import ended_properly
from cli.output import AsJson, print_json, say


def demo(
    messages: Annotated[
        int, typer.Option(metavar="N", min=1, max=100_000_000, help="How many to make up.")
    ] = 50_000,
    home: Annotated[
        Path | None,
        typer.Option(metavar="DIR", help="Where it lives. By default in the user's data folder."),
    ] = None,
    reset: Annotated[bool, typer.Option("--reset", help="Forget what earlier demos left.")] = False,
    keep: Annotated[
        bool, typer.Option("--keep", help="Leave its Postgres running, to look around.")
    ] = False,
    stop: Annotated[
        bool, typer.Option("--stop", help="Only stop a Postgres that was kept.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Back up, show, download, restore, compare and drill a made-up school.

    Needs no settings and no database: it brings its own Postgres. What it leaves is used by the
    next demo. Ends with 0 only when every proof succeeded.

    Example: convault demo --messages 5000
    """
    folder = home or demo_home.default_folder()
    with demo_home.held(folder) as place:
        if stop:
            place.postgres.stop()
            say("Its Postgres does not run any more.")
            return
        if reset:
            place.reset()
        with ended_properly(), demo_home.on_its_own(place), _postgres(place, keep=keep):
            from cli.demo_story import Story

            story = Story(place, messages, quiet=as_json)
            result = story.tell()
            story.tell_what_is_left(keep=keep)
            if as_json:
                print_json(result)


@contextmanager
def _postgres(home: DemoHome, *, keep: bool) -> Iterator[None]:
    """The embedded Postgres runs inside the block, and afterwards if it is to be kept."""
    server = home.postgres
    kept = False
    try:
        server.start()
        yield
        kept = keep
    finally:
        if not kept:
            server.stop()
