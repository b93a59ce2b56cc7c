"""What the Data API answered, as errors of Convault.

Its error is `{"code": "42501", "message": ..., "details": ..., "hint": ...}`, where the code is an
SQLSTATE or `PGRST` and a number; the gateway before it answers in other shapes. Message and details
may quote rows, so only the code is taken out.
"""

from __future__ import annotations

import json
import re
import ssl

import httpx

from convault.errors import CatalogError, CatalogUnavailable

RUN_THE_SQL = (
    "run the SQL that `convault migrations` prints, in the SQL editor of the dashboard or as a "
    "migration (`supabase db push`), and then `convault init`"
)
_CODE = re.compile(r"[0-9A-Z]{5}|PGRST[0-9X]{1,3}", re.ASCII)
_MISSING = {"42P01", "42703", "42883", "3F000", "PGRST202", "PGRST204", "PGRST205", "PGRST200"}
"""table, column or function that is not there, by Postgres or by what PostgREST keeps in mind"""
_PASSES = ("08", "53", "57", "58", "40", "55")
"""SQLSTATE classes that pass, as in `convault.catalog.connection`"""
_TRANSIENT = {408, 425, 429}
_NOT_DONE_HERE = {501, 505}


def refusal(status: int, body: bytes, retry_after: float = 0) -> CatalogError:
    """The error to raise for an answer that is no success: CatalogUnavailable where trying again
    can help. `retry_after`: seconds that the server asked for."""
    code = _code(body)
    ids = {"status": status, **({"sqlstate": code} if code else {})}
    start = f"The catalog's project answered {status}" + (f" ({code})" if code else "")
    if code in _MISSING:
        return CatalogError(
            "The catalog's tables or functions are missing or older than this version, or the Data "
            f"API does not show the schema public: {RUN_THE_SQL}.",
            **ids,
        )
    if code == "42501":
        return CatalogError(
            f"{start}: this key may not do this. The catalog wants the service key "
            "(SUPABASE_SERVICE_ROLE_KEY), not the anon key or a user's token. If it is the service "
            f"key, it lacks the rights that the migrations grant: {RUN_THE_SQL}.",
            **ids,
        )
    if status in (401, 403):
        return CatalogError(
            f"{start}: the key is wrong. Check SUPABASE_SERVICE_ROLE_KEY, and that it is this "
            "project's (in the dashboard: Project Settings > API Keys).",
            **ids,
        )
    passes = code.startswith(_PASSES) and not code.startswith("PGRST")
    if passes or status in _TRANSIENT or (status >= 500 and status not in _NOT_DONE_HERE):
        return CatalogUnavailable(
            f"{start}. Try again in a while; if it lasts, see whether the project is paused.",
            retry_after=retry_after,
            **ids,
        )
    if status == 404 and not code:
        return CatalogError(
            f"{start}: it is no Data API that answers there. Check SUPABASE_URL, and that the Data "
            "API is switched on (in the dashboard: Project Settings > Data API).",
            **ids,
        )
    if 300 <= status < 400:
        return CatalogError(
            f"{start}: it wants to send the request elsewhere. Nothing was sent there: check "
            "SUPABASE_URL.",
            **ids,
        )
    what = f"SQLSTATE {code}" if code and not code.startswith("PGRST") else "see its log"
    return CatalogError(f"{start}: it refused the request, {what}.", **ids)


def unreachable(error: httpx.TransportError) -> CatalogError:
    """The error for a connection that failed. The library's own text may quote an address."""
    causes = [error, error.__cause__, error.__context__]
    if any(isinstance(cause, ssl.SSLCertVerificationError) for cause in causes) or (
        "CERTIFICATE_VERIFY_FAILED" in str(error)
    ):
        return CatalogError(
            "The catalog's project showed a certificate that this machine does not trust. Correct "
            "SUPABASE_URL, or let the machine trust the authority that signed it."
        )
    if isinstance(error, httpx.ConnectError | httpx.ConnectTimeout):
        reason = "no connection could be made"
    elif isinstance(error, httpx.TimeoutException):
        reason = "it did not answer in time"
    else:
        reason = "the connection broke"
    return CatalogUnavailable(
        f"The catalog's project could not be reached: {reason}. See whether SUPABASE_URL is right "
        "and the project runs, and try again."
    )


def strange() -> CatalogError:
    """The error for an answer that no Data API gives."""
    return CatalogError(
        "The catalog's project gave an answer that its Data API does not give. Check SUPABASE_URL, "
        "and what stands between it and Convault."
    )


def _code(body: bytes) -> str:
    try:
        members = json.loads(body)
    except (ValueError, RecursionError):
        return ""
    code = members.get("code") if isinstance(members, dict) else None
    return code if isinstance(code, str) and _CODE.fullmatch(code) else ""
