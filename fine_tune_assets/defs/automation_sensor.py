"""The one automation sensor: it asks every condition again where something happened, and each minute.

A look at all conditions takes 2 seconds of a core, and is due every 5 seconds, also during hours of training. Owns when it can be
left out: the last look asked for nothing, and since then no event of an asset was recorded and no run changed. What conditions
read besides (the recipe's numbers, decisions in the ledger) is recorded as an event when it changes, or seen within the minute.
"""

import time
from dataclasses import dataclass
from typing import Any

import dagster as dg
from dagster._core.definitions.sensor_definition import SensorExecutionData

LOOK_EACH_SECONDS = 60.0


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
        found = super().evaluate_tick(context)
        self._idle = None if found.run_requests else _Idle(now, seen)
        return found


def what_happened(instance: dg.DagsterInstance) -> tuple[Any, ...]:
    """Changes with every event of an asset or check, and with every change of a run."""
    last = instance.event_log_storage.get_maximum_record_id()
    runs = instance.get_run_records(limit=1, order_by="update_timestamp")
    return last, *((run.dagster_run.run_id, run.dagster_run.status, run.update_timestamp) for run in runs)
