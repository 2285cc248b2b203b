"""The gates that are closed now. Automation starts nothing behind them, so no command would fail and name them."""

from typing import Any

import dagster as dg

from fine_tune_assets.defs.platform.asset_keys import asset_name
from fine_tune_assets.defs.platform.automation import latest_events
from fine_tune_assets.defs.platform.dagster_compat.private_names import AssetCheckExecutionRecordStatus
from fine_tune_assets.defs.platform.metadata import REASON


def list_closed_checks(graph: Any, instance: dg.DagsterInstance) -> list[str]:
    """Asset, check and reason of each blocking check that failed since its asset's newest materialization."""
    blocking = [check for asset in graph.get_all_asset_keys() for check in graph.get(asset).check_keys]
    blocking = [check for check in blocking if graph.get(check).blocking]
    found = instance.event_log_storage.get_latest_asset_check_execution_by_key(blocking) if blocking else {}
    newest = latest_events(instance, {check.asset_key for check in found})
    closed = []
    for check, record in found.items():
        evaluation, event = record.evaluation, newest[check.asset_key]
        if record.status != AssetCheckExecutionRecordStatus.FAILED or evaluation is None or event is None:
            continue
        target = evaluation.target_materialization_data
        if target is not None and target.storage_id < event.storage_id:
            continue  # this materialization was not checked yet
        reason = evaluation.metadata.get(REASON)
        words = f": {reason.value}" if reason is not None else "."
        closed.append(f"{asset_name(check.asset_key)}, {check.name}{words}")
    return sorted(closed)
