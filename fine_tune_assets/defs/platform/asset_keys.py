"""Asset keys of the product line that this process works on.

The main line's keys are plain names; every other line's keys start with the line's name. A process works on one line, which never
changes while it runs.
"""

from collections.abc import Mapping
from functools import cache
from typing import Any

import dagster as dg

from fine_tune_assets.core.settings import load_settings

LINE_TAG = "fine_tune/line"
PRIORITY_TAG = "dagster/priority"


def asset_key(name: str) -> dg.AssetKey:
    """The key of an asset or source of this line, such as `adapters` or `recipe/training`."""
    return _asset_key(load_settings().line, name)


@cache
def _asset_key(line: str, name: str) -> dg.AssetKey:
    return dg.AssetKey([*([line] if line else []), *name.split("/")])


def asset_name(key: dg.AssetKey) -> str:
    """The opposite of `asset_key`."""
    line = load_settings().line
    return "/".join(key.path[1:] if line and len(key.path) > 1 and key.path[0] == line else key.path)


def batch_partitions() -> str:
    """Name of the set of batches, which Dagster stores for all lines together."""
    line = load_settings().line
    return f"{line}_report_batches" if line else "report_batches"


def line_tags() -> Mapping[str, str]:
    """Tags of the runs that this line's sensors and schedules start."""
    settings = load_settings()
    named = {LINE_TAG: settings.line} if settings.line else {}
    return {**named, PRIORITY_TAG: str(settings.priority)} if settings.priority else named


def with_keys(definition: Any, keys: Mapping[dg.AssetKey, dg.AssetKey]) -> Any:
    """The same assets or checks with other keys, for what they materialize, check and read."""
    return definition.with_attributes(asset_key_replacements=keys) if keys else definition
