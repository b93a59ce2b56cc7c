"""The Supabase that the tests run: it is the real thing where it matters, and starts anywhere."""

from __future__ import annotations

import json
import re

import psycopg
import pytest

from tests.supabase_stack import PACKAGES, SupabaseStack

pytestmark = pytest.mark.xdist_group("supabase")


def test_its_storage_knows_who_asks(supabase: SupabaseStack) -> None:
    bucket = supabase.new_bucket()
    for key in (supabase.secret_key, supabase.legacy_key()):
        headers = {} if key.startswith("sb_") else {"Authorization": f"Bearer {key}"}
        with supabase.client(key) as client:
            answer = client.get(f"/storage/v1/bucket/{bucket}", headers=headers)
        assert answer.json()["id"] == bucket
    with supabase.client(supabase.publishable_key) as client:
        answer = client.get(f"/storage/v1/bucket/{bucket}")
    assert (answer.status_code, answer.json()["statusCode"]) == (400, "404")


def test_it_keeps_what_it_knows_in_a_real_postgres(supabase: SupabaseStack) -> None:
    bucket = supabase.new_bucket()
    with supabase.client() as client:
        client.post(f"/storage/v1/object/{bucket}/a/b", content=b"12345").raise_for_status()
    with psycopg.connect(supabase.database_url) as connection:
        rows = connection.execute(
            "SELECT name FROM storage.objects WHERE bucket_id = %s", [bucket]
        ).fetchall()
    assert rows == [("a/b",)]


def test_its_packages_are_named_by_version_and_digest_and_by_no_host() -> None:
    lock = json.loads((PACKAGES / "package-lock.json").read_text())
    wanted = json.loads((PACKAGES / "package.json").read_text())["dependencies"]
    assert all(re.fullmatch(r"\d+\.\d+\.\d+", version) for version in wanted.values())
    packages = {name: entry for name, entry in lock["packages"].items() if name}
    assert {f"node_modules/{name}" for name in wanted} <= packages.keys()
    for entry in packages.values():
        assert entry["integrity"].startswith("sha512-")
        assert "resolved" not in entry
