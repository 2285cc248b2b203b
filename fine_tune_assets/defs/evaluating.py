"""One evaluation of all automation conditions, as the daemon makes it.

Owns that. Dagster's own `evaluate_automation_conditions` does the same for unit tests, and asks the database for the names of the
batches each time that a condition writes down what it saw: some 600 times a round of this graph, more than half of its time.
"""

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import dagster as dg

LOGGER = logging.getLogger("fine_tune_assets.evaluating")


@dataclass(frozen=True)
class Evaluated:
    """What each condition says, and the cursor for the next evaluation."""

    results: Sequence[Any]
    cursor: Any


def evaluate_conditions(definitions: dg.Definitions, instance: dg.DagsterInstance, cursor: Any = None) -> Evaluated:
    """Evaluate every condition once. `cursor`: of the evaluation before, None for the first one."""
    from dagster._core.definitions.asset_daemon_cursor import AssetDaemonCursor
    from dagster._core.definitions.declarative_automation.automation_condition_evaluator import (
        AutomationConditionEvaluator,
    )

    graph = definitions.resolve_asset_graph()
    before = AssetDaemonCursor.empty() if cursor is None else _as_stored(cursor, AssetDaemonCursor)
    keys: list[Any] = [*graph.get_all_asset_keys(), *graph.asset_check_keys]
    evaluator = AutomationConditionEvaluator(
        entity_keys={key for key in keys if graph.get(key).automation_condition is not None},
        instance=instance,
        asset_graph=graph,
        cursor=before,
        emit_backfills=False,
        evaluation_id=before.evaluation_id,
        logger=LOGGER,
    )
    results, _ = evaluator.evaluate()
    # Names of batches as they were when the conditions were evaluated, read once.
    with dg.partition_loading_context(evaluator.evaluation_time, evaluator.instance_queryer):
        after = before.with_updates(
            evaluation_id=before.evaluation_id + 1,
            evaluation_timestamp=evaluator.evaluation_time.timestamp(),
            newly_observe_requested_asset_keys=[],
            condition_cursors=[result.get_new_cursor() for result in results],
            asset_graph=graph,
        )
    return Evaluated(results, after)


def _as_stored(cursor: Any, kind: Any) -> Any:
    """As it comes back from the database, where the daemon keeps it."""
    return dg.deserialize_value(dg.serialize_value(cursor), kind)
