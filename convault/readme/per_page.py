"""What README.txt says of a backup that was read page by page, in two languages."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from convault.models import TableName
from convault.per_page import Missing, Reading


def in_english(readings: Mapping[TableName, Reading]) -> str:
    """A section of its own, or nothing where there was a snapshot."""
    return _section(
        readings,
        "HOW IT WAS READ: PAGE BY PAGE, NOT AT ONE MOMENT",
        "  Rows that were changed between these times may be as they were before or after, and\n"
        "  rows of one table may be older than those of another. Of the schema only tables,\n"
        "  types, primary and simple foreign keys are here.",
        "read from {} to {}, {} rows before and {} after, {} fetched late, {} deleted meanwhile",
        lambda gap: (
            f"{gap.values} rows of {gap.references} that it refers to by "
            f"{', '.join(gap.columns)} WERE DELETED before they could be read"
        ),
    )


def in_portuguese(readings: Mapping[TableName, Reading]) -> str:
    """The same in Portuguese."""
    return _section(
        readings,
        "COMO FOI LIDA: PÁGINA POR PÁGINA, NÃO NUM MESMO INSTANTE",
        "  Linhas alteradas entre estes horários podem estar como eram antes ou depois, e as de\n"
        "  uma tabela podem ser mais antigas que as de outra. Do esquema só há tabelas,\n"
        "  tipos, chaves primárias e chaves estrangeiras simples.",
        "lida de {} a {}, {} linhas antes e {} depois, {} buscadas depois, {} apagadas nesse tempo",
        lambda gap: (
            f"{gap.values} linhas de {gap.references} a que se refere por "
            f"{', '.join(gap.columns)} FORAM APAGADAS antes de serem lidas"
        ),
    )


def _section(
    readings: Mapping[TableName, Reading], title: str, said: str, times: str,
    gone: Callable[[Missing], str],
) -> str:  # fmt: skip
    if not readings:
        return ""
    lines = [title, said]
    for name, read in readings.items():
        told = times.format(
            read.first_page_at, read.last_page_at, read.counted_before, read.counted_after,
            read.late, read.gone,
        )  # fmt: skip
        lines += [_one_line(f"  {name}: {told}")]
        lines += [_one_line(f"    {gone(gap)}") for gap in read.missing]
    return "\n".join([*lines, "", ""])


def _one_line(text: str) -> str:
    return "".join(c if c.isprintable() else "?" for c in text)
