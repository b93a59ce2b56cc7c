"""The documents say what the code has."""

from __future__ import annotations

from pathlib import Path

import pytest

from convault.settings import Settings

ROOT = Path(__file__).parent.parent


@pytest.mark.parametrize("field", sorted(Settings.model_fields))
def test_every_setting_is_in_the_operations_guide(field: str) -> None:
    assert f"`{field.upper()}`" in (ROOT / "docs/operations.md").read_text()
