"""Masks: what leaves the database in the place of a column's values. Pure: SQL and key material.

`null` keeps nothing. `hash` is HMAC-SHA256 over the value's text in UTF-8, computed by the
database: `sha256(outer || sha256(inner || value))`, where `inner` and `outer` are the key with the
two pads of RFC 2104. Postgres has `sha256` since 11, so it needs no extension; the pads come as
settings of the session, so that no query's text holds them. The same value has the same mask
wherever and whenever it is read under the same key.
"""

from __future__ import annotations

import hmac
import re
from hashlib import sha256

from pydantic import SecretStr

from convault.errors import ConfigurationError
from convault.formats.postgres_types import quoted, value_expression
from convault.models import Column

SHORTEST_KEY = 16
"""bytes"""
_BLOCK = 64
"""of SHA-256, in bytes; a longer key is hashed first (RFC 2104)"""

SETTINGS_QUERY = (
    "SELECT pg_catalog.set_config('convault.mask_inner', $1, true),"
    " pg_catalog.set_config('convault.mask_outer', $2, true)"
)
"""Makes the pads known to the transaction's masked queries; its parameters are `MaskKey.pads`."""

_LENGTH = re.compile(r"character varying\((\d+)\)")
_HEX_LENGTH = 64


class MaskKey:
    """The key of `hash`. It is never shown: not by `repr`, and not when it is pickled."""

    __slots__ = ("_key",)

    def __init__(self, key: bytes) -> None:
        """ValueError for a key of less than SHORTEST_KEY bytes."""
        if len(key) < SHORTEST_KEY:
            raise ValueError("the key is too short")
        self._key = sha256(key).digest() if len(key) > _BLOCK else key

    def pads(self) -> tuple[str, str]:
        """Inner and outer, in hex, for SETTINGS_QUERY. As secret as the key itself."""
        block = self._key.ljust(_BLOCK, b"\0")
        return bytes(b ^ 0x36 for b in block).hex(), bytes(b ^ 0x5C for b in block).hex()

    def fingerprint(self) -> str:
        """Tells keys apart without telling the key (hex): other keys make other rows, so whatever
        decides whether stored rows are still those of the database must look at it."""
        return hmac.new(self._key, b"convault mask key", sha256).hexdigest()

    def __reduce__(self) -> str:
        raise TypeError("the key of masks does not travel")


def mask_key(secret: SecretStr | None) -> MaskKey:
    """The key in CONVAULT_MASK_KEY, as UTF-8. ConfigurationError when it is missing or short."""
    value = "" if secret is None else secret.get_secret_value()
    try:
        return MaskKey(value.encode())
    except ValueError:
        what = "is shorter than 16 bytes" if value else "is not set"
        raise ConfigurationError(
            f"CONVAULT_MASK_KEY {what}, and columns are to be masked with a hash: whoever guesses "
            "the key can find the values by trying. Set it to a long random text (`openssl rand "
            "-base64 32`) and keep it: another key makes other masks."
        ) from None


def masked_expression(column: Column) -> str:
    """The column in a select list, under its own name: `masked_value`."""
    return f"{masked_value(column)} AS {quoted(column.name)}"


def masked_value(column: Column) -> str:
    """The column's mask where it has one, or else itself (`postgres_types.value_expression`).
    ValueError for a type that cannot be hashed."""
    if not column.mask:
        return value_expression(column)
    if column.mask == "null":
        return f"NULL::{'pg_catalog.text' if column.encoding == 'text' else column.type}"
    if cannot_be_hashed(column.type) is not None:
        raise ValueError(f"no hash can stand in a column of type {column.type}")
    return _hash(column)


def cannot_be_hashed(type: str) -> str | None:
    """Why no hash can stand in a column of that type (as format_type spells it), for people; None
    when one can."""
    length = _LENGTH.fullmatch(type)
    if length and int(length[1]) < _HEX_LENGTH:
        return f"its type is {type}, and a hash has {_HEX_LENGTH} characters"
    if length or type in ("text", "character varying", "uuid"):
        return None
    return f"its type is {type}, and a hash can stand only in text, varchar and uuid"


def _hash(column: Column) -> str:
    name = quoted(column.name)
    text = f"pg_catalog.concat({name})" if column.type == "uuid" else f"{name}::pg_catalog.text"
    inner = _digest("inner", f"pg_catalog.convert_to({text}, 'UTF8')")
    mac = _digest("outer", inner)
    if column.type == "uuid":
        first = f"pg_catalog.substr({mac}, 1, 16)"
        made = f"pg_catalog.concat(pg_catalog.encode({first}, 'hex')::pg_catalog.uuid)"
    else:
        made = f"pg_catalog.encode({mac}, 'hex')"
    return f"CASE WHEN {name} IS NOT NULL THEN {made} END"


def _digest(pad: str, message: str) -> str:
    # A subquery of its own is asked for once, not for every row. Without the setting it is NULL,
    # and so is the mask: never a hash without the key.
    setting = f"pg_catalog.current_setting('convault.mask_{pad}')"
    key = f"(SELECT pg_catalog.decode(NULLIF({setting}, ''), 'hex'))"
    return f"pg_catalog.sha256({key} OPERATOR(pg_catalog.||) {message})"
