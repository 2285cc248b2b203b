"""Reports results of checks that can change without a run of their asset."""

from collections.abc import Mapping

import dagster as dg

from fine_tune_assets.defs.platform.asset_keys import asset_key


def report_changed_check(
    instance: dg.DagsterInstance,
    check: str,
    metric: str,
    metadata: Mapping[str, int | str],
    asset: str = "served_models",
) -> list[dg.AssetCheckEvaluation]:
    """The check's result if the count `metric` differs from the last reported one, which is 0 at first."""
    key = dg.AssetCheckKey(asset_key(asset), check)
    count = int(metadata[metric])
    if count == _last_reported(instance, key, metric):
        return []
    return [
        dg.AssetCheckEvaluation(
            asset_key=key.asset_key,
            check_name=key.name,
            passed=not count,
            severity=dg.AssetCheckSeverity.WARN,
            metadata={
                name: dg.MetadataValue.int(value) if isinstance(value, int) else dg.MetadataValue.text(value)
                for name, value in metadata.items()
            },
        )
    ]


def _last_reported(instance: dg.DagsterInstance, key: dg.AssetCheckKey, metric: str) -> int:
    for record in instance.event_log_storage.get_asset_check_execution_history(key, limit=5):
        event = record.event.dagster_event if record.event else None
        # A planned evaluation has no data, and Dagster raises an error for it.
        if event is not None and event.event_type is dg.DagsterEventType.ASSET_CHECK_EVALUATION:
            reported = event.asset_check_evaluation_data.metadata.get(metric)
            return int(str(reported.value)) if reported is not None else 0
    return 0
