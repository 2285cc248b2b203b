"""Whether a candidate is on its way: trained, and not yet served, held or refused.

What was approved meanwhile waits for it. A training in between would put the next adapter in its place, and where corrections
never end no release would ever come of any.
"""

from collections.abc import Mapping
from collections.abc import Set as AbstractSet
from typing import Any

import dagster as dg
from dagster._core.storage.asset_check_execution_record import AssetCheckExecutionRecordStatus

from fine_tune_assets.defs.platform.automation import differs_from_inputs, latest_events, triggers

FIRST, LAST = dg.AssetKey("adapters"), dg.AssetKey("served_models")
AT_WORK = [dg.DagsterRunStatus.STARTING, dg.DagsterRunStatus.STARTED, dg.DagsterRunStatus.CANCELING]
"""Of runs that may have read something already: of those that wait in line none has."""
NOT_OVER = [dg.DagsterRunStatus.QUEUED, dg.DagsterRunStatus.NOT_STARTED, *AT_WORK]


def is_on_its_way(graph: Any, instance: dg.DagsterInstance) -> bool:
    """Whether anything between the adapter and what is served is being made, or is the next to be. What failed, and what
    waits behind a closed gate, for a signature or for ever, is not."""
    stages = stages_of(graph)
    if is_being_made(instance, stages):
        return True
    waiting: set[dg.AssetKey] = set()
    for key in graph.toposorted_asset_keys:
        if key not in stages or not differs_from_inputs(graph, graph.get(key), instance):
            continue
        parents = triggers(graph.get(key))
        if not waiting.isdisjoint(parents) or not _are_open(graph, instance, parents):
            waiting.add(key)
        else:
            return True
    return False


def is_being_made(instance: dg.DagsterInstance, keys: AbstractSet[dg.AssetKey]) -> bool:
    """Whether a run that is not over makes one of them."""
    going_on = instance.get_runs(dg.RunsFilter(statuses=NOT_OVER))
    return any(run.asset_selection is None or not keys.isdisjoint(run.asset_selection) for run in going_on)


def stages_of(graph: Any) -> set[dg.AssetKey]:
    """What is made of an adapter on its way to the users."""
    parents = {key: triggers(graph.get(key)) for key in graph.get_all_asset_keys()}
    children = {key: {child for child, above in parents.items() if key in above} for key in parents}
    return _reached(children, FIRST) & (_reached(parents, LAST) | {LAST})


def _reached(neighbours: Mapping[dg.AssetKey, AbstractSet[dg.AssetKey]], start: dg.AssetKey) -> set[dg.AssetKey]:
    found: set[dg.AssetKey] = set()
    left = [start]
    while left:
        further = neighbours.get(left.pop(), set()) - found
        found |= further
        left += further
    return found


def _are_open(graph: Any, instance: dg.DagsterInstance, keys: AbstractSet[dg.AssetKey]) -> bool:
    """Whether all are there, and each of their blocking checks passed."""
    if not all(latest_events(instance, keys).values()):
        return False
    blocking = [check for key in keys for check in graph.get(key).check_keys if graph.get(check).blocking]
    found = instance.event_log_storage.get_latest_asset_check_execution_by_key(blocking) if blocking else {}
    passed = [record.status == AssetCheckExecutionRecordStatus.SUCCEEDED for record in found.values()]
    return len(passed) == len(blocking) and all(passed)
