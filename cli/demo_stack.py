"""What `convault up --demo` works on: the demo's school, its Postgres running."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from cli import demo_home
from cli.output import number, say

_MESSAGES = 5000


@contextmanager
def prepared(folder: Path | None, require: Callable[[], None]) -> Iterator[Path]:
    """The folder of the demo; inside the block its settings hold, its Postgres runs, and there is a
    school in it: that of the last `convault demo`, or a small one. `require` raises, before
    anything is made, when what comes then could not be."""
    from cli.demo_school import ensure_school

    with (
        demo_home.held(folder or demo_home.default_folder()) as place,
        demo_home.on_its_own(place),
    ):
        require()
        server = place.postgres
        try:
            server.start()
            made = ensure_school(server, _MESSAGES)
            if made:
                say(f"A school was made up, with {number(made)} messages.")
            place.store.mkdir(mode=0o700, exist_ok=True)
            yield place.folder
        finally:
            server.stop()
