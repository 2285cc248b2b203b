"""Brings everything up to date in this process: what sensors and daemon do, without a daemon.

Evaluates the same sensors and the same automation conditions as `make up`, runs what they ask for, and goes on until they
ask for nothing. Used by `fine-tune materialize`, by the demo and by the tests of the whole graph.
"""

import logging
import os
import platform
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import dagster as dg

from fine_tune_assets.core.errors import FineTuneError
from fine_tune_assets.core.fingerprints import fingerprint_json, short
from fine_tune_assets.core.processes.fork_server import fork_server
from fine_tune_assets.defs.platform.automation import OWN_ATTEMPTS
from fine_tune_assets.defs.platform.automation_sensor import evaluate_conditions
from fine_tune_assets.defs.platform.candidate import NOT_OVER
from fine_tune_assets.defs.platform.metadata import WHY
from fine_tune_assets.defs.platform.resources import WORKERS_IMPORT, Installation
from fine_tune_assets.defs.s01_raw_reports.raw_reports import BATCHES, report_batches
from fine_tune_assets.defs.sources import report_sources
from fine_tune_assets.engines.processes import ProcessIdentity, identify, is_alive

PROGRESS_LOGGER = "fine_tune_assets.progress"
SOURCES_LOGGER = "fine_tune_assets.sources"
MAXIMUM_ROUNDS = 200
"""A graph of ten stages settles in about fifteen rounds; a condition that never does is a bug, and is reported."""


VERDICT_CHECK = "verdict_opens_the_gate"
"""The blocking check of `promotion_verdicts`."""
PROCESS = "fine_tune/process"
"""Tag of a run that is made in a process of ours: the machine, the process's id, and the moment it started."""


class NotSettledError(FineTuneError):
    """The graph asked for runs again and again."""


class UnknownAssetError(FineTuneError):
    """No asset has that name, or nobody makes it."""


@dataclass(frozen=True)
class StageRun:
    """One run: its assets and, for a batch, its partition."""

    assets: tuple[str, ...]
    partition: str | None
    is_success: bool
    run_id: str
    errors: tuple[str, ...] = ()
    is_stopped_by_verdict: bool = False
    """Nothing failed in it: the newest verdict lets nothing through."""


OnEnd = Callable[[StageRun], None]


@dataclass
class Summary:
    runs: list[StageRun] = field(default_factory=list)
    unfinished: tuple[str, ...] = ()
    """Runs that this call did not start and that have not ended: what they make is left to them."""

    @property
    def materialized(self) -> list[tuple[str, str | None]]:
        return [(asset, run.partition) for run in self.runs for asset in run.assets]

    @property
    def failed(self) -> list[StageRun]:
        return [run for run in self.runs if not run.is_success]


@dg.logger
def progress_logger(_context: dg.InitLoggerContext) -> logging.Logger:
    """Hands log lines and events of steps to whoever listens on PROGRESS_LOGGER."""
    logger = logging.getLogger(PROGRESS_LOGGER)
    logger.setLevel(logging.DEBUG)
    logger.propagate = False
    return logger


def materialize_stale(
    definitions: dg.Definitions,
    instance: dg.DagsterInstance,
    on_end: OnEnd = lambda _run: None,
    only: set[str] | None = None,
    again: Sequence[str] = (),
) -> Summary:
    """Make the assets `again`, whatever their inputs say; then run whatever is not up to date, and once more what failed or
    was cut off before. Raises UnknownAssetError, NotSettledError.

    `only` limits the second part to those assets: what others ask for is left as it is. Gates hold all the same: they are
    in the steps themselves.
    """
    fail_abandoned_runs(instance)
    notice_sources(instance)
    wanted = named_runs(definitions.resolve_asset_graph(), instance, again)
    summary = Summary()
    own: set[str] = set()

    def run(assets: tuple[str, ...], partition: str | None) -> None:
        done = execute_assets(definitions, instance, assets, partition)
        own.add(done.run_id)
        summary.runs.append(done)
        on_end(done)

    token = OWN_ATTEMPTS.set(own)
    try:
        with fork_server(WORKERS_IMPORT):
            for partition, assets in wanted:
                run(assets, partition)
            _run_requested(definitions, instance, only, run)
    finally:
        OWN_ATTEMPTS.reset(token)
    summary.unfinished = tuple(left.run_id for left in instance.get_runs(dg.RunsFilter(statuses=NOT_OVER)))
    return summary


def _run_requested(
    definitions: dg.Definitions,
    instance: dg.DagsterInstance,
    only: set[str] | None,
    run: Callable[[tuple[str, ...], str | None], None],
) -> None:
    """Run what the conditions ask for, round by round, until they ask for nothing. Raises NotSettledError."""
    cursor, requests = None, []
    for _ in range(MAXIMUM_ROUNDS):
        notice_sources(instance)
        evaluated = evaluate_conditions(definitions, instance, cursor)
        cursor = evaluated.cursor
        requests = requested_runs(evaluated, only)
        if not requests:
            return
        for partition, assets in requests:
            run(assets, partition)
    raise NotSettledError(f"The graph did not settle after {MAXIMUM_ROUNDS} rounds. Last: {requests[-1][1]}.")


def named_runs(
    graph: Any, instance: dg.DagsterInstance, names: Sequence[str]
) -> list[tuple[str | None, tuple[str, ...]]]:
    """(partition, assets) of each run that makes these assets: one for each batch, and one for all unpartitioned assets. Raises
    UnknownAssetError."""
    wanted: dict[str | None, set[str]] = defaultdict(set)
    for name in names:
        assets, is_partitioned = _made_together(graph, name)
        for partition in instance.get_dynamic_partitions(str(BATCHES.name)) if is_partitioned else [None]:
            wanted[partition].update(assets)
    return _batches_first(wanted)


def _made_together(graph: Any, name: str) -> tuple[tuple[str, ...], bool]:
    """What the asset's step makes, and whether it does so for each batch. Raises UnknownAssetError."""
    key = dg.AssetKey.from_user_string(name)
    if key not in graph.executable_asset_keys:
        known = sorted(k.to_user_string() for k in graph.executable_asset_keys)
        raise UnknownAssetError(f"There is no asset {name} that can be made. Known: {', '.join(known)}.")
    node = graph.get(key)
    return tuple(sorted(k.to_user_string() for k in node.execution_set_asset_keys)), node.is_partitioned


def stages_of_steps(definitions: dg.Definitions) -> dict[str, str]:
    """Step → the group of the assets that it makes or checks."""
    graph = definitions.resolve_asset_graph()
    found: dict[str, str] = {}
    for made in graph.assets_defs:
        keys = [*made.keys, *(spec.asset_key for spec in made.check_specs)]
        groups = {graph.get(key).group_name for key in keys if graph.has(key)}
        if made.is_executable and (named := sorted(name for name in groups if name)):
            found[made.op.name] = named[0]
    return found


def make_databases(instance: dg.DagsterInstance) -> None:
    """Have Dagster make its three databases now. Several services that start at once may each write a version into a new one;
    with two of them none can be opened again (1.13.27)."""
    instance.get_runs(limit=1)
    instance.get_asset_keys(limit=1)
    instance.all_instigator_state()


def fail_abandoned_runs(instance: dg.DagsterInstance) -> None:
    """Mark runs of `fine-tune materialize` or `demo` as failed whose process is gone (killed, or power was cut).

    Nobody else would: the assets would count as being made for ever. Of another machine or container nothing is known here.
    """
    for run in instance.get_runs(dg.RunsFilter(statuses=NOT_OVER)):
        machine, _, process = run.tags.get(PROCESS, "").partition(":")
        pid, _, started = process.partition("-")
        if machine == _this_machine() and not is_alive(ProcessIdentity(int(pid), int(started))):
            instance.report_run_failed(run, "The process that made this run is gone.")


def notice_sources(instance: dg.DagsterInstance) -> None:
    """What the two sensors do."""
    installation, tell = Installation(), logging.getLogger(SOURCES_LOGGER).error
    for found in (report_batches(instance, installation), report_sources(instance, installation, tell)):
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
    return _batches_first(wanted)


def _batches_first(wanted: Mapping[str | None, Iterable[str]]) -> list[tuple[str | None, tuple[str, ...]]]:
    return [
        (partition, tuple(sorted(wanted[partition])))
        for partition in sorted(wanted, key=lambda p: (p is None, p or ""))
    ]


def execute_assets(
    definitions: dg.Definitions, instance: dg.DagsterInstance, assets: tuple[str, ...], partition: str | None
) -> StageRun:
    """One run of these assets in this process, and how it ended."""
    result = definitions.resolve_implicit_global_asset_job_def().execute_in_process(
        instance=instance,
        asset_selection=[dg.AssetKey(name) for name in assets],
        partition_key=partition,
        run_config={"loggers": {"progress": {}}},
        raise_on_error=False,
        tags={"trigger": "local", PROCESS: _this_process()},
    )
    failures = [event.step_failure_data.error for event in result.all_events if event.is_step_failure]
    errors = tuple(str(error.message).strip() if error else "failed" for error in failures)
    closed = [check for check in result.get_asset_check_evaluations() if not check.passed and check.blocking]
    is_stopped = bool(failures) and all(_is_by_verdict(error, closed) for error in failures)
    why = tuple(f"{check.check_name}: {check.metadata[WHY].value}" for check in closed if WHY in check.metadata)
    return StageRun(assets, partition, result.success, result.run_id, (*errors, *why), is_stopped)


def _is_by_verdict(error: Any, closed: Sequence[dg.AssetCheckEvaluation]) -> bool:
    """Whether a step failed over the verdict alone: its own check, or a step that asked the ledger for it."""
    if error is None:
        return False
    if error.cls_name == "DagsterAssetCheckFailedError":
        return {check.check_name for check in closed} == {VERDICT_CHECK}
    return "GateClosedError: Verdict " in str(error.message)


def _this_process() -> str:
    identity = identify(os.getpid())
    assert identity is not None
    return f"{_this_machine()}:{identity.pid}-{identity.started}"


def _this_machine() -> str:
    """Of this machine and its process ids: another container counts its own. A restart makes no other machine."""
    machine = Path("/etc/machine-id")
    named = machine.read_text(encoding="utf-8").strip() if machine.is_file() else ""
    return short(fingerprint_json([named, platform.node(), os.readlink("/proc/self/ns/pid")]))
