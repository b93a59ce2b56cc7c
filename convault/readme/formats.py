"""What README.txt says of each format, in English and in Portuguese.

Commands are set apart by four spaces and run as they stand there (tests/archive/test_readme.py).
"""

from __future__ import annotations

from typing import NamedTuple

from convault.models import BackupFormat


class Words(NamedTuple):
    """What one language says of a format. `{example}` is a part, `{all}` all parts of its table,
    `{unpack}` the program that unpacks one."""

    files: str
    """what the files in the tables' folders are"""
    terminal: str
    duckdb: str
    polars: str
    values: str
    warning: str
    """a section of its own, or nothing"""


_JSON_COMMANDS = (
    "{unpack} {example} | head",
    """duckdb -c "SELECT count(*) FROM read_json('{all}', format='newline_delimited')\"""",
    'polars.read_ndjson("{example}", infer_schema_length=None)',
)
_CSV_COMMANDS = (
    "{unpack} {example} | head",
    """duckdb -c "SELECT count(*) FROM read_csv('{all}', header=true, all_varchar=true)\"""",
    'polars.read_csv("{example}", infer_schema=False)',
)
_PARQUET_COMMANDS = (
    """duckdb -c "SELECT * FROM read_parquet('{example}') LIMIT 10\"""",
    """duckdb -c "SELECT count(*) FROM read_parquet('{all}')\"""",
    'polars.read_parquet("{example}")',
)

_ENGLISH_TEXT = """\
any other type, exactly as Postgres writes it: numeric, text, uuid, json, arrays
                    ({{a,b}}), bytea (\\x00ff), dates and times (ISO 8601, in UTC)"""
_PORTUGUESE_TEXT = """\
qualquer outro tipo, exatamente como o Postgres o escreve: numeric, text, uuid,
                    json, arrays ({{a,b}}), bytea (\\x00ff), datas e horas (ISO 8601, em UTC)"""

ENGLISH = {
    BackupFormat.JSON: Words(
        "The files in these folders hold one row per line, as JSON.",
        *_JSON_COMMANDS,
        f"""\
  true, false       a boolean
  a number          a smallint, integer or bigint, up to 64 bits
  a string          {_ENGLISH_TEXT}
  null              SQL NULL; an empty string is \"\"""",
        "",
    ),
    BackupFormat.CSV: Words(
        "The files in these folders are CSV (RFC 4180, UTF-8), each with the names of the columns\n"
        "in its first line. A row may take several lines: line breaks may stand within quotes.",
        *_CSV_COMMANDS,
        f"""\
  true, false       without quotes: a boolean
  a number          without quotes: a smallint, integer or bigint, up to 64 bits
  text in quotes    {_ENGLISH_TEXT}
  nothing           SQL NULL; an empty string is "". Few tools tell the two apart: COPY of Postgres
                    (FORMAT csv, HEADER) does, and DuckDB with allow_quoted_nulls=false""",
        """\
DO NOT OPEN THE CSV FILES BY DOUBLE-CLICK
  A spreadsheet interprets what it opens that way. A message that begins with = + - or @ becomes a
  formula, which can call programs and send data away; accents can turn into other characters;
  where the separator is a semicolon, columns run together; long numbers and dates are changed, and
  saving writes the changes down. Messages come from strangers. Import as text instead:
  1. Unpack the file if its name ends in .zst:  zstd -d FILE.csv.zst
  2. Excel: Data > Get Data > From File > From Text/CSV. File origin "65001: Unicode (UTF-8)",
     delimiter "Comma", data type detection "Do not detect data types", then Load.
     LibreOffice Calc: File > Open. Character set "Unicode (UTF-8)", separator "Comma" only, text
     in quotes as text; switch off "Detect special numbers" and "Evaluate formulas"; mark all
     columns and choose the type "Text".
  3. Never answer yes when you are asked to enable content or to update links.

""",
    ),
    BackupFormat.PARQUET: Words(
        "The files in these folders are Parquet (https://parquet.apache.org), compressed within.",
        *_PARQUET_COMMANDS,
        f"""\
  a boolean         a boolean
  an integer        a smallint, integer or bigint
  a string          {_ENGLISH_TEXT}
  null              SQL NULL; an empty string is a string""",
        "",
    ),
}

PORTUGUESE = {
    BackupFormat.JSON: Words(
        "Os arquivos dessas pastas têm uma linha da tabela por linha de texto, em JSON.",
        *_JSON_COMMANDS,
        f"""\
  true, false       um booleano
  um número         smallint, integer ou bigint, até 64 bits
  um texto          {_PORTUGUESE_TEXT}
  null              NULL do SQL; um texto vazio é \"\"""",
        "",
    ),
    BackupFormat.CSV: Words(
        "Os arquivos dessas pastas são CSV (RFC 4180, UTF-8), cada um com os nomes das colunas na\n"
        "primeira linha. Um registro pode ocupar várias linhas: pode haver quebras entre aspas.",
        *_CSV_COMMANDS,
        f"""\
  true, false       sem aspas: um booleano
  um número         sem aspas: smallint, integer ou bigint, até 64 bits
  texto entre aspas {_PORTUGUESE_TEXT}
  nada              NULL do SQL; um texto vazio é "". Poucos programas os distinguem: o COPY do
                    Postgres (FORMAT csv, HEADER) e o DuckDB com allow_quoted_nulls=false""",
        """\
NÃO ABRA OS ARQUIVOS CSV COM DUPLO CLIQUE
  Uma planilha interpreta o que abre assim. Uma mensagem que começa com = + - ou @ vira fórmula, que
  pode chamar programas e enviar dados para fora; acentos podem virar outros caracteres; onde o
  separador é o ponto e vírgula, as colunas se juntam; números longos e datas são alterados, e
  salvar grava as alterações. As mensagens vêm de estranhos. Em vez disso, importe como texto:
  1. Descompacte o arquivo se o nome termina em .zst:  zstd -d ARQUIVO.csv.zst
  2. Excel: Dados > Obter Dados > De Arquivo > De Texto/CSV. Origem do arquivo "65001: Unicode
     (UTF-8)", delimitador "Vírgula", detecção de tipo "Não detectar tipos de dados", e Carregar.
     LibreOffice Calc: Arquivo > Abrir. Conjunto de caracteres "Unicode (UTF-8)", só o separador
     "Vírgula", campos entre aspas como texto; desligue "Detectar números especiais" e "Avaliar
     fórmulas"; marque todas as colunas e escolha o tipo "Texto".
  3. Nunca responda sim quando pedirem para habilitar conteúdo ou atualizar vínculos.

""",
    ),
    BackupFormat.PARQUET: Words(
        "Os arquivos dessas pastas são Parquet (https://parquet.apache.org), já comprimidos.",
        *_PARQUET_COMMANDS,
        f"""\
  um booleano       um booleano
  um inteiro        smallint, integer ou bigint
  um texto          {_PORTUGUESE_TEXT}
  null              NULL do SQL; um texto vazio é um texto""",
        "",
    ),
}
