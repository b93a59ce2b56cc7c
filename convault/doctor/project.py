"""The Supabase project that SUPABASE_URL and SUPABASE_SERVICE_ROLE_KEY name."""

from __future__ import annotations

import time
from urllib.parse import urlsplit

from convault.doctor import api, clocks
from convault.doctor.address import resolve
from convault.doctor.finding import Finding, State, not_checked, reported
from convault.project import Project, project
from convault.settings import Settings, environment
from convault.stores.supabase.opening import parse

_NOBODYS = "convault-doctor-asks"
"""a bucket that nobody has: asked for to see whether the key is taken"""


def examine(settings: Settings) -> list[Finding]:
    """Look at key, project, bucket and clock, where settings name a project."""
    store = settings.convault_store_url or ""
    in_bucket = store.startswith("supabase:")
    key = (environment("SUPABASE_SERVICE_ROLE_KEY") or "").strip()
    if not in_bucket and not key:
        return [not_checked("Supabase project", "SUPABASE_SERVICE_ROLE_KEY is not set, nor needed")]
    findings: list[Finding] = []
    with reported("service key", findings):
        opened = project()
        findings.append(api.judge_key(key, opened.url, time.time()))
        bucket = parse(store)[0] if in_bucket else None
        findings += _answers(opened, bucket, settings.convault_part_bytes)
    return findings


def _answers(opened: Project, bucket: str | None, part_bytes: int) -> list[Finding]:
    parts = urlsplit(opened.url)
    host = parts.hostname or ""
    resolved = resolve(host, parts.port or (443 if parts.scheme == "https" else 80))
    there = resolved is None or bool(resolved.addresses)
    answered = api.ask(opened, bucket or _NOBODYS) if there else None
    findings = [api.judge_answer(host, resolved, answered)]
    if answered is None or findings[0].state is not State.OK:
        return findings
    if bucket is not None:
        findings.append(api.judge_bucket(bucket, answered, part_bytes))
    findings.append(clocks.judge("clock of the project", "the project's server", answered.clock))
    return findings
