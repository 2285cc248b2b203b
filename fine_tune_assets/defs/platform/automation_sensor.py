"""The one automation sensor: it evaluates every condition again where something happened, and each minute.

An evaluation of all conditions takes 2 seconds of a core and is due every 5 seconds, also during hours of training. It is left
out when the last one asked for nothing, no backfill was running (its end is neither an event nor a run), and since then no event
of an asset was recorded and no run changed. What conditions read besides (the recipe's numbers, decisions in the ledger) is
recorded as an event when it changes, or seen within the minute.

Dagster's own `evaluate_automation_conditions` asks the database for the names of the batches each time that a condition records
what it saw: some 600 times an evaluation of this graph, more than half of its time. So it is not used.
"""

import logging
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import dagster as dg
import sqlalchemy as sa
from dagster._core.definitions.sensor_definition import SensorExecutionData
from dagster._core.events import ASSET_CHECK_EVENTS, ASSET_EVENTS, EVENT_TYPE_TO_PIPELINE_RUN_STATUS
from dagster._core.execution.backfill import BulkActionsFilter, BulkActionStatus
from dagster._core.storage.event_log.schema import SqlEventLogStorageTable

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


LOOK_EACH_SECONDS = 60.0
_TELLING = sorted(kind.value for kind in {*ASSET_EVENTS, *ASSET_CHECK_EVENTS, *EVENT_TYPE_TO_PIPELINE_RUN_STATUS})
"""Events. PostgreSQL keeps a run's log in the same table, and a worker writes into it every other second."""
_RUNS = 5
"""One more than go on at once: a run's row is written after its event."""
_GOES_ON = BulkActionsFilter(
    statuses=[BulkActionStatus.REQUESTED, BulkActionStatus.CANCELING, BulkActionStatus.FAILING]
)


@dataclass(frozen=True)
class _Idle:
    """A look that asked for nothing."""

    at: float
    """Of the monotonic clock."""
    seen: tuple[Any, ...]


class AutomationSensor(dg.AutomationConditionSensorDefinition):
    _idle: _Idle | None = None

    def evaluate_tick(self, context: Any) -> SensorExecutionData:
        """As Dagster's. What is seen is read before the look: what happens during it is looked at once more."""
        seen, now = what_happened(context.instance), time.monotonic()
        idle = self._idle
        if idle is not None and idle.seen == seen and now - idle.at < LOOK_EACH_SECONDS:
            return SensorExecutionData(skip_message="Nothing happened since the last look.", cursor=context.cursor)
        is_open = bool(context.instance.get_backfills(filters=_GOES_ON, limit=1))
        found = super().evaluate_tick(context)
        self._idle = None if found.run_requests or is_open else _Idle(now, seen)
        return found


def what_happened(instance: dg.DagsterInstance) -> tuple[Any, ...]:
    """Changes with every event of an asset, a check or a run's state, and with every change of a run."""
    events = SqlEventLogStorageTable.c
    newest = sa.select(events.id).where(events.dagster_event_type.in_(_TELLING)).order_by(events.id.desc()).limit(1)
    storage: Any = instance.event_log_storage
    with storage.index_connection() as connection:
        last = connection.execute(newest).scalar()
    runs = instance.get_run_records(limit=_RUNS, order_by="update_timestamp")
    return last, *((run.dagster_run.run_id, run.dagster_run.status, run.update_timestamp) for run in runs)
