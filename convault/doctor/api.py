"""Whether the Supabase project answers, takes the key, and has a bucket that is fit for backups."""

from __future__ import annotations

import json
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any
from urllib.parse import urlsplit

import httpx

from convault.doctor.address import Resolved, project_of
from convault.doctor.clocks import Clock, from_date_header
from convault.doctor.finding import Finding, amber, ok, red
from convault.project import Project, claims_of
from convault.stores.supabase.answers import MAX_ERROR_BYTES, taken_apart

TIMEOUT = 15.0
"""seconds"""
PAUSED = 540
"""with which Supabase answers for a project that is paused"""
_ROOM = 1024 * 1024
"""bytes that a stored part may have more than its plain bytes: frames, and what age adds"""
_PAUSED_REMEDY = (
    "Open it in the dashboard and restore it. Free projects are paused after a week without use; "
    "after 90 days paused they cannot be restored there."
)


@dataclass(frozen=True, slots=True)
class Answered:
    """What the project's Storage said when it was asked for a bucket."""

    status: int | None
    """the body's own, where it has one; None: no answer"""
    reason: str = ""
    """as in `stores.supabase.answers.Answer`"""
    bucket: dict[str, Any] | None = None
    """what it told of the bucket"""
    clock: Clock | None = None


def ask(project: Project, bucket: str) -> Answered:
    """Ask for the bucket, once. Redirects are not followed: the key would go along."""
    with httpx.Client(
        base_url=project.url, headers=project.headers, timeout=TIMEOUT, follow_redirects=False
    ) as client:
        try:
            answered = _bucket(client, bucket)
            if answered.reason == "no-bucket" and "Authorization" not in project.headers:
                # Storage may take a secret key that nobody has for a stranger, who sees no bucket.
                with client.stream("GET", "/rest/v1/") as answer:
                    if answer.status_code == 401:
                        return Answered(401, clock=answered.clock)
        except httpx.HTTPError:
            return Answered(None)
    return answered


def _bucket(client: httpx.Client, bucket: str) -> Answered:
    before = datetime.now(UTC)
    with client.stream("GET", f"/storage/v1/bucket/{bucket}") as answer:
        clock = from_date_header(answer.headers.get("Date"), before, datetime.now(UTC))
        body = b""
        for chunk in answer.iter_bytes():
            body += chunk
            if len(body) > MAX_ERROR_BYTES:
                break
    if answer.status_code == 200:
        return Answered(200, bucket=_members(body), clock=clock)
    said = taken_apart(answer.status_code, body)
    return Answered(said.status, said.reason, clock=clock)


def _members(body: bytes) -> dict[str, Any]:
    try:
        members = json.loads(body)
    except (ValueError, RecursionError):
        members = None
    return members if isinstance(members, dict) else {}


def judge_key(key: str, url: str, now: float) -> Finding:
    """A key that `convault.project` has taken for a secret or service_role key, held against the
    project that SUPABASE_URL names. `now`: seconds since 1970."""
    name = "service key"
    claims = claims_of(key)
    if claims is None:
        return ok(name, "a secret key (sb_secret_)")
    here, theirs = project_of(urlsplit(url).hostname), claims.get("ref")
    if here and isinstance(theirs, str) and theirs != here:
        return red(
            name,
            f"SUPABASE_SERVICE_ROLE_KEY is of the project {theirs}, and SUPABASE_URL is {here}",
            f"Copy the key of {here} (in the dashboard: Project Settings > API Keys).",
        )
    expires = claims.get("exp")
    if isinstance(expires, int | float) and expires < now:
        return red(
            name,
            "SUPABASE_SERVICE_ROLE_KEY has expired",
            "Copy the present key (in the dashboard: Project Settings > API Keys).",
        )
    return ok(name, "an older service_role key")


def judge_answer(host: str, resolved: Resolved | None, answered: Answered | None) -> Finding:
    """Whether the project is there and takes the key; what the bucket is comes afterwards."""
    name = "Supabase project"
    if resolved is not None and resolved.silent:
        return red(
            name,
            f"no name server answers, so nothing is known of {host}",
            "See this machine's network and its name servers (/etc/resolv.conf).",
        )
    if resolved is not None and not resolved.addresses:
        return red(
            name,
            f"the name {host} does not resolve: the project is paused or deleted, or SUPABASE_URL "
            "is mistyped",
            _PAUSED_REMEDY,
        )
    if answered is None or answered.status is None:
        return red(
            name,
            f"{host} does not answer",
            "See whether SUPABASE_URL is right, the project runs, and this machine's network lets "
            "it out.",
        )
    status = answered.status
    if status == PAUSED:
        return red(name, "it is paused (status 540)", _PAUSED_REMEDY)
    if status in (401, 403):
        return red(
            name,
            f"it refuses the key (status {status})",
            "Copy the secret key, or in older projects the service_role key, of this very project "
            "(in the dashboard: Project Settings > API Keys) into SUPABASE_SERVICE_ROLE_KEY.",
        )
    if status == 402:
        return red(
            name,
            "it is restricted (status 402): its quota is used up, or its plan is unpaid",
            "See Usage and Billing of the organisation in the dashboard.",
        )
    if status >= 500 or status == 429:
        return red(
            name,
            f"it answers with status {status}",
            "Try again in a while; if it lasts, see the project in the dashboard and "
            "status.supabase.com.",
        )
    if status != 200 and answered.reason != "no-bucket":
        return red(
            name,
            f"what answers at {host} is not Supabase Storage (status {status})",
            "Check SUPABASE_URL: https://<project>.supabase.co, without a path.",
        )
    return ok(name, f"{host} answers and takes the key")


def judge_bucket(bucket: str, answered: Answered, part_bytes: int) -> Finding:
    """Private, and taking files as large as the largest part, of `part_bytes` plain."""
    name = "bucket"
    told = answered.bucket
    if told is None:
        return red(
            name, f"there is no bucket {bucket}", "Run `convault init`, which makes it, private."
        )
    if told.get("public") is not False:
        return red(
            name,
            f"{bucket} is public: whoever guesses a name can read the backups",
            "Make it private (in the dashboard: Storage, Edit bucket), and see who may have read "
            "them.",
        )
    limit = told.get("file_size_limit")
    if isinstance(limit, int) and 0 < limit < part_bytes + _ROOM:
        least = max(limit - _ROOM, 0)
        lower = f", or set CONVAULT_PART_BYTES to at most {least}" if least >= 1024 else ""
        return red(
            name,
            f"{bucket} takes files of at most {limit} bytes, and a part may have {part_bytes} "
            "before it is compressed",
            f"Raise the bucket's limit (in the dashboard: Storage, Edit bucket){lower}.",
        )
    types = told.get("allowed_mime_types")
    if types and "application/octet-stream" not in types and "*/*" not in types:
        return red(
            name,
            f"{bucket} takes only some types of files",
            "Let it take application/octet-stream (in the dashboard: Storage, Edit bucket).",
        )
    size = f"files of at most {limit} bytes" if limit else "files as large as the project allows"
    return ok(name, f"{bucket} is private and takes {size}")


NO_QUOTA = amber(
    "quota",
    "nothing stops a backup before the project's plan is full, which stops the whole project",
    "Set CONVAULT_STORE_QUOTA to what backups may take: 900MB on the Free plan, which has 1 GB for "
    "all files.",
)
"""for a store in Supabase Storage"""
