"""Whether a candidate is in flight: trained, and not yet served, held or refused.

Newly approved examples wait for it. Otherwise the next training would replace the candidate, and with a steady stream of
corrections no candidate would ever be released.
"""

from collections.abc import Mapping
from collections.abc import Set as AbstractSet
from typing import Any

import dagster as dg

from fine_tune_assets.defs.platform.asset_keys import asset_key
from fine_tune_assets.defs.platform.automation import has_changed_inputs, latest_events, triggering_inputs
from fine_tune_assets.defs.platform.dagster_compat.private_names import AssetCheckExecutionRecordStatus

FIRST_ASSET, LAST_ASSET = asset_key("adapters"), asset_key("served_models")
ACTIVE_STATUSES = [dg.DagsterRunStatus.STARTING, dg.DagsterRunStatus.STARTED, dg.DagsterRunStatus.CANCELING]
"""Statuses of runs that may have read data already. Queued runs have not."""
UNFINISHED_STATUSES = [dg.DagsterRunStatus.QUEUED, dg.DagsterRunStatus.NOT_STARTED, *ACTIVE_STATUSES]


def has_candidate_in_flight(graph: Any, instance: dg.DagsterInstance) -> bool:
    """Whether any asset between the adapter and the production model is in progress or about to run.

    Failed assets and assets behind a closed gate don't count.
    """
    stages = candidate_assets(graph)
    if is_in_progress(instance, stages):
        return True
    waiting: set[dg.AssetKey] = set()
    for key in graph.toposorted_asset_keys:
        if key not in stages or not has_changed_inputs(graph, graph.get(key), instance):
            continue
        parents = triggering_inputs(graph.get(key))
        if not waiting.isdisjoint(parents) or not are_gates_open(graph, instance, parents):
            waiting.add(key)
        else:
            return True
    return False


def is_in_progress(instance: dg.DagsterInstance, keys: AbstractSet[dg.AssetKey]) -> bool:
    """Whether an unfinished run materializes one of these assets."""
    unfinished = instance.get_runs(dg.RunsFilter(statuses=UNFINISHED_STATUSES))
    return any(run.asset_selection is None or not keys.isdisjoint(run.asset_selection) for run in unfinished)


def candidate_assets(graph: Any) -> set[dg.AssetKey]:
    """The assets between an adapter and the production model."""
    parents = {key: triggering_inputs(graph.get(key)) for key in graph.get_all_asset_keys()}
    children = {key: {child for child, above in parents.items() if key in above} for key in parents}
    return _find_reachable(children, FIRST_ASSET) & (_find_reachable(parents, LAST_ASSET) | {LAST_ASSET})


def _find_reachable(neighbours: Mapping[dg.AssetKey, AbstractSet[dg.AssetKey]], start: dg.AssetKey) -> set[dg.AssetKey]:
    found: set[dg.AssetKey] = set()
    pending = [start]
    while pending:
        further = neighbours.get(pending.pop(), set()) - found
        found |= further
        pending += further
    return found


def are_gates_open(graph: Any, instance: dg.DagsterInstance, keys: AbstractSet[dg.AssetKey]) -> bool:
    """Whether all assets are materialized and all their blocking checks passed."""
    if not all(latest_events(instance, keys).values()):
        return False
    blocking = [check for key in keys for check in graph.get(key).check_keys if graph.get(check).blocking]
    found = instance.event_log_storage.get_latest_asset_check_execution_by_key(blocking) if blocking else {}
    passed = [record.status == AssetCheckExecutionRecordStatus.SUCCEEDED for record in found.values()]
    return len(passed) == len(blocking) and all(passed)
