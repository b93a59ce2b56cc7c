"""Rows into tables, by COPY."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from contextlib import closing
from typing import Any, NamedTuple

import psycopg

from convault.ahead import ahead
from convault.errors import RestoreError
from convault.formats.base import Rows
from convault.formats.copy_text import numbered, to_copy_text
from convault.manifest import PartEntry
from convault.models import Column


class Ready(NamedTuple):
    """Rows, and what COPY takes for them."""

    rows: Rows
    text: bytes
    """of the columns that are loaded"""


def copy(
    connection: psycopg.Connection[Any], statement: str, found: Iterable[Rows | Ready],
    columns: Sequence[Column], chosen: Sequence[Column], part: PartEntry,
) -> int:  # fmt: skip
    """COPY the `chosen` ones of `columns`, which the rows have; the number of rows that the target
    took, which is theirs: RestoreError otherwise, and for bytes that it cannot take. The driver's
    errors pass. Those that are `Ready` have the text of the chosen ones."""
    given = 0
    octal = connection.info.server_version >= 160000

    def texts() -> Iterator[tuple[bytes, int]]:
        for one in found:
            rows = one.rows if isinstance(one, Ready) else one
            if not octal:
                _refuse_octal_chars(rows, columns, part)
            made = one.text if isinstance(one, Ready) else to_copy_text(rows, columns, chosen)
            yield made, rows.count

    with connection.cursor() as cursor:
        # While the server takes a text the next one is made, or it would wait for each of them.
        with cursor.copy(statement.encode()) as copying, closing(ahead(texts(), "text")) as made:
            for text, count in made:
                copying.write(text)
                given += count
        taken = cursor.rowcount
    if taken != given:
        raise RestoreError(
            f"The target took {taken} of {given} rows of {part.path.rpartition('/')[0]}: something "
            "there drops rows, such as a trigger. Nothing was changed.",
            key=part.key,
        )
    return taken


def _refuse_octal_chars(rows: Rows, columns: Iterable[Column], part: PartEntry) -> None:
    r"""Before Postgres 16, "char" takes the text \ooo for a backslash and says nothing."""
    frame = numbered(rows.frame)
    for number, column in enumerate(columns):
        if column.type != '"char"':
            continue
        if frame[str(number)].str.contains(r"^\\[0-7]{3}$").any():
            raise RestoreError(
                f'Column "{column.name}" of {part.path.rpartition("/")[0]} holds bytes that only '
                "Postgres 16 and newer can restore. Nothing was changed.",
                key=part.key,
            )
