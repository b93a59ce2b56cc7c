"""README.txt, which lies beside every backup and tells whoever finds it how to open it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from typing import NamedTuple
from uuid import UUID

from convault.dataset import filters
from convault.dataset.belonging import indexed
from convault.dataset.omissions import left_out
from convault.formats.registry import format_of
from convault.models import BackupOptions, Dataset, Selection, TableName
from convault.names import table_path
from convault.per_page import Reading
from convault.readme.formats import ENGLISH, PORTUGUESE, Words
from convault.readme.omissions import english, portuguese
from convault.readme.per_page import in_english, in_portuguese


def text(
    backup_id: UUID, created_at: datetime, dataset: Dataset, options: BackupOptions,
    selection: Selection | None = None, readings: Mapping[TableName, Reading] | None = None,
) -> bytes:  # fmt: skip
    """README.txt of a backup, in English and in Portuguese. UTF-8; the same bytes for the same
    values. Holds names of tables, never a row's value. `created_at` is the snapshot's."""
    suffix = format_of(options.format).suffix(options.compression_level)
    formats = ENGLISH[options.format], PORTUGUESE[options.format]
    missing, torn = left_out(dataset), readings or {}
    shown = dataset.root or next(t.name for t in dataset.tables if t.kind == "r")
    attached = options.include_attachments or bool(options.buckets)
    facts = {
        "id": str(backup_id),
        "time": f"{created_at.astimezone(UTC):%Y-%m-%d %H:%M:%S} UTC",
        "tables": _folders(table.name for table in dataset.tables if table.kind == "r"),
        "example": f"{table_path(shown)}/00000{suffix}",
        "all": f"{table_path(shown)}/*{suffix}",
        "unpack": "zstd -dc" if suffix.endswith(".zst") else "cat",
    }
    has_index = bool(indexed(dataset))
    texts = (
        _filled(
            _ENGLISH, formats[0],
            {**facts, "index": _INDEX if has_index else "",
             "missing": english(missing) + in_english(torn),
             "attached": _ATTACHED if attached else "",
             "rows": _selected(_PAGES if torn else _SELECTED, filters.ENGLISH, options, selection)},
        ),
        _filled(
            _PORTUGUESE, formats[1],
            {**facts, "index": _INDICE if has_index else "",
             "missing": portuguese(missing) + in_portuguese(torn),
             "attached": _ANEXOS if attached else "",
             "rows": _selected(_PAGINAS if torn else _SELECIONADAS, filters.PORTUGUESE, options,
                               selection)},
        ),
    )  # fmt: skip
    return "\n\n".join(texts).encode()


def _selected(
    texts: _Selected, words: filters.Words, options: BackupOptions, selection: Selection | None
) -> str:
    """What rows there are: all, or those that were asked for."""
    asked = filters.described(options, words)
    if not asked:
        return texts.all
    # Names come from people: nothing in them may end the line that tells of them.
    asked = "".join(c if c.isprintable() else "?" for c in asked)
    if selection is None:
        return texts.part.format(asked=asked)
    told = texts.rows.format(asked=asked)
    for name, value in (("start", selection.start), ("end", selection.end)):
        if value is not None:
            told += texts.instants[name].format(value)
    return told + (texts.empty if selection.empty else texts.found.format(selection.conversations))


def _filled(text: str, words: Words, facts: dict[str, str]) -> str:
    said = {name: value.format(**facts) for name, value in words._asdict().items()}
    return text.format(**said, **facts)


def _folders(names: Iterable[TableName]) -> str:
    return "\n".join(f"    {table_path(name)}/" for name in names)


class _Selected(NamedTuple):
    """How one language tells which rows there are."""

    all: str
    part: str
    rows: str
    instants: dict[str, str]
    found: str
    empty: str


_SELECTED = _Selected(
    "All rows as they were at one moment:",
    "PART OF THE DATA ONLY ({asked}), all of it as it was at one moment:",
    "A FILTERED BACKUP: only conversations that match all of this: {asked};\n"
    "with what belongs to them, and the rows that these refer to.\n",
    {"start": "Created at or after {} (UTC).\n", "end": "Created before {} (UTC).\n"},
    "Conversations that matched: {}. As they were at one moment:",
    "NOTHING MATCHED: this backup is complete, and it has no rows. As it was at one moment:",
)
_SELECIONADAS = _Selected(
    "Todas as linhas como estavam num mesmo instante:",
    "SÓ UMA PARTE DOS DADOS ({asked}), toda como estava num mesmo instante:",
    "CÓPIA FILTRADA: só conversas que satisfazem tudo isto: {asked};\n"
    "com o que pertence a elas, e as linhas a que estas se referem.\n",
    {"start": "Criadas em ou depois de {} (UTC).\n", "end": "Criadas antes de {} (UTC).\n"},
    "Conversas encontradas: {}. Como estavam num mesmo instante:",
    "NADA FOI ENCONTRADO: esta cópia está completa, e não tem linhas. Como estava no instante:",
)
_PAGES = _SELECTED._replace(
    all="All rows, read page by page (NOT at one moment: see below), from",
    part="PART OF THE DATA ONLY ({asked}), read page by page (NOT at one moment: see below), from",
)
_PAGINAS = _SELECIONADAS._replace(
    all="Todas as linhas, lidas página por página (NÃO num mesmo instante: ver abaixo), desde",
    part="SÓ UMA PARTE DOS DADOS ({asked}), lida página por página (NÃO num mesmo instante: ver"
    " abaixo), desde",
)
_INDEX = "  index*.parquet    where in the files the rows of each conversation lie\n"
_INDICE = "  index*.parquet    onde, nos arquivos, estão as linhas de cada conversa\n"
_ATTACHED = """\
files/ holds files of Storage, files/<bucket>/<path>, as they are: photos, recordings, documents.
datapackage.json lists each under convault.files with its own name, its type, and what became of it.

"""
_ANEXOS = """\
files/ contém arquivos do Storage, files/<bucket>/<caminho>, como são: fotos, gravações, documentos.
datapackage.json lista cada um em convault.files com seu nome, seu tipo, e o que houve com ele.

"""

_ENGLISH = """\
Convault backup {id}
{rows} {time}

(Em português: mais abaixo.)

WHAT IS HERE
  datapackage.json  what this backup holds: tables, columns, types, files, digests
                    (a Frictionless Data Package, https://datapackage.org)
  SHA256SUMS        a digest of every other file (in the tar only)
  schema.sql        SQL that makes the tables again
{index}  and one folder for each of these tables that has rows:
{tables}

{files}
In the names of folders, =xx stands for the byte with that hexadecimal number: capitals and special
characters are written so.

{attached}{missing}HOW TO OPEN IT, WITHOUT CONVAULT
  Unpack, and check that nothing is damaged:
    tar xf backup_{id}.tar
    sha256sum -c SHA256SUMS
  Read rows in a terminal:
    {terminal}
  Ask questions with DuckDB (https://duckdb.org), here how many rows a table has:
    {duckdb}
  Load a table with Polars (https://pola.rs), in Python:
    import polars
    {polars}

WHAT THE VALUES MEAN
{values}
  The Postgres type of each column stands in datapackage.json under x-postgres. A tool that guesses
  types may change values: tell it to read strings as strings.

{warning}HOW TO RESTORE IT
  convault restore {id} --target NAME

Whoever has these files can read the conversations in them. Keep them as safe as the database.
"""

_PORTUGUESE = """\
--------------------------------------------------------------------------------
Cópia de segurança {id} do Convault
{rows} {time}

O QUE HÁ AQUI
  datapackage.json  o que esta cópia contém: tabelas, colunas, tipos, arquivos, resumos
                    (um Frictionless Data Package, https://datapackage.org)
  SHA256SUMS        um resumo (SHA-256) de cada um dos outros arquivos (só no tar)
  schema.sql        SQL que cria as tabelas de novo
{index}  e uma pasta para cada uma destas tabelas que tem linhas:
{tables}

{files}
Nos nomes das pastas, =xx é o byte com esse número hexadecimal: assim se escrevem maiúsculas e
caracteres especiais.

{attached}{missing}COMO ABRIR, SEM O CONVAULT
  Extrair, e conferir que nada está danificado:
    tar xf backup_{id}.tar
    sha256sum -c SHA256SUMS
  Ler linhas num terminal:
    {terminal}
  Consultar com o DuckDB (https://duckdb.org), aqui quantas linhas a tabela tem:
    {duckdb}
  Carregar uma tabela com o Polars (https://pola.rs), em Python:
    import polars
    {polars}

O QUE SIGNIFICAM OS VALORES
{values}
  O tipo de cada coluna no Postgres está em datapackage.json, em x-postgres. Uma ferramenta que
  adivinha tipos pode alterar valores: peça que leia textos como textos.

{warning}COMO RESTAURAR
  convault restore {id} --target NOME

Quem tem estes arquivos pode ler as conversas que há neles. Guarde-os com o mesmo cuidado que o
banco de dados.
"""
