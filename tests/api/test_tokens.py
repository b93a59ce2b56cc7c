"""Tokens of a Supabase project: which are taken, and that nothing in one leads anywhere."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import secrets
import socket
import time
from collections.abc import Callable, Iterator
from datetime import datetime, tzinfo
from typing import Any

import jwt
import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from fastapi import FastAPI, Response
from jwt.algorithms import ECAlgorithm, RSAAlgorithm

from api import keyset
from api.app import create_app
from api.caller import Scope
from api.problems import SigningKeysUnavailable, Unauthorized
from api.tokens import TokenVerifier, verifier_of
from convault.errors import ConfigurationError
from convault.settings import Settings
from tests.patience import PATIENCE
from tests.serving import PATH, client_of, problem, served
from tests.supabase_stack import SupabaseStack

SECRET = secrets.token_hex(32)
EC_KEY = ec.generate_private_key(ec.SECP256R1())
RSA_KEY = rsa.generate_private_key(65537, 2048)
OTHER_EC_KEY = ec.generate_private_key(ec.SECP256R1())
KEYS = {"ES256": EC_KEY, "RS256": RSA_KEY, "HS256": SECRET}
KIDS = {"ES256": "curve", "RS256": "prime"}


def public(kid: str, key: Any, **more: object) -> dict[str, Any]:
    """An entry of a JWKS."""
    algorithm = ECAlgorithm if isinstance(key, ec.EllipticCurvePrivateKey) else RSAAlgorithm
    return {**algorithm.to_jwk(key.public_key(), as_dict=True), "kid": kid, "use": "sig", **more}


class AuthServer:
    """A server of keys: counts what is asked of it."""

    def __init__(self) -> None:
        self.url = ""
        self.asked: list[str] = []
        self.status = 200
        self.keys: list[dict[str, Any]] = [public("curve", EC_KEY), public("prime", RSA_KEY)]
        self.app = FastAPI(openapi_url=None)
        self.app.add_api_route("/{path:path}", self.answer)

    def answer(self, path: str) -> Response:
        self.asked.append(f"/{path}")
        body = json.dumps({"keys": self.keys})
        headers = {"Location": f"{self.url}/elsewhere"}
        return Response(body, self.status, headers, media_type="application/json")


@pytest.fixture(autouse=True)
def patient(monkeypatch: pytest.MonkeyPatch) -> None:
    """A machine may stand still for as long as the product waits for keys."""
    monkeypatch.setattr(keyset, "TIMEOUT", PATIENCE)


@pytest.fixture
def server() -> Iterator[AuthServer]:
    server = AuthServer()
    with served(server.app) as server.url:
        yield server


@pytest.fixture
def verifier(server: AuthServer) -> TokenVerifier:
    return TokenVerifier(server.url, SECRET, None)


@pytest.fixture
def token(server: AuthServer) -> Callable[..., str]:
    """Make a token as the project does; `headers` and claims replace members, None removes one."""

    def make(
        algorithm: str = "ES256", key: Any = None, headers: dict[str, Any] | None = None,
        **claims: Any,
    ) -> str:  # fmt: skip
        now = int(time.time())
        usual = {
            "iss": f"{server.url}/auth/v1", "sub": "11111111-2222-4333-8444-555555555555",
            "aud": "authenticated", "role": "authenticated", "iat": now, "exp": now + 3600,
            "app_metadata": {"provider": "email", "convault_role": "operator"},
            "user_metadata": {},
        }  # fmt: skip
        members = {k: v for k, v in {**usual, **claims}.items() if v is not None}
        head = {"kid": KIDS.get(algorithm), **(headers or {})}
        return jwt.encode(
            members, key or KEYS[algorithm], algorithm,
            headers={k: v for k, v in head.items() if v is not None},
        )  # fmt: skip

    return make


def unsigned(header: object, claims: object, signature: bytes = b"") -> str:
    parts = [json.dumps(header).encode(), json.dumps(claims).encode(), signature]
    return ".".join(base64.urlsafe_b64encode(part).rstrip(b"=").decode() for part in parts)


@pytest.mark.parametrize("algorithm", ["ES256", "RS256", "HS256"])
def test_a_token_of_the_project_tells_who_it_is(
    algorithm: str, verifier: TokenVerifier, token: Callable[..., str], server: AuthServer
) -> None:
    for _ in range(3):
        caller = verifier.caller(token(algorithm))
        assert caller.name == "user:11111111-2222-4333-8444-555555555555"
        assert caller.scopes == {Scope.LIST, Scope.DOWNLOAD, Scope.OPERATE}
    wanted = [] if algorithm == "HS256" else ["/auth/v1/.well-known/jwks.json"]
    assert server.asked == wanted, "keys are kept"


@pytest.mark.parametrize(
    ("claims", "scopes"),
    [
        ({"app_metadata": {"convault_role": "admin"}}, list(Scope)),
        ({"app_metadata": {"convault_role": "owner"}}, []),
        ({"app_metadata": {"convault_role": ["admin"]}}, []),
        ({"app_metadata": "admin"}, []),
        ({"app_metadata": {}, "user_metadata": {"convault_role": "admin"}}, []),
        ({"app_metadata": None, "convault_role": "admin"}, []),
    ],
    ids=str,
)
def test_the_role_comes_from_app_metadata_alone(
    claims: dict[str, Any], scopes: list[Scope], verifier: TokenVerifier, token: Callable[..., str]
) -> None:
    assert verifier.caller(token(**claims)).scopes == set(scopes)


@pytest.mark.parametrize("algorithm", ["ES256", "RS256", "HS256"])
@pytest.mark.parametrize(
    "claims",
    [
        {"exp": -60},
        {"exp": None},
        {"exp": "never"},
        {"nbf": 600},
        {"iat": 600},
        {"aud": "anon"},
        {"aud": None},
        {"aud": []},
        {"iss": "https://another.supabase.co/auth/v1"},
        {"iss": ""},
        {"sub": None},
        {"role": "service_role"},
        {"role": "anon"},
        {"role": None},
    ],
    ids=str,
)
def test_a_claim_that_is_wrong_is_refused(
    algorithm: str, claims: dict[str, Any], verifier: TokenVerifier, token: Callable[..., str]
) -> None:
    now = int(time.time())  # numbers are seconds from now
    given = {name: now + value if isinstance(value, int) else value
             for name, value in claims.items()}  # fmt: skip
    with pytest.raises(Unauthorized, match="This token is refused") as caught:
        verifier.caller(token(algorithm, **given))
    assert "another.supabase.co" not in caught.value.message


def test_clocks_may_differ_a_little(
    verifier: TokenVerifier, token: Callable[..., str], monkeypatch: pytest.MonkeyPatch
) -> None:
    now = int(time.time())

    class Stopped(datetime):
        """Time does not go on between making a token and checking it."""

        @classmethod
        def now(cls, tz: tzinfo | None = None) -> Stopped:
            return cls.fromtimestamp(now, tz)

    monkeypatch.setattr("jwt.api_jwt.datetime", Stopped)
    assert verifier.caller(token(exp=now - 3, nbf=now + 5, iat=now + 5)).scopes
    assert verifier.caller(token(exp=now - 9, nbf=now + 10, iat=now + 10)).scopes
    for beyond in ({"exp": now - 10}, {"nbf": now + 11}, {"iat": now + 11}):
        with pytest.raises(Unauthorized):
            verifier.caller(token(**beyond))


def test_only_a_secret_may_leave_out_the_issuer(
    verifier: TokenVerifier, token: Callable[..., str]
) -> None:
    """Older Auth servers, which have one, name none."""
    assert verifier.caller(token("HS256", iss=None)).scopes
    with pytest.raises(Unauthorized, match="another project"):
        verifier.caller(token("ES256", iss=None))


def test_another_key_of_the_same_id_is_refused(
    verifier: TokenVerifier, token: Callable[..., str]
) -> None:
    for made in (
        token("ES256", OTHER_EC_KEY),
        token("HS256", secrets.token_hex(32)),
        token("RS256", rsa.generate_private_key(65537, 2048)),
    ):
        with pytest.raises(Unauthorized):
            verifier.caller(made)


def test_no_algorithm_is_no_signature(verifier: TokenVerifier, token: Callable[..., str]) -> None:
    claims = jwt.decode(token(), options={"verify_signature": False})
    for algorithm in ("none", "None", "NONE", "", None, 5, ["ES256"], {"a": 1}):
        for kid in ({}, {"kid": "curve"}):
            with pytest.raises(Unauthorized):
                verifier.caller(unsigned({"alg": algorithm, "typ": "JWT", **kid}, claims))


def test_a_public_key_is_no_secret(
    server: AuthServer, token: Callable[..., str], verifier: TokenVerifier
) -> None:
    """The attack of old: HMAC under the text of a public key that everybody has."""
    claims = jwt.decode(token(), options={"verify_signature": False})
    for key in (EC_KEY, RSA_KEY):
        pem = key.public_key().public_bytes(
            serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
        )
        for kid in ("curve", "prime"):
            for text in (pem, pem.strip(), json.dumps(public(kid, key)).encode()):
                head = unsigned({"alg": "HS256", "kid": kid}, claims).rsplit(".", 1)[0]
                signature = hmac.digest(text, head.encode(), hashlib.sha256)
                made = unsigned({"alg": "HS256", "kid": kid}, claims, signature)
                for checker in (verifier, TokenVerifier(server.url, None, None)):
                    with pytest.raises(Unauthorized):
                        checker.caller(made)


def test_an_algorithm_checks_with_its_own_kind_of_key(
    verifier: TokenVerifier, token: Callable[..., str]
) -> None:
    for algorithm, kid in (("ES256", "prime"), ("RS256", "curve")):
        with pytest.raises(Unauthorized):
            verifier.caller(token(algorithm, headers={"kid": kid}))
    for algorithm, key in (("ES384", ec.generate_private_key(ec.SECP384R1())), ("PS256", RSA_KEY),
                           ("HS512", SECRET * 2)):  # fmt: skip
        with pytest.raises(Unauthorized):
            verifier.caller(token(algorithm, key, headers={"kid": "curve"}))


def test_without_the_secret_no_token_is_checked_by_one(
    server: AuthServer, token: Callable[..., str]
) -> None:
    server.keys.append({"kty": "oct", "kid": "shared", "alg": "HS256",
                        "k": base64.urlsafe_b64encode(SECRET.encode()).decode()})  # fmt: skip
    verifier = TokenVerifier(server.url, None, None)
    assert verifier.caller(token("ES256")).scopes
    for headers in ({}, {"kid": "shared"}):
        with pytest.raises(Unauthorized):
            verifier.caller(token("HS256", headers=headers))


def test_nothing_that_a_token_names_is_followed(
    verifier: TokenVerifier, server: AuthServer, token: Callable[..., str]
) -> None:
    other = AuthServer()
    other.keys = [public("theirs", OTHER_EC_KEY)]
    with served(other.app) as other.url:
        for headers in (
            {"jku": f"{other.url}/jwks.json"},
            {"x5u": f"{other.url}/chain.pem"},
            {"jwk": public("theirs", OTHER_EC_KEY)},
            {"kid": f"{other.url}/jwks.json"},
            {"kid": "../../../etc/passwd"},
        ):
            made = token("ES256", OTHER_EC_KEY, {"kid": "theirs", **headers},
                         iss=f"{other.url}/auth/v1")  # fmt: skip
            with pytest.raises(Unauthorized):
                verifier.caller(made)
        assert other.asked == []
    assert set(server.asked) == {"/auth/v1/.well-known/jwks.json"}


def test_an_unknown_key_is_asked_for_once_a_minute(
    verifier: TokenVerifier, server: AuthServer, token: Callable[..., str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    clock = [1000.0]
    monkeypatch.setattr(keyset, "monotonic", lambda: clock[0])
    assert verifier.caller(token()).scopes
    server.keys = [public("new", OTHER_EC_KEY)]
    new = token("ES256", OTHER_EC_KEY, {"kid": "new"})
    for _ in range(50):
        clock[0] += 1
        with pytest.raises(Unauthorized):
            verifier.caller(new)
    assert len(server.asked) == 1
    clock[0] += 10
    assert verifier.caller(new).scopes
    assert len(server.asked) == 2
    with pytest.raises(Unauthorized):  # the old one is gone
        verifier.caller(token())
    clock[0] += 599
    assert verifier.caller(new).scopes
    assert len(server.asked) == 2
    clock[0] += 2
    assert verifier.caller(new).scopes
    assert len(server.asked) == 3, "after ten minutes they are old"


@pytest.mark.parametrize("status", [500, 404, 302])
def test_keys_are_kept_while_the_auth_server_is_away(
    status: int, verifier: TokenVerifier, server: AuthServer, token: Callable[..., str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    clock = [1000.0]
    monkeypatch.setattr(keyset, "monotonic", lambda: clock[0])
    made = token(exp=int(time.time()) + 86400)
    assert verifier.caller(made).scopes
    server.status = status
    clock[0] += 3599
    assert verifier.caller(made).scopes
    clock[0] += 61
    with pytest.raises(SigningKeysUnavailable):
        verifier.caller(made)
    assert "/elsewhere" not in server.asked
    server.status = 200
    clock[0] += 61
    assert verifier.caller(made).scopes


def test_an_auth_server_that_is_down_is_told_and_not_asked_again_at_once(
    token: Callable[..., str], closed_port: int
) -> None:
    verifier = TokenVerifier(f"http://127.0.0.1:{closed_port}", SECRET, None)
    for _ in range(3):
        with pytest.raises(SigningKeysUnavailable) as caught:
            verifier.caller(token())
    assert caught.value.transient


def test_keys_that_are_too_weak_or_for_something_else_do_not_count(
    server: AuthServer, token: Callable[..., str]
) -> None:
    weak = rsa.generate_private_key(65537, 1024)
    server.keys = [
        public("weak", weak), public("curve", EC_KEY, use="enc"),
        public("prime", RSA_KEY, alg="RS512"),
        {"kty": "EC"}, {"kid": 5, "kty": "EC"}, "nothing", {"kty": ["EC"], "kid": "x"},
        {"kty": "EC", "kid": "x", "crv": "P-256", "x": "AA", "y": "AA"},
        public("good", OTHER_EC_KEY),
    ]  # fmt: skip
    verifier = TokenVerifier(server.url, None, None)
    assert verifier.caller(token("ES256", OTHER_EC_KEY, {"kid": "good"})).scopes
    for made in (token(), token("RS256")):
        with pytest.raises(Unauthorized):
            verifier.caller(made)


@pytest.mark.parametrize(
    "made", ["..", "a.b.c", "." * 3, "é.é.é", "a" * 20_000 + ".b.c", "e30.e30."]
)
def test_what_is_no_token_is_refused(made: str, verifier: TokenVerifier) -> None:
    with pytest.raises(Unauthorized, match="This token is refused"):
        verifier.caller(made)


def test_settings_must_go_together() -> None:
    assert verifier_of(Settings()) is None
    assert verifier_of(Settings(supabase_url="https://abc.supabase.co")) is not None
    for wrong, match in (
        ({"supabase_jwt_secret": SECRET}, "SUPABASE_URL"),
        ({"supabase_url": "https://abc.supabase.co", "supabase_jwt_secret": "short"}, "32 bytes"),
        ({"supabase_url": "http://abc.supabase.co"}, "not encrypted"),
        ({"supabase_url": "https://abc.supabase.co/auth/v1"}, "without a path"),
        ({"supabase_url": "postgresql://u:hunter2@abc.supabase.co"}, "such as https"),
    ):
        with pytest.raises(ConfigurationError, match=match) as caught:
            verifier_of(Settings(**wrong))
        assert "hunter2" not in caught.value.message


@pytest.mark.xdist_group("supabase")
def test_a_user_who_signs_in_to_a_real_auth_server_is_known(
    supabase: SupabaseStack, settings: Settings
) -> None:
    verifier = TokenVerifier(supabase.url, supabase.jwt_secret, None)
    account = {"email": f"{secrets.token_hex(6)}@example.org", "password": secrets.token_hex(16)}
    with supabase.client(supabase.publishable_key) as client:
        client.post("/auth/v1/signup", json=account).raise_for_status()
        answer = client.post("/auth/v1/token?grant_type=password", json=account)
    token = answer.json()["access_token"]
    caller = verifier.caller(token)
    assert caller.name == f"user:{answer.json()['user']['id']}"
    assert caller.scopes == set(), "nobody made this account an operator"
    with pytest.raises(Unauthorized):
        TokenVerifier(supabase.url, secrets.token_hex(32), None).caller(token)
    of_project = Settings(supabase_url=supabase.url, supabase_jwt_secret=supabase.jwt_secret)
    known = {name: getattr(of_project, name) for name in of_project.model_fields_set}
    with served(create_app(settings.model_copy(update=known))) as url:
        with client_of(url, token) as client:
            problem(client.get(PATH), 403, "forbidden")
        with client_of(url, token[:-6] + "AAAAAA") as client:
            problem(client.get(PATH), 401, "unauthorized")
    with pytest.raises(Unauthorized):
        TokenVerifier(supabase.url, None, None).caller(token)
    for role in ("anon", "service_role"):
        with pytest.raises(Unauthorized):
            verifier.caller(supabase.legacy_key(role))


def test_an_auth_server_that_hangs_is_waited_for_once_and_not_long(
    token: Callable[..., str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(keyset, "TIMEOUT", 0.3)

    def seconds_of_twenty() -> float:
        with socket.create_server(("127.0.0.1", 0)) as hanging:  # takes connections, says nothing
            verifier = TokenVerifier(f"http://127.0.0.1:{hanging.getsockname()[1]}", SECRET, None)
            began = time.monotonic()
            for _ in range(20):
                with pytest.raises(SigningKeysUnavailable):
                    verifier.caller(token())
            seconds = time.monotonic() - began
            hanging.setblocking(False)
            hanging.accept()[0].close()
            with pytest.raises(BlockingIOError):
                hanging.accept()
            assert verifier.caller(token("HS256", iss=verifier._issuer)).scopes, "the secret holds"
        return seconds

    # A machine stands still now and then; a verifier that waits too long does so every time.
    assert any(seconds_of_twenty() < 5 for _ in range(3)), "each of them waited"
