"""Secrets are taken out of SQL wherever they are written, and nothing else is touched."""

from __future__ import annotations

import base64
import json
from collections.abc import Iterator

import psycopg
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from convault.embedded.server import EmbeddedPostgres
from convault.models import Statement
from convault.secrets import MARKER, warnings, without_secrets
from tests.soak import count


def _jwt(payload: str = "service_role", signature: str = "c2lnbmF0dXJl-_9") -> str:
    parts = ({"alg": "HS256", "typ": "JWT"}, {"role": payload})
    encoded = (base64.urlsafe_b64encode(json.dumps(part).encode()).decode().rstrip("=")
               for part in parts)  # fmt: skip
    return ".".join([*encoded, signature])


JWT = _jwt()
KEY = "sb_secret_N7UND0UgjKTVK-Uodkm0Hg_xSvEMPvz"
TOKEN = "2YotnFZFEjr1zCsicMWpAA"

JWTS = st.builds(
    _jwt,
    st.text(max_size=30),
    st.text("abcXYZ019-_", min_size=3, max_size=43),
)
KEYS = st.text("abcdefXYZ0189_-", min_size=22, max_size=31).map(lambda t: f"sb_secret_{t}A1")
TOKENS = st.text("abcdXYZ019._~+/-", min_size=8, max_size=40).map(lambda t: f"aB3{t}7==")
SECRETS = st.one_of(
    JWTS.map(lambda jwt: ("JWT", "", jwt)),
    KEYS.map(lambda key: ("sb_secret_ key", "", key)),
    TOKENS.map(lambda token: ("bearer token", "Bearer ", token)),
    JWTS.map(lambda jwt: ("JWT", "bearer  ", jwt)),
)
"""kind, what stands before, the secret"""

# Nothing that a token could go on with, or that would begin another secret.
AROUND = st.text(st.characters(codec="utf-8", exclude_characters="\0", exclude_categories=["Cs"])
                 .filter(lambda c: not (c.isascii() and (c.isalnum() or c in "-._~+/="))),
                 max_size=12)  # fmt: skip


def _redacted(sql: str, kind: str = "function") -> Statement:
    return without_secrets(Statement(kind, "public.x", sql, after_data=False))


def _escaped(text: str, choice: int) -> str:
    """As an E'' literal writes it, one character as `choice` says."""
    forms = [
        lambda c: f"\\x{ord(c):02x}" if ord(c) < 128 else c,
        lambda c: f"\\{ord(c):03o}" if ord(c) < 128 else c,
        lambda c: f"\\u{ord(c):04x}" if ord(c) < 65536 else f"\\U{ord(c):08x}",
        lambda c: f"\\U{ord(c):08x}",
    ]
    quoted = {"'": "''", "\\": "\\\\"}
    return "".join(
        forms[choice % 4](c) if (n * 7 + choice) % 5 == 0 else quoted.get(c, c)
        for n, c in enumerate(text)
    )


@st.composite
def literals(draw: st.DrawFn, text: str) -> str:
    """SQL for the text: one literal of any kind, or several that are concatenated."""
    if draw(st.booleans()) and len(text) > 1:
        cut = draw(st.integers(1, len(text) - 1))
        left, right = draw(literals(text[:cut])), draw(literals(text[cut:]))
        return draw(st.sampled_from([
            f"{left} || {right}", f"({left}::text || {right}::text)", f"concat({left}, {right})",
            f"{left} -- a comment\n || /* and\n one */ {right}",
        ]))  # fmt: skip
    choice = draw(st.integers(0, 100))
    double = text.replace("'", "''")
    written = [f"'{double}'", f"E'{_escaped(text, choice)}'"]
    tag = f"$a{len(text)}$"
    if (text + tag).index(tag) == len(text):  # or the literal would end within the text
        written.append(f"{tag}{text}{tag}")
    if "\\" not in text:
        written.append(
            "U&'" + "".join(f"\\{ord(c):04x}" if ord(c) < 128 else c for c in text) + "'"
        )
    return draw(st.sampled_from(written))


@pytest.fixture(scope="module")
def postgres(cluster: EmbeddedPostgres) -> Iterator[psycopg.Connection[tuple[str]]]:
    """To ask what a literal says."""
    with psycopg.connect(cluster.url(), autocommit=True) as connection:
        yield connection


@pytest.mark.soak
@settings(
    max_examples=count(120, 5000),
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(data=st.data(), before=AROUND, secret=SECRETS, after=AROUND)
def test_a_literal_says_the_same_without_its_secret(
    postgres: psycopg.Connection[tuple[str]],
    data: st.DataObject, before: str, secret: tuple[str, str, str], after: str,
) -> None:  # fmt: skip
    kind, scheme, value = secret
    # A space, as a letter of another alphabet may stand before the word.
    sql = "SELECT " + data.draw(literals(f"{before} {scheme}{value} {after}"))
    assert postgres.execute(sql.encode()).fetchone() == (f"{before} {scheme}{value} {after}",)
    redacted = _redacted(sql)
    assert redacted.redacted == (kind,)
    assert postgres.execute(redacted.sql.encode()).fetchone() == (
        f"{before} {scheme}{MARKER} {after}",
    )
    assert without_secrets(redacted).sql == redacted.sql


@pytest.mark.soak
@settings(
    max_examples=count(40, 1000),
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(data=st.data(), secret=SECRETS)
def test_a_function_returns_the_same_without_its_secret(
    postgres: psycopg.Connection[tuple[str]], data: st.DataObject, secret: tuple[str, str, str]
) -> None:
    """Within a body, and within a statement that the body puts together."""
    _, scheme, value = secret
    written = data.draw(literals(f"'{scheme}{value}'"))
    dynamic = data.draw(literals("SELECT " + data.draw(literals(f"({scheme}{value})"))))
    body = f"DECLARE r text; BEGIN EXECUTE {dynamic} INTO r; RETURN {written} || r; END"
    create = f"CREATE FUNCTION pg_temp.f() RETURNS text LANGUAGE plpgsql AS $body${body}$body$"
    redacted = _redacted(create)
    answers = []
    for sql in (create, redacted.sql):
        with postgres.transaction(force_rollback=True):
            postgres.execute(sql.encode())
            answers.append(postgres.execute("SELECT pg_temp.f()").fetchone())
    assert answers == [(f"'{scheme}{said}'({scheme}{said})",) for said in (value, MARKER)]


INNOCENT = [
    "COMMENT ON TABLE t IS 'The Bearer token, from the bearer of news. Bearer authentication!'",
    "COMMENT ON COLUMN t.c IS 'Bearer token'",
    "COMMENT ON COLUMN t.c IS 'starts with eyJ, then eyJhbGciOiJIUzI1NiJ9... and so on'",
    "COMMENT ON COLUMN t.c IS 'see https://example.org/bearer/2024-01-01, OAuth2 Bearer RFC6750'",
    "ALTER TABLE t ADD CONSTRAINT c CHECK (h ~~ 'Bearer %'::text)",
    "SELECT 'Bearer ' || current_setting('app.token')",
    "SELECT format('Bearer %s', token), concat('Bearer ', token)",
    "CREATE TABLE t (sb_secret_key text DEFAULT 'sb_secret_'::text, \"sb_secret_A1b2c3d4e5\" int)",
    "SELECT decrypted_secret FROM vault.decrypted_secrets WHERE name = 'sb_secret_key'",
    "CREATE TABLE \"eyJhbGciOiJI\".\"eyJhbGciOiJI\" (c int)",
    "CREATE FUNCTION f() RETURNS text AS $$\n-- sent as Bearer\nv_token1 := sb_secret_v2_helper();"
    "\n-- don't\nRETURN 'Bearer ' || v_token1; $$",
    "CREATE FUNCTION f() AS $$ SELECT a.eyJ.b, \"Bearer\", '{\"scheme\": \"Bearer\"}' $$",
    "SELECT moneyJars.amount.cents, keyJson.value.text, 'a.moneyJars.amount.cents'",
    "SELECT 'Bearer <token>', 'Bearer {token}', 'Bearer $1', 'Bearer ...', 'Bearer xxxx'",
    f"SELECT 'Bearer {MARKER}', '{MARKER}'",
]  # fmt: skip


@pytest.mark.parametrize("sql", INNOCENT)
def test_what_is_no_secret_is_left_as_it_is(sql: str) -> None:
    assert _redacted(sql).sql == sql
    assert _redacted(sql).redacted == ()


@settings(max_examples=count(200, 10_000))
@given(st.lists(st.one_of(
    st.text(st.characters(exclude_categories=["Cs"]), max_size=8),
    st.sampled_from(["'", "''", '"', "\\", "$$", "$a$", "--", "/*", "*/", "\n", "||", "::text",
                     "E'", "U&'", "eyJ", ".", "sb_secret_", "Bearer", "bearer ", "concat(", ",",
                     "\\x6"]),
), max_size=25).map("".join))  # fmt: skip
def test_any_text_at_all_is_read_and_what_is_left_is_what_was_there(sql: str) -> None:
    statement = Statement("function", "x", sql, after_data=False)
    redacted = without_secrets(statement)
    if not redacted.redacted:
        assert redacted == statement
    assert without_secrets(redacted).sql == redacted.sql


GUILTY = {
    f"CREATE TRIGGER t AFTER INSERT ON m FOR EACH ROW EXECUTE FUNCTION supabase_functions."
    f"http_request('https://x', 'POST', '{{\"Authorization\":\"Bearer {JWT}\"}}', '{{}}', '1000')":
        (JWT, "JWT"),
    f"COMMENT ON TABLE t IS 'call with apikey={KEY}&x=1'": (KEY, "sb_secret_ key"),
    f"CREATE POLICY p ON t USING ((h = 'Bearer {TOKEN}'::text))": (TOKEN, "bearer token"),
    f"ALTER TABLE t ALTER c SET DEFAULT ('Bearer '::text || '{TOKEN}'::text)":
        (TOKEN, "bearer token"),
    f"CREATE FUNCTION f() AS $function$ const h = {{a: \"Bearer {TOKEN}\"}} // don't\n$function$":
        (TOKEN, "bearer token"),
    f"CREATE FUNCTION f() AS $$ key = `{KEY}` # it's JavaScript $$": (KEY, "sb_secret_ key"),
    f"CREATE FUNCTION f() AS $$ BEGIN\n  -- {JWT}\n  NULL; /* {JWT} */ END $$": (JWT, "JWT"),
    f"SELECT 'first line'\n  '{JWT[:50]}'\n  '{JWT[50:]}'": (JWT[50:], "JWT"),
    "SELECT '{\\\"authorization\\\": \\\"Bearer plain-words\\\"}'": ("plain-words", "bearer token"),
    "SELECT E'authorization: bearer plain-words\\r\\n'": ("plain-words", "bearer token"),
    "SELECT 'Bearer plain-words'": ("plain-words", "bearer token"),
    "SELECT 'Bearer\n    plain-words'": ("plain-words", "bearer token"),
    f"SELECT 'https://example.org/hook{JWT}'": (JWT, "JWT"),
    f"SELECT $q$SELECT ''{JWT}''$q$": (JWT, "JWT"),
}  # fmt: skip


@pytest.mark.parametrize(("sql", "secret"), GUILTY.items())
def test_secrets_as_people_write_them(sql: str, secret: tuple[str, str]) -> None:
    redacted = _redacted(sql)
    assert secret[0] in sql
    assert secret[0] not in redacted.sql
    assert MARKER in redacted.sql
    assert redacted.redacted == (secret[1],)


def test_what_rows_hold_too_is_kept_and_told() -> None:
    label = Statement("type", "public.e", f"CREATE TYPE public.e AS ENUM ('{KEY}')", False)
    bound = Statement(
        "partition", "public.p",
        f"ALTER TABLE ONLY public.t ATTACH PARTITION public.p FOR VALUES IN ('{JWT}')", False,
    )  # fmt: skip
    assert [without_secrets(s) for s in (label, bound)] == [label, bound]
    told = list(warnings([label, bound]))
    assert [text.partition(" holds")[0] for text in told] == [
        "The type public.e", "The partition public.p",
    ]  # fmt: skip
    assert not any(secret in text for secret in (KEY, JWT) for text in told)


def test_a_warning_names_the_statement_and_the_kind_and_never_the_secret() -> None:
    statement = _redacted(f"SELECT '{KEY}', '{JWT}', 'Bearer {TOKEN}'")
    assert statement.redacted == ("JWT", "sb_secret_ key", "bearer token")
    (told,) = warnings([statement])
    assert told.startswith(
        "The function public.x holds what looks like a secret (JWT, sb_secret_ key, bearer token)"
    )
    assert not any(secret in told for secret in (KEY, JWT, TOKEN))
