"""obstore's and the system's errors as ours: class, remedy, and nothing of obstore's own text."""

from __future__ import annotations

import errno
import os

import pytest
from obstore.exceptions import GenericError, PermissionDeniedError

from convault.errors import ObjectMissing, StoreError, StoreUnavailable
from convault.stores.failures import translated


def obstore_error(number: int) -> GenericError:
    """As obstore words it, here for a disk that is full."""
    return GenericError(
        f"Generic LocalFileSystem error: Unable to copy data to file: {os.strerror(number)} "
        f"(os error {number})\n\nDebug source:\nGeneric {{ token: secret }}"
    )


@pytest.mark.parametrize("wrap", [obstore_error, lambda n: OSError(n, os.strerror(n))])
@pytest.mark.parametrize(
    ("number", "expected", "says"),
    [
        (errno.ENOSPC, StoreError, "Make room"),
        (errno.EDQUOT, StoreError, "Make room"),
        (errno.EACCES, StoreError, "the right to read and write"),
        (errno.EPERM, StoreError, "the right to read and write"),
        (errno.EOPNOTSUPP, StoreError, "hard links"),
        (errno.EROFS, StoreError, "can be written"),
        (errno.EIO, StoreError, "mounted and sound"),
        (errno.EMFILE, StoreUnavailable, "Try again"),
        (errno.ESTALE, StoreUnavailable, "Try again"),
        (errno.ETIMEDOUT, StoreUnavailable, "Try again"),
    ],
)
def test_says_what_happened_and_what_to_do(
    wrap: type[Exception], number: int, expected: type[StoreError], says: str
) -> None:
    with pytest.raises(StoreError) as caught, translated("storing a/b", "file:///store"):
        raise wrap(number)
    assert type(caught.value) is expected
    assert caught.value.__cause__ is None
    assert caught.value.__suppress_context__
    assert "storing a/b" in caught.value.message
    assert "file:///store" in caught.value.message
    assert os.strerror(number) in caught.value.message
    assert says in caught.value.message


def test_quotes_nothing_that_obstore_says() -> None:
    for error in (
        obstore_error(errno.EIO),
        GenericError("secret"),
        PermissionDeniedError("secret"),
    ):
        with pytest.raises(StoreError) as caught, translated("reading", "file:///store"):
            raise error
        assert "secret" not in caught.value.message
        assert "Debug" not in caught.value.message


def test_lets_our_own_errors_and_mistakes_through() -> None:
    for error in (ObjectMissing("gone", key="k"), ValueError("not a key")):
        with pytest.raises(type(error)) as caught, translated("reading", "file:///store"):
            raise error
        assert caught.value is error
