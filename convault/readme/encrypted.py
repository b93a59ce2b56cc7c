"""What stands at the head of README.txt when the rows are encrypted, in English and in Portuguese.

What follows it is the README of a backup that is not: it holds once the files are decrypted.
"""

from __future__ import annotations

from uuid import UUID


def text(backup_id: UUID) -> bytes:
    """UTF-8; the same bytes for the same backup."""
    return _TEXT.format(id=backup_id).encode()


_TEXT = """\
THE ROWS OF THIS BACKUP ARE ENCRYPTED (AS LINHAS DESTA CÓPIA ESTÃO CIFRADAS)

Every file that ends in .age is encrypted with age (https://age-encryption.org). To read it you
need the identity file (the secret key) of one of the recipients that datapackage.json names under
convault, encryption, recipients. Without one nobody can read the rows, Convault included.

  With Convault, which checks every digest too:
    convault extract backup_{id}.tar FOLDER --identity IDENTITY.txt
  Without it: unpack, check SHA256SUMS, then decrypt every file beside itself:
    find . -name '*.age' -exec sh -c 'age -d -i IDENTITY.txt -o "${{1%.age}}" "$1"' - {{}} \\;

After that everything below holds: the names of files there are those without .age.

Todo arquivo que termina em .age está cifrado com age (https://age-encryption.org). Para o ler é
preciso o arquivo de identidade (a chave secreta) de um dos destinatários que datapackage.json
nomeia em convault, encryption, recipients. Sem ele ninguém lê as linhas, nem o Convault.

  Com o Convault, que também confere os resumos:
    convault extract backup_{id}.tar PASTA --identity IDENTIDADE.txt
  Sem ele: extrair, conferir SHA256SUMS, e decifrar cada arquivo ao lado de si mesmo:
    find . -name '*.age' -exec sh -c 'age -d -i IDENTIDADE.txt -o "${{1%.age}}" "$1"' - {{}} \\;

Depois disso vale tudo o que está abaixo: lá os arquivos têm o nome sem .age.

--------------------------------------------------------------------------------
"""
