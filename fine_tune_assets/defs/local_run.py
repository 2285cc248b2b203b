"""Brings everything up to date in this process: what sensors and daemon do, without a daemon.

Evaluates the same sensors and the same automation conditions as `make up`, runs what they ask for, and goes on until they
ask for nothing. Used by `fine-tune materialize`, by the demo and by the tests of the whole graph.
"""

import logging
from collections import defaultdict
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import dagster as dg

from fine_tune_assets.core.errors import FineTuneError
from fine_tune_assets.defs.metadata import WHY
from fine_tune_assets.defs.resources import Installation
from fine_tune_assets.defs.s01_raw_reports import report_batches
from fine_tune_assets.defs.sources import report_sources

PROGRESS_LOGGER = "fine_tune_assets.progress"
MAXIMUM_ROUNDS = 200
"""A graph of ten stages settles in about fifteen rounds; a condition that never does is a bug, and is reported."""


class NotSettledError(FineTuneError):
    """The graph asked for runs again and again."""


@dataclass(frozen=True)
class StageRun:
    """One run: its assets and, for a batch, its partition."""

    assets: tuple[str, ...]
    partition: str | None
    is_success: bool
    run_id: str
    errors: tuple[str, ...] = ()


@dataclass
class Summary:
    runs: list[StageRun] = field(default_factory=list)

    @property
    def materialized(self) -> list[tuple[str, str | None]]:
        return [(asset, run.partition) for run in self.runs for asset in run.assets]

    @property
    def failed(self) -> list[StageRun]:
        return [run for run in self.runs if not run.is_success]


@dg.logger
def progress_logger(_context: dg.InitLoggerContext) -> logging.Logger:
    """Hands log lines of steps to whoever listens on PROGRESS_LOGGER."""
    logger = logging.getLogger(PROGRESS_LOGGER)
    logger.setLevel(logging.INFO)
    logger.propagate = False
    return logger


def materialize_stale(
    definitions: dg.Definitions,
    instance: dg.DagsterInstance,
    on_start: Callable[[tuple[str, ...], str | None], None] = lambda _assets, _partition: None,
    on_end: Callable[[StageRun], None] = lambda _run: None,
    only: set[str] | None = None,
) -> Summary:
    """Run whatever is not up to date. Raises NotSettledError.

    `only` limits it to those assets: what others ask for is left as it is.
    """
    summary, cursor = Summary(), None
    for _ in range(MAXIMUM_ROUNDS):
        notice_sources(instance)
        evaluated = dg.evaluate_automation_conditions(defs=definitions, instance=instance, cursor=cursor)
        cursor = evaluated.cursor
        requests = requested_runs(evaluated, only)
        if not requests:
            return summary
        for partition, assets in requests:
            on_start(assets, partition)
            run = _execute(definitions, instance, assets, partition)
            summary.runs.append(run)
            on_end(run)
    raise NotSettledError(f"The graph did not settle after {MAXIMUM_ROUNDS} rounds. Last: {summary.runs[-1].assets}.")


def notice_sources(instance: dg.DagsterInstance) -> None:
    """What the two sensors do."""
    installation = Installation()
    for found in (report_batches(instance, installation), report_sources(instance, installation)):
        if isinstance(found, dg.SkipReason):
            continue
        for request in found.dynamic_partitions_requests or []:
            instance.add_dynamic_partitions(request.partitions_def_name, list(request.partition_keys))
        for event in found.asset_events:
            instance.report_runless_asset_event(event)


def requested_runs(evaluated: Any, only: set[str] | None) -> list[tuple[str | None, tuple[str, ...]]]:
    """(partition, assets) of each run that is asked for: one for each batch, and one for all unpartitioned assets."""
    wanted: dict[str | None, list[str]] = defaultdict(list)
    for result in evaluated.results:
        name = result.key.to_user_string()
        if result.true_subset.is_empty or not isinstance(result.key, dg.AssetKey) or (only and name not in only):
            continue
        partitions = (
            sorted(result.true_subset.expensively_compute_partition_keys())
            if result.true_subset.is_partitioned
            else [None]
        )
        for partition in partitions:
            wanted[partition].append(name)
    return [
        (partition, tuple(sorted(wanted[partition])))
        for partition in sorted(wanted, key=lambda p: (p is None, p or ""))
    ]


def _execute(
    definitions: dg.Definitions, instance: dg.DagsterInstance, assets: tuple[str, ...], partition: str | None
) -> StageRun:
    result = definitions.resolve_implicit_global_asset_job_def().execute_in_process(
        instance=instance,
        asset_selection=[dg.AssetKey(name) for name in assets],
        partition_key=partition,
        run_config={"loggers": {"progress": {}}},
        raise_on_error=False,
        tags={"trigger": "local"},
    )
    errors = tuple(
        str(event.step_failure_data.error.message).strip() if event.step_failure_data.error else "failed"
        for event in result.all_events
        if event.is_step_failure
    )
    return StageRun(assets, partition, result.success, result.run_id, (*errors, *_closed_gates(result)))


def _closed_gates(result: dg.ExecuteInProcessResult) -> list[str]:
    """What the blocking checks that did not pass say."""
    return [
        f"{check.check_name}: {check.metadata[WHY].value}"
        for check in result.get_asset_check_evaluations()
        if not check.passed and check.blocking and WHY in check.metadata
    ]
