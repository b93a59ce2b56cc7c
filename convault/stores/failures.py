"""Errors of obstore and of the operating system, as errors of Convault.

Only the error number is taken over: obstore's own texts hold debugging output, which for a store in
the cloud may quote a request.
"""

from __future__ import annotations

import errno
import os
import re
from collections.abc import Iterator
from contextlib import contextmanager

from obstore.exceptions import BaseError, PermissionDeniedError, UnauthenticatedError

from convault.errors import StoreError, StoreUnavailable

_OS_ERROR = re.compile(r"\(os error (\d+)\)")
_FULL = {errno.ENOSPC, errno.EDQUOT}
_DENIED = {errno.EACCES, errno.EPERM}
_NO_LINKS = {errno.EOPNOTSUPP, errno.EMLINK}
_TRANSIENT = {
    errno.EAGAIN,
    errno.EBUSY,
    errno.EINTR,
    errno.EMFILE,
    errno.ENFILE,
    errno.ENOMEM,
    errno.ESTALE,
    errno.ETIMEDOUT,
}
"""What a busy machine or a network file system gets over."""


@contextmanager
def translated(doing: str, where: str) -> Iterator[None]:
    """Raise obstore's errors and OSError as StoreError or StoreUnavailable.

    `doing` completes "While ...": what was tried, without credentials. `where` is the store or
    folder, for people. Errors of Convault pass unchanged.
    """
    try:
        yield
    except (BaseError, OSError) as error:
        raise _translate(error, doing, where) from None


def error_number(error: Exception) -> int | None:
    """The operating system's number behind `error`, where there is one."""
    if isinstance(error, OSError) and error.errno is not None:
        return error.errno
    found = _OS_ERROR.search(str(error))
    return int(found[1]) if found else None


def _translate(error: Exception, doing: str, where: str) -> StoreError:
    number = error_number(error)
    reason = os.strerror(number) if number is not None else type(error).__name__
    text = f"While {doing}, the store {where} failed: {reason}."
    if number in _FULL:
        return StoreError(
            f"{text} Make room there, or point CONVAULT_STORE_URL at a larger place; what was "
            "stored before is untouched.",
            store=where,
        )
    if number in _NO_LINKS:
        return StoreError(
            f"{text} Its file system lacks hard links, without which an object cannot be stored "
            "all or nothing: use another file system.",
            store=where,
        )
    if number in _DENIED or isinstance(error, PermissionDeniedError | UnauthenticatedError):
        return StoreError(
            f"{text} Give the user that runs Convault the right to read and write there (and use "
            "a file system with hard links: exFAT has none).",
            store=where,
        )
    if number == errno.EROFS:
        return StoreError(f"{text} Mount it so that it can be written.", store=where)
    if number in _TRANSIENT:
        return StoreUnavailable(f"{text} Try again in a while.", store=where)
    return StoreError(f"{text} See whether its disk is mounted and sound.", store=where)
