"""What Supabase Storage answered, as errors of Convault.

An error comes as HTTP 400 (older servers) or with a status of its own (newer ones, resumable
uploads); its body then says what it is: `{"statusCode": "404", "error": "not_found", "message":
"Object not found"}`. The body's status counts. Its message may quote what was sent, so only known
words are taken out of it.
"""

from __future__ import annotations

import json
import re
from typing import NamedTuple

from convault.errors import StoreError, StoreUnavailable

_TRANSIENT = {408, 423, 425, 429}
"""besides 5xx; 423 says that an upload is still locked by a request that broke"""
_NOT_DONE_HERE = {501, 505}
MAX_ERROR_BYTES = 64 * 1024
"""what is read of an error"""


class Refused(StoreError):
    """Supabase Storage said no, and would say so again."""

    @property
    def status(self) -> int:
        """The body's own, where it has one."""
        return int(self.ids["status"])

    @property
    def reason(self) -> str:
        """One of `Reason`'s words."""
        return self.ids["reason"]


class Answer(NamedTuple):
    """An answer that is no success, taken apart."""

    status: int
    reason: str
    """`no-bucket`, `no-object`, `duplicate`, `no-route`, `too-large`, `type`, `key`, `other`, or
    `stranger` where it is not Supabase Storage that answered"""


def taken_apart(status: int, body: bytes) -> Answer:
    """`body` is JSON, or the plain text in which resumable uploads answer."""
    try:
        members = json.loads(body)
    except (ValueError, RecursionError):
        members = None
    if not isinstance(members, dict):
        words = body[:500].decode("utf-8", "replace").strip()
        return Answer(status, _reason(status, words, plain=True))
    said = str(members.get("statusCode") or "")
    if re.fullmatch(r"[1-5]\d\d", said):
        status = int(said)
    words = " ".join(str(members.get(name) or "") for name in ("code", "error", "message"))
    return Answer(status, _reason(status, words, plain=False))


def refusal(doing: str, where: str, answer: Answer, retry_after: float = 0) -> StoreError:
    """The error to raise: StoreUnavailable where trying again can help, else Refused.

    `doing` completes "While ..."; neither it nor `where` holds credentials. `retry_after`: seconds
    that the server asked for."""
    start = f"While {doing}, the store {where} answered {answer.status}"
    if answer.status in _TRANSIENT or (
        answer.status >= 500 and answer.status not in _NOT_DONE_HERE
    ):
        return StoreUnavailable(
            f"{start}. Try again in a while; if it lasts, see whether the project is paused.",
            store=where,
            retry_after=retry_after,
        )
    return Refused(
        f"{start}: {_remedy(answer)}", store=where, status=answer.status, reason=answer.reason
    )


def _reason(status: int, words: str, *, plain: bool) -> str:
    low = words.lower()
    if re.search(r"\broute\b", low):
        return "no-route"
    if status == 404:
        if "bucket" in low:
            return "no-bucket"
        known = any(word in low for word in ("object", "not_found", "nosuchkey"))
        return "no-object" if known and not plain else "stranger"
    if status == 409 or "duplicate" in low or "already exists" in low:
        return "duplicate"
    if status == 413 or "exceeded the maximum" in low or "maximum size exceeded" in low:
        return "too-large"
    if status == 415 or "mime type" in low:
        return "type"
    return "key" if "invalid key" in low else "other"


def _remedy(answer: Answer) -> str:
    known = {
        "no-bucket": "there is no such bucket, or not for this key. Check SUPABASE_URL, "
        "SUPABASE_SERVICE_ROLE_KEY and the bucket's name; `convault init` makes the bucket.",
        "no-object": "the object is not there.",
        "duplicate": "an object of that name is already there.",
        "no-route": "the server does not know this kind of request. Update it, if it is yours.",
        "stranger": "it is not Supabase Storage that answers there. Check SUPABASE_URL.",
        "too-large": too_large(),
        "type": "the bucket takes only some types of files. Let it take application/octet-stream.",
        "key": "it does not take this name. Use another prefix.",
    }
    if answer.reason in known:
        return known[answer.reason]
    if 300 <= answer.status < 400:
        return "it wants to send the request elsewhere. Nothing was sent there: name the address."
    if answer.status in (401, 403):
        return "the key is wrong. Check SUPABASE_SERVICE_ROLE_KEY, and that it is this project's."
    if answer.status == 402:
        return "the project is restricted: its quota is used up or its plan is unpaid."
    return "it does not take the request. Check SUPABASE_URL and the bucket."


def too_large() -> str:
    """The remedy for a file that is larger than the project or the bucket allows."""
    return (
        "the file is larger than it takes. Files are limited to 50 MB on the Free plan; on the "
        "others raise the limit (in the dashboard: Storage > Settings, and the bucket's own), or "
        "lower CONVAULT_PART_BYTES."
    )
