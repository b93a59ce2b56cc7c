"""How results and messages look: results on stdout, messages on stderr."""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Iterable, Sequence
from datetime import datetime, tzinfo
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.table import Table

AsJson = Annotated[bool, typer.Option("--json", help="Print JSON, for programs.")]

_UNLIMITED = 1000
"""columns where there is no terminal: nothing is cut off"""

_STEERING = re.compile(
    "[\x00-\x1f\x7f-\x9f\xad\u061c\u200b\u200e\u200f\u2028-\u202e\u2060-\u206f\ufeff\ufff9-\ufffb"
    "\ud800-\udfff]"
)
"""Control characters, invisible ones, those that change the direction, and halves of characters."""


def printable(text: str) -> str:
    """One line in which nothing steers a terminal: names come from manifests and databases, and
    may hold escape sequences, or characters that turn the direction of the text around."""
    return _STEERING.sub(lambda found: found[0].encode("unicode_escape").decode(), text)


def say(message: str = "") -> None:
    """A message for people, on stderr; it may have several lines."""
    lines = "\n".join(printable(line) for line in message.split("\n"))
    print(lines, file=sys.stderr, flush=True)


def print_json(value: Any) -> None:
    """A result for programs, on stdout."""
    text = json.dumps(value, ensure_ascii=False, indent=2)
    # What json.dumps leaves as it is can only stand inside a string.
    lines = (_STEERING.sub(lambda found: json.dumps(found[0])[1:-1], li) for li in text.split("\n"))
    print("\n".join(lines))


def print_table(
    columns: Sequence[str], rows: Iterable[Sequence[str]], *, right: Iterable[str] = ()
) -> None:
    """Aligned columns on stdout. `right` names the columns that hold numbers."""
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="bold")
    numbers = set(right)
    for column in columns:
        justify = "right" if column in numbers else "left"
        table.add_column(column, justify=justify, no_wrap=column in numbers, overflow="fold")  # type: ignore[arg-type]
    for row in rows:
        table.add_row(*map(printable, row))
    console = Console(file=sys.stdout, highlight=False, markup=False, emoji=False)
    if not sys.stdout.isatty():
        console.width = _UNLIMITED
    with console.capture() as captured:
        console.print(table)
    print("\n".join(line.rstrip() for line in captured.get().splitlines()))


def print_facts(facts: Iterable[tuple[str, str]]) -> None:
    """Names and values, one pair a line, on stdout."""
    pairs = list(facts)
    width = max(len(name) for name, _ in pairs)
    for name, value in pairs:
        print(f"{printable(name):<{width}}  {printable(value)}")


def size(count: int | None) -> str:
    """Bytes as people read them: 831 B, 1.5 KiB, 31.0 MiB."""
    if count is None:
        return ""
    if count < 1024:
        return f"{count} B"
    value = float(count)
    for unit in ("KiB", "MiB", "GiB", "TiB"):
        value /= 1024
        if value < 1023.95 or unit == "TiB":
            break
    return f"{value:.1f} {unit}"


def number(count: int | None) -> str:
    """A count with its thousands apart: 50,000."""
    return "" if count is None else f"{count:,}"


def ratio(plain: int | None, stored: int | None) -> str:
    """How many times smaller it is stored: 4.2x."""
    return f"{plain / stored:.1f}x" if plain and stored else ""


def duration(seconds: float | None) -> str:
    """Seconds as people read them: 0.41 s, 12.3 s, 3 min 05 s, 1 h 02 min."""
    if seconds is None:
        return ""
    if seconds < 0.995:
        return f"{seconds:.2f} s"
    if seconds < 59.95:
        return f"{seconds:.1f} s"
    whole = round(seconds)
    if whole < 3600:
        return f"{whole // 60} min {whole % 60:02d} s"
    return f"{whole // 3600} h {whole % 3600 // 60:02d} min"


def moment(time: datetime | None, zone: tzinfo) -> str:
    """A time in the operator's zone, to the second."""
    return "" if time is None else f"{time.astimezone(zone):%Y-%m-%d %H:%M:%S}"
