"""What `convault setup` asks, what it is told, and how that gets into `.env`."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass

import typer
from dotenv import dotenv_values
from pydantic import SecretStr

from convault.env_file import change_variable
from convault.errors import ConfigurationError, ConvaultError, OptionsError
from convault.retention.policy import Policy
from convault.schedule import require_schedule, require_timezone
from convault.settings import Settings, env_file, environment

_KINDS = ("last", "hourly", "daily", "weekly", "monthly", "yearly", "within", "at_most")
_UNQUOTED = re.compile(r"""(?!['"\s])(?:(?!\s#|\$\{|\\|[\r\n]).)+(?<!\s)""")
"""a value that stands in `.env` as it is"""


@dataclass(frozen=True)
class Asked:
    """What the command line says."""

    store: str | None
    timezone: str | None
    schedule: str | None
    keep: str | None


@dataclass(frozen=True)
class Answers:
    """What is to be, all of it checked."""

    variables: dict[str, str]
    """for `.env`"""
    timezone: str
    schedule: str | None
    """None: no schedule"""


def answers_of(asked: Asked, *, quiet: bool) -> Answers:
    """Ask what neither the command line nor the settings say; `quiet`: ask nothing, and take what
    is usual. ConfigurationError, OptionsError, PolicyError, before anything is written."""
    variables = {
        "DATABASE_URL": _secret(
            "DATABASE_URL",
            "Database to back up, as postgresql://user:password@host:5432/database",
            _database,
            needed=True,
            quiet=quiet,
        ),
        "CONVAULT_STORE_URL": _answer(
            asked.store, "CONVAULT_STORE_URL", "Where backups are kept (file:///folder, s3://...)",
            None, _store, quiet=quiet,
        ),
        "CONVAULT_TIMEZONE": _answer(
            asked.timezone, "CONVAULT_TIMEZONE", "Time zone", "UTC", require_timezone, quiet=quiet
        ),
    }  # fmt: skip
    schedule = _answer(
        asked.schedule, None, "When (daily, weekly, monthly, a cron line, none)", "daily",
        _schedule, quiet=quiet,
    )  # fmt: skip
    kept = any(environment(f"CONVAULT_KEEP_{kind.upper()}") for kind in _KINDS)
    if asked.keep is not None or not kept:
        usual = "daily=7,weekly=4,monthly=12"
        said = _answer(asked.keep, None, "What a clean-up keeps", usual, _keep, quiet=quiet)
        variables |= rules(said)
    alarm = _secret(
        "CONVAULT_NOTIFY_URLS",
        "Who is told when something is wrong (apprise URLs, such as mailto://...; none: empty)",
        _alarm,
        needed=False,
        quiet=quiet,
    )
    if alarm:
        variables["CONVAULT_NOTIFY_URLS"] = alarm
    for name, value in variables.items():
        require_plain(name, value)
    return Answers(
        variables, variables["CONVAULT_TIMEZONE"], None if schedule == "none" else schedule
    )


def written(answers: Answers, *, replace: bool, quiet: bool) -> list[str]:
    """Write them into `.env` (mode 0600); the names of what changed. What stands there otherwise is
    replaced only when that was asked for, or is agreed to now. ConfigurationError, and nothing
    written, when it is not."""
    path = env_file()
    there = {k.upper(): v for k, v in dotenv_values(path).items()} if path.is_file() else {}
    new = {name: value for name, value in answers.variables.items() if there.get(name) != value}
    others = [name for name in new if there.get(name)]
    if others and not replace:
        told = ", ".join(others)
        if quiet or not typer.confirm(f"{path} says something else of {told}. Replace it?"):
            raise ConfigurationError(
                f"{path} says something else of {told} already; nothing was written. Add "
                "--replace, or leave that answer out."
            )
    for name, value in new.items():
        try:
            change_variable(path, name, lambda _, value=value: value)  # type: ignore[misc]
        except OSError as error:
            raise ConfigurationError(
                f"{path} cannot be written ({error.strerror}). Make it yours alone "
                "(`chmod 600 .env`), or run this in a folder that is."
            ) from None
    return list(new)


def rules(text: str) -> dict[str, str]:
    """The variables of `daily=7,weekly=4`; none for `none`. OptionsError, PolicyError."""
    if text == "none":
        return {}
    pairs = [pair.strip().partition("=") for pair in text.split(",")]
    wrong = [kind for kind, _, value in pairs if kind.replace("-", "_") not in _KINDS or not value]
    if wrong:
        raise OptionsError(
            f"--keep: {', '.join(wrong)} is not a rule. Say for example "
            f"daily=7,weekly=4,monthly=12 ({', '.join(_KINDS)}), or none."
        )
    found = {kind.replace("-", "_"): value for kind, _, value in pairs}
    Policy.parse({f"keep_{kind}": value for kind, value in found.items()})
    return {f"CONVAULT_KEEP_{kind.upper()}": value for kind, value in found.items()}


def require_plain(name: str, value: str) -> None:
    """ConfigurationError for what `.env` would not give back as it is."""
    if not _UNQUOTED.fullmatch(value):
        raise ConfigurationError(
            f"The value of {name} has quotes, blanks, `#`, `${{` or a backslash where .env reads "
            "them otherwise. Set it in the environment, or write it into .env yourself."
        )


def _answer(
    given: str | None, variable: str | None, question: str, usual: str | None,
    check: Callable[[str], str], *, quiet: bool,
) -> str:  # fmt: skip
    """What was given, or set, or is answered until it can be; else what is usual."""
    if given is not None:
        return check(given)
    known = environment(variable) if variable else None
    if known:
        return check(known)
    if quiet:
        if usual is None:
            raise ConfigurationError(f"{variable} is not known: give --store, or leave out --yes.")
        return usual
    while True:
        answer = typer.prompt(question, default=usual, err=True)
        try:
            return check(str(answer).strip())
        except ConvaultError as error:
            typer.echo(error.message, err=True)


def _secret(
    variable: str, question: str, check: Callable[[str], str], *, needed: bool, quiet: bool
) -> str:
    """What is set (the steps that follow say what is wrong with it), or is answered until it can
    be."""
    known = environment(variable)
    if known:
        return known
    if quiet and needed:
        raise ConfigurationError(
            f"{variable} is not set. Set it in the environment or in .env, or leave out --yes to "
            "be asked for it."
        )
    if quiet:
        return ""
    while True:
        answer = str(
            typer.prompt(question, hide_input=True, default="", show_default=False, err=True)
        ).strip()
        try:
            if answer:
                return check(answer)
        except ConvaultError as error:
            typer.echo(error.message, err=True)
        else:
            if not needed:
                return ""


def _database(url: str) -> str:
    """One that lets us in: what is written into `.env` is not asked again."""
    from convault.sources.session import connect

    connect(url).close()
    return url


def _alarm(urls: str) -> str:
    from convault.notify.channels import channels

    channels(Settings(convault_notify_urls=SecretStr(urls)))
    return urls


def _store(url: str) -> str:
    from convault.stores.opening import folder_of, open_store

    if url.startswith("file:"):
        folder_of(url)  # it is made later, if it is not there
    else:
        open_store(url)
    return url


def _schedule(text: str) -> str:
    return text if text == "none" else require_schedule(text)


def _keep(text: str) -> str:
    rules(text)
    return text
