"""What README.txt says of what a backup was asked to leave out or to mask, in two languages."""

from __future__ import annotations

from collections.abc import Sequence

from convault.dataset.omissions import LeftOut


def english(found: LeftOut) -> str:
    """A section of its own, or nothing."""
    return _section(
        "WHAT IS NOT HERE, AS ASKED FOR",
        (
            ("Tables:", found.excluded),
            ("Tables that belong to the backup only through these:", found.unreachable),
            ("Columns (a restored table has them, with their default or NULL):", found.columns),
            ("Columns of which only NULL is kept:", _masked(found, "null")),
            (
                "Columns of which only a hash (HMAC-SHA256) is kept; equal values have equal\n"
                "  hashes, of a uuid the first 16 bytes are kept as a uuid:",
                _masked(found, "hash"),
            ),
            (
                "Only rows that others reference, and few of their columns (never restored):",
                found.reference_only,
            ),
        ),
    )


def portuguese(found: LeftOut) -> str:
    """The same in Portuguese."""
    return _section(
        "O QUE NÃO ESTÁ AQUI, A PEDIDO",
        (
            ("Tabelas:", found.excluded),
            ("Tabelas que só por meio dessas fazem parte da cópia:", found.unreachable),
            ("Colunas (a tabela restaurada as tem, com o valor padrão ou NULL):", found.columns),
            ("Colunas das quais só se guarda NULL:", _masked(found, "null")),
            (
                "Colunas das quais só se guarda um hash (HMAC-SHA256); valores iguais têm hashes\n"
                "  iguais, de um uuid guardam-se os primeiros 16 bytes como uuid:",
                _masked(found, "hash"),
            ),
            (
                "Só linhas que outras referenciam, e poucas das suas colunas (nunca restauradas):",
                found.reference_only,
            ),
        ),
    )


def _masked(found: LeftOut, wanted: str) -> tuple[str, ...]:
    return tuple(name for name, mask in found.masked if mask == wanted)


def _section(title: str, lists: Sequence[tuple[str, Sequence[str]]]) -> str:
    lines = [
        line
        for head, names in lists
        if names
        for line in (f"  {head}", *(f"    {_one_line(name)}" for name in names))
    ]
    return "\n".join([title, *lines, "", ""]) if lines else ""


def _one_line(name: str) -> str:
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in name)
