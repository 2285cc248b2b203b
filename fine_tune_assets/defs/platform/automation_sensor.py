"""Evaluates the automation conditions when something has happened, and every five minutes in any case.

An evaluation of the whole graph takes about two seconds of one core. `AutomationSensor` is Dagster's sensor, except that it skips
ticks without activity. `evaluate_conditions` evaluates once without the daemon, for `fine-tune materialize`.
"""

import time
import warnings
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any

import dagster as dg

from fine_tune_assets.core.dagster_ui import code_server_socket
from fine_tune_assets.core.line_names import name_line
from fine_tune_assets.core.settings import load_settings
from fine_tune_assets.defs.platform.dagster_compat.code_server import RELOAD_SECONDS, request_reload
from fine_tune_assets.defs.platform.dagster_compat.private_names import SensorExecutionData
from fine_tune_assets.defs.platform.kept_instance import kept_instance
from fine_tune_assets.defs.platform.recipe_versions import is_loaded_recipe, read_section_versions

MAX_IDLE_SECONDS = 300.0
_OTHER_RECIPE = "The recipe can't be read, or was changed after the definitions were loaded."
_RUNS_READ = 5
"""One more than the runs in progress, since Dagster writes a run's row after its event."""


def evaluate_conditions(definitions: dg.Definitions, instance: dg.DagsterInstance, cursor: Any = None) -> Any:
    """Evaluate every condition once; returns Dagster's result. `cursor`: of the previous result; None for the first one."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", dg.BetaWarning)  # of a parameter that Dagster itself passes
        return dg.evaluate_automation_conditions(definitions, instance, cursor=cursor)


@dataclass(frozen=True)
class _IdleTick:
    """An evaluation that requested nothing."""

    at: float
    """Seconds of the monotonic clock."""
    seen: tuple[Any, ...]


class AutomationSensor(dg.AutomationConditionSensorDefinition):
    _idle: _IdleTick | None = None
    _reload_at = float("-inf")
    """When the last reload was requested, in seconds of the monotonic clock."""

    def read_sections(self) -> Mapping[str, str] | None:
        """The sections of the current recipe; None if it can't be read."""
        return read_section_versions()

    def evaluate_tick(self, context: Any) -> SensorExecutionData:
        """Evaluate, or skip. Reads the activity first, so that events during the evaluation cause another one."""
        graph = context.repository_def.asset_graph
        if not is_loaded_recipe((node.code_version for node in graph.asset_nodes), self.read_sections()):
            return SensorExecutionData(skip_message=f"{_OTHER_RECIPE} {self._reload()}", cursor=context.cursor)
        seen, now = read_activity(kept_instance(context), graph.external_asset_keys), time.monotonic()
        idle = self._idle
        if idle is not None and idle.seen == seen and now - idle.at < MAX_IDLE_SECONDS:
            return SensorExecutionData(
                skip_message="No source, run or backfill has changed since the last evaluation.", cursor=context.cursor
            )
        found = super().evaluate_tick(context)
        self._idle = None if found.run_requests else _IdleTick(now, seen)
        return found

    def _reload(self) -> str:
        """Have the code server load a changed recipe, at most once a minute. Returns what happens now."""
        if self.read_sections() is None:
            return name_line("`fine-tune recipe check` says why.")
        if time.monotonic() - self._reload_at < RELOAD_SECONDS:
            return "The code server loads it."
        self._reload_at = time.monotonic()
        is_requested = request_reload(code_server_socket(load_settings().layout.run))
        return "The code server loads it." if is_requested else "Reload the definitions."


def read_activity(instance: dg.DagsterInstance, sources: Collection[dg.AssetKey]) -> tuple[Any, ...]:
    """A value that changes when a source is reported and when a run or backfill changes. Other events come from runs.

    A backfill ends some seconds after its last run. Until then, Dagster's conditions regard its assets as in progress.
    """
    entries = [record.asset_entry for record in instance.get_asset_records(list(sources))]
    newest = max((entry.last_materialization_storage_id or 0 for entry in entries), default=0)
    runs = instance.get_run_records(limit=_RUNS_READ, order_by="update_timestamp")
    backfills = tuple((found.backfill_id, found.status) for found in instance.get_backfills(limit=_RUNS_READ))
    return newest, backfills, *((run.dagster_run.run_id, run.dagster_run.status, run.update_timestamp) for run in runs)
