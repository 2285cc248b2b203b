"""Settings that differ in a few places, and those of another environment."""

import os
from collections.abc import Mapping
from typing import Any
from unittest import mock

from fine_tune_assets.core.settings import Settings, load_settings


def changed(settings: Settings, **changes: Any) -> Settings:
    """The same settings with other values, as a file would give them: a group takes only what differs in it."""
    values = settings.model_dump()
    for name, change in changes.items():
        values[name] = {**values[name], **change} if isinstance(change, Mapping) else change
    return Settings.model_validate(values)


def settings_in(environment: Mapping[str, str]) -> Settings:
    """What a process with exactly this environment reads."""
    with mock.patch.dict(os.environ, environment, clear=True):
        return load_settings()
