"""README.txt, which lies beside every backup and tells whoever finds it how to open it."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import UTC, datetime
from uuid import UUID

from convault.formats.registry import format_of
from convault.models import BackupOptions, Dataset, TableName
from convault.names import table_path


def text(backup_id: UUID, created_at: datetime, dataset: Dataset, options: BackupOptions) -> bytes:
    """README.txt of a backup, in English and in Portuguese. UTF-8; the same bytes for the same
    values. Holds names of tables, never a row's value. `created_at` is the snapshot's."""
    suffix = format_of(options.format).suffix(options.compression_level)
    facts = {
        "id": str(backup_id),
        "time": f"{created_at.astimezone(UTC):%Y-%m-%d %H:%M:%S} UTC",
        "tables": _folders(table.name for table in dataset.tables if table.kind == "r"),
        "example": f"{table_path(dataset.root)}/00000{suffix}",
        "all": f"{table_path(dataset.root)}/*{suffix}",
        "unpack": "zstd -dc" if suffix.endswith(".zst") else "cat",
    }
    return (_ENGLISH.format(**facts) + "\n\n" + _PORTUGUESE.format(**facts)).encode()


def _folders(names: Iterable[TableName]) -> str:
    return "\n".join(f"    {table_path(name)}/" for name in names)


_ENGLISH = """\
Convault backup {id}
All rows as they were at one moment: {time}

(Em português: mais abaixo.)

WHAT IS HERE
  datapackage.json  what this backup holds: tables, columns, types, files, digests
                    (a Frictionless Data Package, https://datapackage.org)
  SHA256SUMS        a digest of every other file (in the tar only)
  schema.sql        SQL that makes the tables again
  and one folder for each table that has rows:
{tables}

The files in these folders hold one row per line, as JSON. In the names of folders, =xx stands for
the byte with that hexadecimal number: capitals and special characters are written so.

HOW TO OPEN IT, WITHOUT CONVAULT
  Unpack, and check that nothing is damaged:
    tar xf backup_{id}.tar
    sha256sum -c SHA256SUMS
  Read rows in a terminal:
    {unpack} {example} | head
  Ask questions with DuckDB (https://duckdb.org), here how many rows a table has:
    duckdb -c "SELECT count(*) FROM read_json('{all}', format='newline_delimited')"
  Load a table with Polars (https://pola.rs), in Python:
    import polars
    polars.read_ndjson("{example}", infer_schema_length=None)

WHAT THE VALUES MEAN
  true, false       a boolean
  a number          a smallint, integer or bigint, up to 64 bits
  a string          any other type, exactly as Postgres writes it: numeric, text, uuid, json, arrays
                    ({{a,b}}), bytea (\\x00ff), dates and times (ISO 8601, in UTC)
  null              SQL NULL; an empty string is ""
  The Postgres type of each column stands in datapackage.json under x-postgres. A tool that guesses
  types may change values: tell it to read strings as strings.

HOW TO RESTORE IT
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
  e uma pasta para cada tabela que tem linhas:
{tables}

Os arquivos dessas pastas têm uma linha da tabela por linha de texto, em JSON. Nos nomes das pastas,
=xx é o byte com esse número hexadecimal: assim se escrevem maiúsculas e caracteres especiais.

COMO ABRIR, SEM O CONVAULT
  Extrair, e conferir que nada está danificado:
    tar xf backup_{id}.tar
    sha256sum -c SHA256SUMS
  Ler linhas num terminal:
    {unpack} {example} | head
  Consultar com o DuckDB (https://duckdb.org), aqui quantas linhas a tabela tem:
    duckdb -c "SELECT count(*) FROM read_json('{all}', format='newline_delimited')"
  Carregar uma tabela com o Polars (https://pola.rs), em Python:
    import polars
    polars.read_ndjson("{example}", infer_schema_length=None)

O QUE SIGNIFICAM OS VALORES
  true, false       um booleano
  um número         smallint, integer ou bigint, até 64 bits
  um texto          qualquer outro tipo, exatamente como o Postgres o escreve: numeric, text, uuid,
                    json, arrays ({{a,b}}), bytea (\\x00ff), datas e horas (ISO 8601, em UTC)
  null              NULL do SQL; um texto vazio é ""
  O tipo de cada coluna no Postgres está em datapackage.json, em x-postgres. Uma ferramenta que
  adivinha tipos pode alterar valores: peça que leia textos como textos.

COMO RESTAURAR
  convault restore {id} --target NOME

Quem tem estes arquivos pode ler as conversas que há neles. Guarde-os com o mesmo cuidado que o
banco de dados.
"""
