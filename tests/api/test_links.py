"""Download links hold for one backup, one key and a while."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from uuid import UUID

import pytest

from api.caller import EVERYTHING, Caller, Scope
from api.keys import ApiKey, digest_of, keys_of, new_key
from api.links import MAX_SECONDS, Links, links_of
from convault.settings import Settings
from convault.signing.signature import new_key as new_signing_key

NOW = datetime(2026, 11, 25, 12, 0, tzinfo=UTC)
ONE, OTHER = UUID(int=1), UUID(int=2)
KEY = ApiKey(Caller("ci", frozenset({Scope.DOWNLOAD})), digest_of(b"a key"))
LINKS = Links([b"secret"], [KEY])


def test_it_holds_for_its_backup_until_it_is_over() -> None:
    link = LINKS.mint(ONE, KEY.caller, 900, now=NOW)
    assert link.expires_at == NOW + timedelta(minutes=15)
    assert LINKS.holder(link.token, ONE, now=NOW + timedelta(seconds=899)) == "ci"
    assert LINKS.holder(link.token, ONE, now=NOW + timedelta(seconds=900)) is None
    assert LINKS.holder(link.token, OTHER, now=NOW) is None


def test_no_altered_byte_is_taken() -> None:
    token = LINKS.mint(ONE, KEY.caller, 900, now=NOW).token
    for place in range(len(token)):
        for letter in "A.-_x":
            altered = token[:place] + letter + token[place + 1 :]
            if altered != token and place < len(token) - 1:  # the last letter has unused bits
                assert LINKS.holder(altered, ONE, now=NOW) is None
    for other in ("", ".", token[:-2], token + "A", token.partition(".")[0], "\u00e9", "a" * 5000):
        assert LINKS.holder(other, ONE, now=NOW) is None


def test_it_ends_with_its_key() -> None:
    token = LINKS.mint(ONE, KEY.caller, 900, now=NOW).token
    assert Links([b"secret"]).holder(token, ONE, now=NOW) is None
    changed = ApiKey(KEY.caller, digest_of(b"another key by that name"))
    assert Links([b"secret"], [changed]).holder(token, ONE, now=NOW) is None
    assert Links([b"other"], [KEY]).holder(token, ONE, now=NOW) is None
    narrowed = ApiKey(Caller("ci", frozenset({Scope.LIST})), KEY.digest)
    assert Links([b"secret"], [narrowed]).holder(token, ONE, now=NOW) is None
    rotated = Links([b"new", b"secret"], [KEY])
    assert rotated.holder(token, ONE, now=NOW) == "ci"
    assert LINKS.holder(rotated.mint(ONE, KEY.caller, 9, now=NOW).token, ONE, now=NOW) is None


def test_those_of_signed_in_users_hold_too() -> None:
    user = Caller("user:11111111-2222-4333-8444-555555555555", EVERYTHING)
    token = LINKS.mint(ONE, user, 900, now=NOW).token
    assert LINKS.holder(token, ONE, now=NOW) == user.name


@pytest.mark.parametrize("seconds", [0, -1, MAX_SECONDS + 1])
def test_never_longer_than_a_day(seconds: int) -> None:
    with pytest.raises(ValueError, match="seconds"):
        LINKS.mint(ONE, KEY.caller, seconds, now=NOW)


def test_processes_with_the_same_signing_key_know_each_others() -> None:
    _, entry = new_key("ci", [Scope.DOWNLOAD])
    signing = new_signing_key()
    settings = Settings(convault_api_keys=entry, convault_signing_key=signing)
    [key] = keys_of(settings)
    token = links_of(settings).mint(ONE, key.caller, 60, now=NOW).token
    assert links_of(settings).holder(token, ONE, now=NOW) == "ci"
    assert signing not in token
    alone = Settings(convault_api_keys=entry)
    made = links_of(alone)
    assert made.holder(made.mint(ONE, key.caller, 60, now=NOW).token, ONE, now=NOW) == "ci"
    assert links_of(alone).holder(token, ONE, now=NOW) is None
