"""`az://` on Microsoft's own emulator, where one runs already; nothing is collected otherwise.

Azurite is on npm alone: 374 packages, 186 MB and a Node that nothing else here needs, so it is not
part of every run. For this one: `npm install --prefix FOLDER azurite@3.35.0`, start
`FOLDER/node_modules/.bin/azurite-blob --skipApiVersionCheck --inMemoryPersistence`, and set
CONVAULT_AZURITE=http://127.0.0.1:10000/devstoreaccount1.
"""

from __future__ import annotations

import base64
import hmac
import os
import secrets
from datetime import UTC, datetime

import httpx
import pytest

from convault.errors import ObjectMissing, StoreError
from convault.stores import open_store
from convault.stores.base import Store
from tests.stores.suite import StoreSuite

ENDPOINT = os.environ.get("CONVAULT_AZURITE", "")
ACCOUNT = "devstoreaccount1"
KEY = "Eby8vdM02xNOcqFlqUwJPLlmEtlCDXJ1OUzFT50uSRZ6IFsuFq2UVErCz4I6tq/K1SZFPTOtr/KBHBeksoGMGw=="
"""the emulator's, the same everywhere and printed in its manual"""


def new_container() -> str:
    name = f"container-{secrets.token_hex(6)}"
    date = datetime.now(UTC).strftime("%a, %d %b %Y %H:%M:%S GMT")
    resource = f"/{ACCOUNT}/{ACCOUNT}/{name}\nrestype:container"
    signed = f"PUT{chr(10) * 12}x-ms-date:{date}\nx-ms-version:2021-08-06\n{resource}"
    signature = base64.b64encode(hmac.digest(base64.b64decode(KEY), signed.encode(), "sha256"))
    answer = httpx.put(
        f"{ENDPOINT}/{name}?restype=container",
        headers={
            "x-ms-date": date,
            "x-ms-version": "2021-08-06",
            "Authorization": f"SharedKey {ACCOUNT}:{signature.decode()}",
        },
    )
    assert answer.status_code == 201, answer.text
    return name


if ENDPOINT:

    @pytest.fixture(autouse=True)
    def _credentials(monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("AZURE_STORAGE_ACCOUNT_NAME", ACCOUNT)
        monkeypatch.setenv("AZURE_STORAGE_ACCOUNT_KEY", KEY)

    class TestAzurite(StoreSuite):
        @pytest.fixture
        def store(self) -> Store:
            return open_store(f"az://{new_container()}/back/ups?endpoint={ENDPOINT}")

    def test_a_large_object_in_blocks() -> None:
        store = open_store(f"az://{new_container()}/in?endpoint={ENDPOINT}")
        data = secrets.token_bytes(41 * 1024 * 1024)
        assert store.put("large", data) is True
        assert store.get("large") == data

    def test_what_is_wrong_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
        url = f"az://{new_container()}-not?endpoint={ENDPOINT}"
        for call in ("get", "head", "delete"):
            with pytest.raises(StoreError, match="container does not exist") as caught:
                getattr(open_store(url), call)("object")
            assert not isinstance(caught.value, ObjectMissing)
        with pytest.raises(StoreError, match="container does not exist"):
            open_store(url).put("object", b"1")
        monkeypatch.setenv("AZURE_STORAGE_ACCOUNT_KEY", base64.b64encode(b"hunter2").decode())
        with pytest.raises(StoreError, match="wrong or lack a right"):
            open_store(url).get("object")
