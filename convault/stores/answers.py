"""What an object store answered over HTTP, as errors of Convault.

obstore tells the status, the service's own error code and the kind of a broken connection only in
its text, which also quotes requests (for Azure with the signature in them) and answers. So only
these three are taken out of it; the text itself goes nowhere.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager

from obstore.exceptions import BaseError, PermissionDeniedError, UnauthenticatedError

from convault.errors import StoreError, StoreUnavailable
from convault.stores.services import Service

_STATUS = re.compile(r"status code: (\d{3})")
_CODE = re.compile(r"<Code>([A-Za-z]{1,60})</Code>")
_BROKEN = re.compile(r"HttpError \{\s+kind: (Connect|Timeout|Request|Interrupted|Decode)\b")
_NO_CONTAINER = {"NoSuchBucket", "ContainerNotFound"}
_CLOCK = {"RequestTimeTooSkewed", "RequestTimeTooSkew"}
_EXPIRED = {"ExpiredToken", "TokenRefreshRequired", "InvalidToken"}
_REGION = {"AuthorizationHeaderMalformed", "PermanentRedirect"}
_TRY_AGAIN = {"RequestTimeout", "SlowDown", "OperationAborted", "ServerBusy", "OperationTimedOut"}
_TRANSIENT = {408, 425, 429, 500, 502, 503, 504}
_BREAKS = {
    "Connect": "no connection could be made",
    "Timeout": "it did not answer in time",
    "Request": "the connection broke",
    "Interrupted": "the connection broke in the middle of an answer",
    "Decode": "the connection broke in the middle of an answer",
}


class RangeIgnored(StoreError):
    """The server answered a request for some bytes with all of them (status 200)."""


@contextmanager
def answered(doing: str, where: str, service: Service) -> Iterator[None]:
    """Raise obstore's errors as StoreError, or as StoreUnavailable where trying again can help.

    `doing` completes "While ...", `where` is the store's URL: neither holds credentials. Errors of
    Convault and FileNotFoundError (which is obstore's "not found") pass unchanged.
    """
    try:
        yield
    except BaseError as error:
        raise _translate(error, doing, where, service) from None


def container_missing(where: str, service: Service) -> StoreError:
    """The error for a bucket or container that is not there; permanent."""
    return StoreError(
        f"{where}: this {service.container} does not exist there. Convault makes none: make it, "
        "private, or correct the URL or the endpoint.",
        store=where,
    )


def _translate(error: BaseError, doing: str, where: str, service: Service) -> StoreError:
    text = str(error)
    status = _first(_STATUS, text)
    code = _first(_CODE, text)
    broken = _first(_BROKEN, text)
    said = " ".join(filter(None, (status, code))) or type(error).__name__
    start = f"While {doing}, the store {where}"
    # The second comes where obstore goes on with an answer that was cut off.
    if "NotPartial" in text or "NoContentRange" in text:
        return RangeIgnored(f"{start} gave all bytes where some were asked for.", store=where)
    if "UnexpectedRange" in text:
        return StoreError(f"{start} gave other bytes than were asked for.", store=where)
    if code in _NO_CONTAINER:
        return container_missing(where, service)
    # Before the status: what the machine's metadata service answers says nothing of the store.
    if "169.254.169.254" in text or "metadata.google.internal" in text:
        return StoreError(
            f"{start} could not be used: no credentials were found. Set "
            f"{_variables(service)} in the environment or .env, or give the machine a role.",
            store=where,
        )
    if code in _TRY_AGAIN or (status is not None and int(status) in _TRANSIENT):
        return StoreUnavailable(f"{start} answered {said}. Try again in a while.", store=where)
    if "InvalidCertificate" in text:
        return StoreError(
            f"{start} showed a certificate that this machine does not trust. Correct the endpoint, "
            "or let the machine trust the authority that signed it.",
            store=where,
        )
    if broken is not None:
        return StoreUnavailable(
            f"{start} could not be reached: {_BREAKS[broken]}. See whether it runs and whether the "
            "endpoint is right, and try again.",
            store=where,
        )
    return StoreError(f"{start} answered {said}. {_remedy(error, status, code, service)}",
                      store=where)  # fmt: skip


def _remedy(error: BaseError, status: str | None, code: str | None, service: Service) -> str:
    if code in _CLOCK:
        return "Set this machine's clock right: requests are signed with the time."
    if code in _EXPIRED:
        return "Its credentials have expired or are no longer valid: set new ones."
    if code in _REGION or "BareRedirect" in str(error) or status in ("301", "307"):
        return f"The {service.container} lies in another region or at another endpoint: name it."
    if status in ("401", "403") or isinstance(error, PermissionDeniedError | UnauthenticatedError):
        return (
            f"Its credentials are wrong or lack a right. Check {_variables(service)}; they must "
            f"allow {service.rights}."
        )
    if status == "507":
        return "Make room there; what was stored before is untouched."
    if status is not None and int(status) >= 500:
        return "The server does not know this kind of request: use another endpoint."
    return "Check the URL, the endpoint and the region."


def _variables(service: Service) -> str:
    return ", ".join(list(service.variables)[:2])


def _first(pattern: re.Pattern[str], text: str) -> str | None:
    found = pattern.search(text)
    return found[1] if found else None
