"""Brings every asset up to date in this process, without a daemon.

Evaluates the same sensors and automation conditions as `make up`, and executes the requested runs until none is requested.
Used by `fine-tune materialize`, the demo and the tests of the whole graph.
"""

import logging
import os
import platform
import re
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import dagster as dg

from fine_tune_assets.core.errors import FineTuneError
from fine_tune_assets.core.fingerprints import fingerprint_json, short
from fine_tune_assets.core.processes.fork_server import fork_server
from fine_tune_assets.defs.platform.asset_keys import asset_key, asset_name
from fine_tune_assets.defs.platform.automation import CODE_VERSION, COUNTED_ATTEMPTS, latest_events
from fine_tune_assets.defs.platform.automation_sensor import evaluate_conditions
from fine_tune_assets.defs.platform.candidate import UNFINISHED_STATUSES
from fine_tune_assets.defs.platform.check_remedies import CHECK_REMEDIES
from fine_tune_assets.defs.platform.metadata import REASON
from fine_tune_assets.defs.platform.recipe_versions import list_changed_sections
from fine_tune_assets.defs.platform.resources import WORKER_PRELOADS, Installation
from fine_tune_assets.defs.s01_raw_reports.raw_reports import BATCHES, report_batches
from fine_tune_assets.defs.s02_scrubbed_reports.rescrub_requests import list_requested_batches, report_rescrub_requests
from fine_tune_assets.defs.sources import report_sources
from fine_tune_assets.engines.processes import ProcessIdentity, identify, is_alive

PROGRESS_LOGGER = "fine_tune_assets.progress"
SOURCES_LOGGER = "fine_tune_assets.sources"
MAX_ROUNDS = 200
"""The graph settles in about fifteen rounds. More than this means a condition that never becomes false, which is a bug."""
SCRUBBING_ASSETS = ("phi_spans", "scrubbed_reports")
VERDICT_CHECK = "verdict_allows_release"
"""The blocking check of `promotion_verdicts`."""
PROCESS_TAG = "fine_tune/process"
"""Tag of a run that a `fine-tune` process executes: the machine, the process id and its start time."""


class NotSettledError(FineTuneError):
    """The automation conditions still requested runs after MAX_ROUNDS rounds."""


class UnknownAssetError(FineTuneError):
    """No asset has that name, or it can't be materialized."""


@dataclass(frozen=True)
class CheckOutcome:
    """The result of a check that only warns."""

    asset: str
    check: str
    partition: str | None
    is_passed: bool
    reason: str

    def describe(self) -> str:
        batch = f" [{self.partition}]" if self.partition else ""
        remedy = CHECK_REMEDIES.get(self.check, "The Dagster UI shows its figures.")
        return " ".join(filter(None, (f"{self.check} of {self.asset}{batch}.", self.reason, remedy)))


@dataclass(frozen=True)
class StageRun:
    """One run: its assets and, for a batch, its partition."""

    assets: tuple[str, ...]
    partition: str | None
    is_success: bool
    run_id: str
    errors: tuple[str, ...] = ()
    is_blocked_by_verdict: bool = False
    """The run stopped only because the newest verdict does not allow a release."""
    checks: tuple[CheckOutcome, ...] = ()
    failed_steps: tuple[str, ...] = ()
    not_run: int = 0
    """Assets that were not materialized because another one failed."""

    @property
    def name(self) -> str:
        """The assets, or of a failed run those that failed, and the batch."""
        batch = f" [{self.partition}]" if self.partition else ""
        later = f" ({self.not_run} more assets of this run were not materialized)" if self.not_run else ""
        return ", ".join(self.failed_steps or self.assets) + batch + later


RunCallback = Callable[[StageRun], None]


@dataclass
class Summary:
    runs: list[StageRun] = field(default_factory=list)
    unfinished: tuple[str, ...] = ()
    """Runs of other processes that have not ended. Their assets were skipped."""

    @property
    def materialized(self) -> list[tuple[str, str | None]]:
        return [(asset, run.partition) for run in self.runs for asset in run.assets]

    @property
    def warnings(self) -> list[str]:
        """Checks of severity WARN that failed at their last run here, each with its reason and what mends it."""
        last = {(check.asset, check.check, check.partition): check for run in self.runs for check in run.checks}
        return [check.describe() for check in last.values() if not check.is_passed]

    @property
    def failed(self) -> list[StageRun]:
        return [run for run in self.runs if not run.is_success]


@dg.logger
def progress_logger(_context: dg.InitLoggerContext) -> logging.Logger:
    """Forwards log lines and step events to the handlers of PROGRESS_LOGGER."""
    logger = logging.getLogger(PROGRESS_LOGGER)
    logger.setLevel(logging.DEBUG)
    logger.propagate = False
    return logger


def materialize_stale(
    definitions: dg.Definitions,
    instance: dg.DagsterInstance,
    on_end: RunCallback = lambda _run: None,
    only: set[str] | None = None,
    forced: Sequence[str] = (),
) -> Summary:
    """Materialize the assets `forced`, then every asset that is out of date, failed or was interrupted.

    `only` limits the second part to these assets; an empty set skips it. Gates are part of the steps, so they apply here too.
    Raises UnknownAssetError, NotSettledError.
    """
    fail_abandoned_runs(instance)
    report_source_changes(instance)
    wanted = plan_runs(definitions.resolve_asset_graph(), instance, forced)
    summary = Summary()
    own: set[str] = set()

    def run(assets: tuple[str, ...], partition: str | None) -> None:
        done = execute_assets(definitions, instance, assets, partition)
        own.add(done.run_id)
        summary.runs.append(done)
        on_end(done)

    token = COUNTED_ATTEMPTS.set(own)
    try:
        with fork_server(WORKER_PRELOADS):
            for partition, assets in wanted:
                if "unique_reports" in assets:  # the batches come before it
                    _scrub_requested(instance, run)
                run(assets, partition)
            if any("scrubbed_reports" in assets for _, assets in wanted):
                _scrub_requested(instance, run)
            if only is None or only:
                _run_requested(definitions, instance, only, run)
    finally:
        COUNTED_ATTEMPTS.reset(token)
    summary.unfinished = tuple(run.run_id for run in instance.get_runs(dg.RunsFilter(statuses=UNFINISHED_STATUSES)))
    return summary


def _scrub_requested(instance: dg.DagsterInstance, run: Callable[[tuple[str, ...], str | None], None]) -> None:
    """Scrub the batches that must be scrubbed again before their reports can be used, once each."""
    for event in report_rescrub_requests(instance, Installation(), waits_for_batches=False):
        instance.report_runless_asset_event(event)
    for batch in list_requested_batches(instance):
        run(SCRUBBING_ASSETS, batch)


def _run_requested(
    definitions: dg.Definitions,
    instance: dg.DagsterInstance,
    only: set[str] | None,
    run: Callable[[tuple[str, ...], str | None], None],
) -> None:
    """Evaluate the automation conditions and run what they request, until they request nothing. Raises NotSettledError."""
    cursor, requests = None, []
    for _ in range(MAX_ROUNDS):
        report_source_changes(instance)
        evaluated = evaluate_conditions(definitions, instance, cursor)
        cursor = evaluated.cursor
        requests = requested_runs(evaluated, only)
        if not requests:
            return
        for partition, assets in requests:
            run(assets, partition)
    raise NotSettledError(
        f"The automation conditions still request runs after {MAX_ROUNDS} rounds. Last requested: {requests[-1][1]}."
    )


def select_assets(definitions: dg.Definitions, selections: Sequence[str]) -> list[str]:
    """Names of the materializable assets that match any of `selections` (Dagster's selection syntax), in dependency order.

    Raises UnknownAssetError if a selection is invalid or matches no materializable asset.
    """
    graph = definitions.resolve_asset_graph()
    known = ", ".join(sorted(map(asset_name, graph.executable_asset_keys)))
    selected: set[dg.AssetKey] = set()
    for text in selections:
        try:
            found = dg.AssetSelection.from_string(_with_key(text)).resolve(graph) & graph.executable_asset_keys
        except dg.DagsterError as error:
            raise UnknownAssetError(f"{text} is not a valid asset selection: {error}. Assets: {known}.") from error
        if not found:
            raise UnknownAssetError(f"The selection {text} matches no asset that can be materialized. Assets: {known}.")
        selected |= found
    return [asset_name(key) for key in graph.toposorted_asset_keys if key in selected]


def _with_key(text: str) -> str:
    """`+name` as `+key:"name"`. Dagster reads a name without `key:` in its older syntax, where `+` is one level only."""
    bare = re.fullmatch(r"(\d*\+)?(\w+)(\+\d*)?", text)
    return text if bare is None else f'{bare[1] or ""}key:"{asset_key(bare[2]).to_user_string()}"{bare[3] or ""}'


def preview_runs(
    definitions: dg.Definitions, instance: dg.DagsterInstance, names: Sequence[str]
) -> list[tuple[str | None, tuple[str, ...]]]:
    """(partition, assets) of the runs that would materialize these assets, without starting them.

    Without names: the first runs that the automation conditions request, given the source changes recorded so far.
    """
    if names:
        return plan_runs(definitions.resolve_asset_graph(), instance, names)
    return requested_runs(evaluate_conditions(definitions, instance, None), None)


def plan_runs(
    graph: Any, instance: dg.DagsterInstance, names: Sequence[str]
) -> list[tuple[str | None, tuple[str, ...]]]:
    """(partition, assets) of each run that materializes these assets, in the order in which they need each other.

    One run per batch, one before for the unpartitioned assets that batches read, and one after for the others. Raises
    UnknownAssetError.
    """
    wanted: dict[str | None, set[str]] = defaultdict(set)
    for name in names:
        assets, is_partitioned = _execution_set(graph, name)
        for partition in instance.get_dynamic_partitions(str(BATCHES.name)) if is_partitioned else [None]:
            wanted[partition].update(assets)
    read_by_batches = _find_read_by_batches(graph, wanted)
    first = [(None, tuple(sorted(read_by_batches)))] if read_by_batches else []
    rest = {partition: assets - read_by_batches for partition, assets in wanted.items()}
    return [*first, *_batches_first({partition: assets for partition, assets in rest.items() if assets})]


def _find_read_by_batches(graph: Any, wanted: Mapping[str | None, set[str]]) -> set[str]:
    """The unpartitioned assets among these that a batch reads and that read no batch, such as the measured recall."""
    of_batches = [asset_key(name) for partition, assets in wanted.items() if partition is not None for name in assets]
    if not of_batches:
        return set()
    batches = dg.AssetSelection.assets(*of_batches)
    read, reading = (related.resolve(graph) for related in (batches.upstream(), batches.downstream()))
    return {name for name in wanted.get(None, ()) if asset_key(name) in read - reading}


def _execution_set(graph: Any, name: str) -> tuple[tuple[str, ...], bool]:
    """All assets of the step that materializes this one, and whether they are partitioned. Raises UnknownAssetError."""
    key = asset_key(name)
    if key not in graph.executable_asset_keys:
        known = sorted(map(asset_name, graph.executable_asset_keys))
        raise UnknownAssetError(f"There is no asset {name} that can be materialized. Assets: {', '.join(known)}.")
    node = graph.get(key)
    return tuple(sorted(map(asset_name, node.execution_set_asset_keys))), node.is_partitioned


def map_steps_to_stages(definitions: dg.Definitions) -> dict[str, str]:
    """Step → the group of the assets that it materializes or checks."""
    graph = definitions.resolve_asset_graph()
    found: dict[str, str] = {}
    for assets_def in graph.assets_defs:
        keys = [*assets_def.keys, *(spec.asset_key for spec in assets_def.check_specs)]
        groups = {graph.get(key).group_name for key in keys if graph.has(key)}
        if assets_def.is_executable and (named := sorted(name for name in groups if name)):
            found[assets_def.op.name] = named[0]
    return found


def create_databases(instance: dg.DagsterInstance) -> None:
    """Create Dagster's three databases before services start.

    Services that start at the same time may each write a schema version into a new database. With two versions in it,
    Dagster 1.13.27 can't open it any longer.
    """
    instance.get_runs(limit=1)
    instance.get_asset_keys(limit=1)
    instance.all_instigator_state()


def fail_abandoned_runs(instance: dg.DagsterInstance) -> None:
    """Mark runs of `fine-tune materialize` or `demo` as failed if their process no longer exists (killed, or power failure).

    Otherwise their assets would count as in progress forever. Skips runs of other machines or containers.
    """
    for run in instance.get_runs(dg.RunsFilter(statuses=UNFINISHED_STATUSES)):
        machine, _, process = run.tags.get(PROCESS_TAG, "").partition(":")
        pid, _, started = process.partition("-")
        if machine == _machine_id() and not is_alive(ProcessIdentity(int(pid), int(started))):
            instance.report_run_failed(run, f"Process {pid} of this run no longer exists.")


def report_source_changes(instance: dg.DagsterInstance) -> None:
    """Record changed sources and batches, as the sensors of the daemon do."""
    installation, log_error = Installation(), logging.getLogger(SOURCES_LOGGER).error
    for found in (report_batches(instance, installation), report_sources(instance, installation, log_error)):
        if isinstance(found, dg.SkipReason):
            continue
        for request in found.dynamic_partitions_requests or []:
            instance.add_dynamic_partitions(request.partitions_def_name, list(request.partition_keys))
        for event in found.asset_events:
            instance.report_runless_asset_event(event)


def list_unrecorded_changes(instance: dg.DagsterInstance) -> list[str]:
    """Names of the sources whose change is not recorded yet. Records nothing."""
    found = report_sources(instance, Installation(), logging.getLogger(SOURCES_LOGGER).error)
    events = [] if isinstance(found, dg.SkipReason) else found.asset_events
    return sorted({asset_name(event.asset_key) for event in events if isinstance(event, dg.AssetMaterialization)})


def list_recipe_changes(definitions: dg.Definitions, instance: dg.DagsterInstance) -> list[str]:
    """Sections of the recipe that have changed since an asset was last materialized."""
    versions = {
        node.key: node.code_version for node in definitions.resolve_asset_graph().asset_nodes if node.code_version
    }
    changed: set[str] = set()
    for key, last in latest_events(instance, versions).items():
        changed |= set(list_changed_sections(last.tags.get(CODE_VERSION), versions[key]) if last is not None else ())
    return sorted(changed)


def requested_runs(evaluated: Any, only: set[str] | None) -> list[tuple[str | None, tuple[str, ...]]]:
    """(partition, assets) of each requested run: one per batch, and one for all unpartitioned assets."""
    wanted: dict[str | None, list[str]] = defaultdict(list)
    for result in evaluated.results:
        name = "" if not isinstance(result.key, dg.AssetKey) else asset_name(result.key)
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
    """Run these assets in this process and report how the run ended."""
    result = definitions.resolve_implicit_global_asset_job_def().execute_in_process(
        instance=instance,
        asset_selection=[asset_key(name) for name in assets],
        partition_key=partition,
        run_config={"loggers": {"progress": {}}},
        raise_on_error=False,
        tags={"trigger": "local", PROCESS_TAG: _process_tag()},
    )
    return describe_run(assets, partition, result.run_id, result.success, result.all_events)


def describe_run(
    assets: tuple[str, ...], partition: str | None, run_id: str, is_success: bool, events: Sequence[dg.DagsterEvent]
) -> StageRun:
    """How a run ended, by its events."""
    failed = [event for event in events if event.is_step_failure]
    failures = [event.step_failure_data.error for event in failed]
    steps = tuple(dict.fromkeys(str(event.step_key).split("__")[-1] for event in failed))
    done = {asset_name(event.asset_key) for event in events if event.is_step_materialization and event.asset_key}
    errors = tuple(_describe_error(error) if error else "failed" for error in failures)
    evaluations = [
        event.asset_check_evaluation_data
        for event in events
        if event.event_type is dg.DagsterEventType.ASSET_CHECK_EVALUATION
    ]
    closed = [check for check in evaluations if not check.passed and check.blocking]
    is_stopped = bool(failures) and all(_is_verdict_failure(error, closed) for error in failures)
    reasons = tuple(f"{c.check_name}: {c.metadata[REASON].value}" for c in closed if REASON in c.metadata)
    checks = tuple(
        CheckOutcome(
            asset_name(check.asset_key),
            check.check_name,
            check.partition or None,
            check.passed,
            str(check.metadata[REASON].value) if REASON in check.metadata else "",
        )
        for check in evaluations
        if not check.blocking and (check.passed or check.severity is dg.AssetCheckSeverity.WARN)
    )
    not_run = len({*assets} - done - {*steps}) if steps else 0
    return StageRun(assets, partition, is_success, run_id, (*errors, *reasons), is_stopped, checks, steps, not_run)


def _describe_error(error: Any) -> str:
    """The message with that of the first cause that is an error of our own, or else with the class of the last cause: the message
    of an unexpected error may quote a report."""
    message, causes, own = str(error.message).strip(), [], _list_error_names(FineTuneError)
    while error.cause is not None:
        causes.append(error := error.cause)
    if not causes:
        return message
    expected = next((cause for cause in causes if cause.cls_name in own), None)
    return f"{message} {expected.message if expected else f'{causes[-1].cls_name}; the Dagster UI has its details.'}".strip()


def _list_error_names(base: type[FineTuneError]) -> set[str]:
    """Names of the class and everything below it."""
    return {base.__name__}.union(*map(_list_error_names, base.__subclasses__()))


def _is_verdict_failure(error: Any, closed: Sequence[dg.AssetCheckEvaluation]) -> bool:
    """Whether the verdict alone failed a step: through its blocking check, or through the gate that reads the ledger."""
    if error is None:
        return False
    if error.cls_name == "DagsterAssetCheckFailedError":
        return {check.check_name for check in closed} == {VERDICT_CHECK}
    return "GateClosedError: Verdict " in str(error.message)


def _process_tag() -> str:
    identity = identify(os.getpid())
    assert identity is not None
    return f"{_machine_id()}:{identity.pid}-{identity.start_ticks}"


def _machine_id() -> str:
    """Identify this machine and its process namespace, since each container numbers its own processes. Survives a restart."""
    machine = Path("/etc/machine-id")
    named = machine.read_text(encoding="utf-8").strip() if machine.is_file() else ""
    return short(fingerprint_json([named, platform.node(), os.readlink("/proc/self/ns/pid")]))
