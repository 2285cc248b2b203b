"""Settings with a few changed values, and settings of another environment."""

import os
from collections.abc import Mapping
from typing import Any
from unittest import mock

from fine_tune_assets.core.settings import Settings, load_settings


def changed(settings: Settings, **changes: Any) -> Settings:
    """Copy settings with other values in the form of a settings file: a group contains only its changed values."""
    values = settings.model_dump()
    for name, change in changes.items():
        values[name] = {**values[name], **change} if isinstance(change, Mapping) else change
    return Settings.model_validate(values)


def settings_in(environment: Mapping[str, str]) -> Settings:
    """The settings of a process with exactly this environment."""
    with mock.patch.dict(os.environ, environment, clear=True):
        return load_settings()
