"""README.txt, which lies beside every backup and tells whoever finds it how to open it."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import UTC, datetime
from uuid import UUID

from convault.belonging import indexed
from convault.formats.registry import format_of
from convault.models import BackupOptions, Dataset, TableName
from convault.names import table_path
from convault.omissions import left_out
from convault.readme_formats import ENGLISH, PORTUGUESE, Words
from convault.readme_omissions import english, portuguese


def text(backup_id: UUID, created_at: datetime, dataset: Dataset, options: BackupOptions) -> bytes:
    """README.txt of a backup, in English and in Portuguese. UTF-8; the same bytes for the same
    values. Holds names of tables, never a row's value. `created_at` is the snapshot's."""
    suffix = format_of(options.format).suffix(options.compression_level)
    in_english, in_portuguese = ENGLISH[options.format], PORTUGUESE[options.format]
    missing = left_out(dataset)
    facts = {
        "id": str(backup_id),
        "time": f"{created_at.astimezone(UTC):%Y-%m-%d %H:%M:%S} UTC",
        "tables": _folders(table.name for table in dataset.tables if table.kind == "r"),
        "example": f"{table_path(dataset.root)}/00000{suffix}",
        "all": f"{table_path(dataset.root)}/*{suffix}",
        "unpack": "zstd -dc" if suffix.endswith(".zst") else "cat",
    }
    has_index = bool(indexed(dataset))
    texts = (
        _filled(
            _ENGLISH,
            in_english,
            {**facts, "index": _INDEX if has_index else "", "missing": english(missing)},
        ),
        _filled(
            _PORTUGUESE,
            in_portuguese,
            {**facts, "index": _INDICE if has_index else "", "missing": portuguese(missing)},
        ),
    )
    return "\n\n".join(texts).encode()


def _filled(text: str, words: Words, facts: dict[str, str]) -> str:
    said = {name: value.format(**facts) for name, value in words._asdict().items()}
    return text.format(**said, **facts)


def _folders(names: Iterable[TableName]) -> str:
    return "\n".join(f"    {table_path(name)}/" for name in names)


_INDEX = "  index.parquet     where in the files the rows of each conversation lie\n"
_INDICE = "  index.parquet     onde, nos arquivos, estão as linhas de cada conversa\n"

_ENGLISH = """\
Convault backup {id}
All rows as they were at one moment: {time}

(Em português: mais abaixo.)

WHAT IS HERE
  datapackage.json  what this backup holds: tables, columns, types, files, digests
                    (a Frictionless Data Package, https://datapackage.org)
  SHA256SUMS        a digest of every other file (in the tar only)
  schema.sql        SQL that makes the tables again
{index}  and one folder for each table that has rows:
{tables}

{files}
In the names of folders, =xx stands for the byte with that hexadecimal number: capitals and special
characters are written so.

{missing}HOW TO OPEN IT, WITHOUT CONVAULT
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
Todas as linhas como estavam num mesmo instante: {time}

O QUE HÁ AQUI
  datapackage.json  o que esta cópia contém: tabelas, colunas, tipos, arquivos, resumos
                    (um Frictionless Data Package, https://datapackage.org)
  SHA256SUMS        um resumo (SHA-256) de cada um dos outros arquivos (só no tar)
  schema.sql        SQL que cria as tabelas de novo
{index}  e uma pasta para cada tabela que tem linhas:
{tables}

{files}
Nos nomes das pastas, =xx é o byte com esse número hexadecimal: assim se escrevem maiúsculas e
caracteres especiais.

{missing}COMO ABRIR, SEM O CONVAULT
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
