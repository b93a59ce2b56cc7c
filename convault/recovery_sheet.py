"""The recovery sheet: what somebody needs who has to restore on a bad day, on one page to print.

Pure: facts in, text out. It holds no secret, only where each is kept and what it is for.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Literal

Language = Literal["en", "pt"]


@dataclass(frozen=True, slots=True)
class Credential:
    """A secret that a restore needs, without its value."""

    variable: str
    kept: Literal["environment", ".env", "nowhere"]
    """where it was found when the sheet was made"""
    purpose: Literal["store", "signing", "identity"]


@dataclass(frozen=True, slots=True)
class SheetFacts:
    """What a sheet says of an installation."""

    store: str
    """its URL, without credentials"""
    region: str
    """of the bucket; empty for a folder, or where nothing names one"""
    repository_id: str
    env_file: str
    """where `.env` is looked for"""
    credentials: tuple[Credential, ...]
    signing_keys: tuple[str, ...]
    """ids, with which nothing can be signed"""
    recipients: tuple[str, ...]
    """public keys that the newest backup is encrypted to; () for a plain one"""
    newest: tuple[str, datetime] | None
    """id and time of the newest backup"""
    version: str
    made_at: datetime


def sheet(facts: SheetFacts, language: Language) -> str:
    """The sheet, as plain text of at most 80 columns but for URLs, ids and commands."""
    words = _WORDS[language]
    lines = [words["title"], "=" * len(words["title"]), ""]
    lines += [words["made"].format(at=f"{facts.made_at:%Y-%m-%d %H:%M %Z}", version=facts.version)]
    lines += ["", words["where"], "-" * len(words["where"])]
    lines += _pairs(
        [
            (words["store"], facts.store),
            (words["region"], facts.region or words["no_region"]),
            (words["repository"], facts.repository_id),
            (words["newest"], _newest(facts, words)),
            (words["encrypted"], ", ".join(facts.recipients) or words["plain"]),
            (words["signed"], ", ".join(facts.signing_keys) or words["unsigned"]),
        ]
    )
    lines += ["", words["secrets"], "-" * len(words["secrets"]), words["secrets_note"]]
    lines += _pairs(
        [(credential.variable, _kept(credential, facts, words)) for credential in facts.credentials]
        or [(words["none"], "")]
    )
    if facts.store.startswith("supabase://"):
        lines += [words["supabase"]]
    lines += ["", words["hand_written"], ""]
    lines += ["", words["steps"], "-" * len(words["steps"])]
    for number, (text, commands) in enumerate(_steps(facts, words), 1):
        lines += [f"{number}. {text}", *(f"       {command}" for command in commands), ""]
    lines += [words["help"]]
    return "\n".join(lines).rstrip() + "\n"


def _newest(facts: SheetFacts, words: dict[str, str]) -> str:
    if facts.newest is None:
        return words["no_backup"]
    backup_id, at = facts.newest
    return f"{backup_id} ({at:%Y-%m-%d %H:%M %Z})"


def _kept(credential: Credential, facts: SheetFacts, words: dict[str, str]) -> str:
    kept = words[f"kept_{credential.kept.strip('.')}"].format(file=facts.env_file)
    return f"{words[f'for_{credential.purpose}']}; {kept}"


def _steps(facts: SheetFacts, words: dict[str, str]) -> list[tuple[str, Sequence[str]]]:
    exports = [
        f"export {credential.variable}='...'"
        for credential in facts.credentials
        if credential.kept != "nowhere"
    ]
    restore = f"convault restore latest --from-store '{facts.store}' --into-file target.txt"
    if facts.recipients:
        restore += " --identity identity.txt"
    return [
        (
            words["step_install"],
            ("cd convault && make .venv/.runtime", 'export PATH="$PWD/.venv/bin:$PATH"'),
        ),
        (words["step_secrets"], exports or ("# " + words["none"],)),
        (
            words["step_target"],
            (
                "( umask 077 && cat > target.txt )",
                f"# postgresql://{words['user']}:{words['password']}@{words['host']}:5432/"
                f"{words['database']}",
            ),
        ),
        (words["step_list"], (f"convault list --from-store '{facts.store}'",)),
        (words["step_dry"], (f"{restore} --dry-run",)),
        (words["step_restore"], (restore,)),
        (
            words["step_some"],
            (f"{restore} --conversation ID", f"{restore} --mode skip --dry-run"),
        ),
    ]


def _pairs(pairs: Sequence[tuple[str, str]]) -> list[str]:
    width = max(len(name) for name, _ in pairs)
    return [f"{name:<{width}}  {value}".rstrip() for name, value in pairs]


_WORDS: dict[Language, dict[str, str]] = {
    "en": {
        "title": "Convault recovery sheet",
        "made": "Made on {at} with Convault {version}. Print it, and make it again on changes.",
        "where": "Where the backups are",
        "store": "Store",
        "region": "Region",
        "no_region": "none named (or the service's default)",
        "repository": "Repository",
        "newest": "Newest full",
        "no_backup": "none yet (`latest` is the newest full backup)",
        "encrypted": "Encrypted to",
        "plain": "nobody: whoever reads the store reads the rows",
        "signed": "Signed with key",
        "unsigned": "none: a restore asks for --trust",
        "secrets": "Secrets that a restore needs, and where they are kept",
        "secrets_note": "This sheet holds none of them. Keep copies away from the store.",
        "none": "none",
        "for_store": "opens the store",
        "for_signing": "proves that a backup is yours",
        "for_identity": "the file that opens encrypted backups",
        "supabase": "Both stand in the Supabase dashboard, under the API settings of the\n"
        "project that keeps the bucket. Deleting that project deletes the backups with it.",
        "kept_environment": "in the environment of the machine that backs up",
        "kept_env": "in {file}",
        "kept_nowhere": "NOT SET when this was made",
        "hand_written": "Copies (who, where, telephone): ______________________________________",
        "steps": "The day it happens",
        "step_install": "On any machine with Python 3.11, make and a checkout of Convault:",
        "step_secrets": "Set the secrets above (nobody else may read over your shoulder):",
        "step_target": "Make an empty database and write its URL into a file (end with Ctrl-D):",
        "user": "user",
        "password": "password",
        "host": "host",
        "database": "new_database",
        "step_list": "See what there is. `latest` is the newest full backup, others go by id:",
        "step_dry": "See what would come back. Nothing is changed:",
        "step_restore": "Restore. It is all there when this ends without an error, or nothing is:",
        "step_some": "Only a conversation; or into tables that live (also overwrite, replace):",
        "help": "Every error says what to do next. `convault restore --help` has all options.",
    },
    "pt": {
        "title": "Folha de recuperação do Convault",
        "made": "Feita em {at} com o Convault {version}. Imprima-a e refaça-a quando algo mudar.",
        "where": "Onde estão os backups",
        "store": "Armazenamento",
        "region": "Região",
        "no_region": "nenhuma indicada (ou a padrão do serviço)",
        "repository": "Repositório",
        "newest": "Mais novo completo",
        "no_backup": "ainda não há nenhum (`latest` é o completo mais novo)",
        "encrypted": "Cifrado para",
        "plain": "ninguém: quem lê o armazenamento lê as linhas",
        "signed": "Assinado com a chave",
        "unsigned": "nenhuma: a restauração pede --trust",
        "secrets": "Segredos de que a restauração precisa e onde são guardados",
        "secrets_note": "Esta folha não contém nenhum. Guarde cópias longe do armazenamento.",
        "none": "nenhum",
        "for_store": "abre o armazenamento",
        "for_signing": "prova que o backup é seu",
        "for_identity": "o arquivo que abre backups cifrados",
        "supabase": "Os dois estão no painel do Supabase, nas configurações de API do projeto que\n"
        "guarda o bucket. Apagar esse projeto apaga os backups junto.",
        "kept_environment": "no ambiente da máquina que faz os backups",
        "kept_env": "em {file}",
        "kept_nowhere": "NÃO DEFINIDO quando a folha foi feita",
        "hand_written": "Cópias (quem, onde, telefone): _______________________________________",
        "steps": "No dia em que acontecer",
        "step_install": "Em qualquer máquina com Python 3.11, make e uma cópia do Convault:",
        "step_secrets": "Defina os segredos acima (sem ninguém olhando por cima do ombro):",
        "step_target": "Crie um banco vazio e escreva a URL num arquivo (termine com Ctrl-D):",
        "user": "usuario",
        "password": "senha",
        "host": "servidor",
        "database": "banco_novo",
        "step_list": "Veja o que há. `latest` é o backup completo mais novo; os outros, pelo id:",
        "step_dry": "Veja o que voltaria. Nada é alterado:",
        "step_restore": "Restaure. Se terminar sem erro, está tudo lá; se não, nada foi alterado:",
        "step_some": "Só uma conversa; ou em tabelas vivas (também overwrite, replace):",
        "help": "Todo erro diz o que fazer a seguir. `convault restore --help` mostra as opções.",
    },
}
