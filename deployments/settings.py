"""Settings of Prefect's that hold for a block."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from prefect.context import SettingsContext, get_settings_context


def with_settings(**groups: Mapping[str, Any]) -> SettingsContext:
    """Inside the block these settings have other values: `with_settings(client={"max_retries": 0})`
    by the names of Prefect's models, whose types the values must have, for nothing looks at them.

    Prefect's `temporary_settings` reads every setting anew, which takes 60 ms: longer than what the
    API asks of Prefect inside it.
    """
    context = get_settings_context()
    changed = {}
    for group, values in groups.items():
        before = getattr(context.settings, group)
        assert values.keys() <= type(before).model_fields.keys(), values
        changed[group] = before.model_copy(update=values)
    settings = context.settings.model_copy(update=changed)
    return SettingsContext(profile=context.profile, settings=settings)
