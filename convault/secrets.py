"""Secrets that stand in a schema's SQL: a webhook's token in a trigger, a key in a function.

Whoever can read a backup's manifest would read them, and they are of no use to a restore elsewhere.
Their literals are replaced by a marker, in which the SQL stays what it was; everything else stays
as it is. Pure.
"""

from __future__ import annotations

import base64
import json
import re
from collections.abc import Iterable, Iterator
from dataclasses import replace

from convault.literals import Text, texts
from convault.models import Statement

MARKER = "REDACTED-BY-CONVAULT"

_JWT = re.compile(
    r"(?P<header>eyJ[\w-]{5,})(?:\.[\w-]{4,}\.[\w-]+|\.\.[\w-]+\.[\w-]+)(?:\.[\w-]+)*", re.ASCII
)
"""Three segments, or the five of an encrypted one; the first is JSON that begins with `{"`, which
`moneyJar.amount.cents` is not."""

_SUPABASE_KEY = re.compile(r"(?<![A-Za-z0-9])sb_secret_(?P<token>[\w-]+)", re.ASCII)

_BEARER = re.compile(
    r"(?P<before>\A|[\"'\\]|authorization[\"'\\]*\s*(?:[:=,]|=>)?\s*[\"'\\]*)?"
    r"(?<![A-Za-z0-9])bearer\s+(?P<token>[\w.~+/-]+=*)(?P<after>\Z|[\"'\\])?",
    re.IGNORECASE | re.ASCII,
)
"""Where it is all of a value, or follows the name of its header, no token is too plain."""

_PLAIN_WORDS = frozenset(
    {
        "a", "access", "an", "and", "anon", "api", "auth", "authentication", "authorization",
        "format", "header", "headers", "here", "id", "in", "is", "jwt", "key", "keys", "my", "name",
        "names", "of", "only", "or", "prefix", "required", "role", "scheme", "secret", "secrets",
        "service", "the", "to", "token", "tokens", "type", "user", "value", "with", "your",
    }
)  # fmt: skip
"""What is written where a token could be, and is none: `the Bearer token`, `sb_secret_key`."""

_VERSIONED = re.compile(r"(oauth|rfc|http|v)-?\d", re.IGNORECASE)
_KINDS = ("JWT", "sb_secret_ key", "bearer token")
"""What `Statement.redacted` says, the surest first."""

_HOLDS_VALUES_OF_ROWS = re.compile(
    r"CREATE TYPE .* AS ENUM |ALTER TABLE .* ATTACH PARTITION ", re.DOTALL
)
"""Rows hold the same texts, and could not be loaded if they were others here."""


def without_secrets(statement: Statement) -> Statement:
    """The statement with MARKER for every secret, and `redacted` saying of which kinds they were.

    Labels of an enum and bounds of a partition are left as they are: see `warnings`.
    """
    if _HOLDS_VALUES_OF_ROWS.match(statement.sql):
        return statement
    found = _found(statement.sql)
    if not found:
        return statement
    sql, at = [], 0
    for start, end, text, _ in found:
        sql += [statement.sql[at:start], text]
        at = end
    sql.append(statement.sql[at:])
    redacted = tuple(kind for kind in _KINDS if any(kind == found_ for *_, found_ in found))
    return replace(statement, sql="".join(sql), redacted=redacted)


def warnings(statements: Iterable[Statement]) -> Iterator[str]:
    """A sentence for every statement that had a secret, or has one still. Never the secret."""
    for statement in statements:
        what = f"{statement.kind} {statement.name}"
        if statement.redacted:
            yield (
                f"The {what} holds what looks like a secret ({', '.join(statement.redacted)}): the "
                f"backup has {MARKER} there. Keep secrets in Vault, and set it again after a "
                "restore."
            )
        elif _HOLDS_VALUES_OF_ROWS.match(statement.sql) and _found(statement.sql):
            yield (
                f"The {what} holds what looks like a secret, and so may rows: it is in the backup "
                "as it is."
            )


def _found(sql: str) -> list[tuple[int, int, str, str]]:
    """Start, end, what to put there, and the kind, in the order of the SQL; none overlap."""
    pieces = sorted(
        (start, end, MARKER if number == 0 else "", kind)
        for text in texts(sql)
        for first, last, kind in _secrets(text)
        for number, (start, end) in enumerate(text.spans(first, last))
    )
    merged: list[tuple[int, int, str, str]] = []
    for start, end, put, kind in pieces:
        if merged and start < merged[-1][1]:
            first, last, before, surer = merged.pop()
            merged.append((
                first, max(end, last), put or before, min(kind, surer, key=_KINDS.index)
            ))  # fmt: skip
        else:
            merged.append((start, end, put, kind))
    return merged


def _secrets(text: Text) -> Iterator[tuple[int, int, str]]:
    """Start and end of each secret in the text, and its kind."""
    for match in _JWT.finditer(text.text):
        before = text.text[: match.start()][-1:]
        if not (before.isascii() and before.isalnum()) or _is_object(match["header"]):
            yield *match.span(), "JWT"
    for match in _SUPABASE_KEY.finditer(text.text):
        if _is_supabase_key(match["token"], code=text.code):
            yield *match.span(), "sb_secret_ key"
    for match in _BEARER.finditer(text.text):
        if _is_bearer_token(match, code=text.code):
            yield *match.span("token"), "bearer token"


def _is_object(header: str) -> bool:
    try:
        return isinstance(
            json.loads(base64.urlsafe_b64decode(header + "=" * (-len(header) % 4))), dict
        )
    except ValueError:
        return False


def _is_bearer_token(match: re.Match[str], *, code: bool) -> bool:
    token, before = match["token"], match["before"]
    if _is_plain(token):
        return False
    if before is not None and match["after"] is not None:
        return True
    # In code the next word may be a name, on the line below a comment.
    of_header = before is not None and before.lower().startswith("authorization")
    return not code and (of_header or _is_random(token))


def _is_supabase_key(token: str, *, code: bool) -> bool:
    """In code it may be a name, which is in lower case, or it would stand in quotes."""
    if code:
        return len(token) >= 16 and token.lower() != token
    return not _is_plain(token)


def _is_plain(token: str) -> bool:
    words = [word.lower() for word in re.split(r"[\W_]+", token) if word]
    return token == MARKER or all(word in _PLAIN_WORDS or set(word) == {"x"} for word in words)


def _is_random(token: str) -> bool:
    letters = re.search(r"[A-Za-z]", token) is not None
    if letters and re.search(r"\d", token) and len(token.rstrip(".-")) >= 6:
        return not _VERSIONED.match(token)
    return len(re.findall(r"[a-z][A-Z]", token)) >= 3 and len(token) >= 20
