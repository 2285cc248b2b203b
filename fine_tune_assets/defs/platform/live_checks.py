"""Checks on `served_models` whose answer changes while nothing serves anew. Owns telling of the change, once."""

from collections.abc import Mapping

import dagster as dg


def news_of_check(
    instance: dg.DagsterInstance, check: str, figure: str, told: Mapping[str, int | str]
) -> list[dg.AssetCheckEvaluation]:
    """The check's result once the count `figure` is another one than it last said. 0 before it ever said one."""
    key = dg.AssetCheckKey(dg.AssetKey("served_models"), check)
    count = int(told[figure])
    if count == _last_told(instance, key, figure):
        return []
    return [
        dg.AssetCheckEvaluation(
            asset_key=key.asset_key,
            check_name=key.name,
            passed=not count,
            severity=dg.AssetCheckSeverity.WARN,
            metadata={
                name: dg.MetadataValue.int(value) if isinstance(value, int) else dg.MetadataValue.text(value)
                for name, value in told.items()
            },
        )
    ]


def _last_told(instance: dg.DagsterInstance, key: dg.AssetCheckKey, figure: str) -> int:
    for record in instance.event_log_storage.get_asset_check_execution_history(key, limit=5):
        event = record.event.dagster_event if record.event else None
        if event is not None and event.asset_check_evaluation_data is not None:
            told = event.asset_check_evaluation_data.metadata.get(figure)
            return int(str(told.value)) if told is not None else 0
    return 0
