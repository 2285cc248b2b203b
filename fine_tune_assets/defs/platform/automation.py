"""Automation conditions: an asset is materialized again when its inputs differ from those that its last run recorded.

The conditions are level-triggered: at every tick they compare the recorded data versions with the current ones, and keep no
state. `AutomationCondition.eager()` is edge-triggered and loses a change that arrives while the run that it should retrigger
is in progress (measured; dagster issue 33587).
"""

import hashlib
import warnings
from collections.abc import Collection, Iterable, Mapping, Sequence
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Any

import dagster as dg
from dagster import AutomationCondition as AC
from dagster import DagsterEventType, DagsterInstance

from fine_tune_assets.defs.platform.asset_keys import asset_key, line_tags
from fine_tune_assets.defs.platform.automation_sensor import AutomationSensor
from fine_tune_assets.defs.platform.recipe_versions import RECIPE_TAG, describe_sections, is_other_recipe

DATA_VERSION = "dagster/data_version"
CODE_VERSION = "dagster/code_version"
INPUT_VERSION = "dagster/input_data_version/"
INPUT_POINTER = "dagster/input_event_pointer/"
EVENTS_PER_READ = 500
COUNTED_ATTEMPTS: ContextVar[Collection[str] | None] = ContextVar("own_attempts", default=None)
"""Ids of the runs of the current `fine-tune materialize`. While set, only these count as attempts, so that the command
retries earlier failures and interrupted runs."""


def consumed_input_tag(name: str) -> str:
    """The tag of a materialization with the version that it consumed of this line's asset or source `name`."""
    return INPUT_VERSION + _key_path(asset_key(name))


@dataclass(frozen=True)
class RecordedEvent:
    """The newest materialization of an asset or of one of its partitions."""

    storage_id: int
    version: str | None
    tags: Mapping[str, str]
    run_id: str | None = None


def latest_event(instance: DagsterInstance, key: dg.AssetKey) -> RecordedEvent | None:
    """The newest materialization of an asset, in any partition."""
    return latest_events(instance, [key])[key]


def latest_events(instance: DagsterInstance, keys: Collection[dg.AssetKey]) -> dict[dg.AssetKey, RecordedEvent | None]:
    """The newest materializations of several assets, in one query: a tick needs about 300."""
    found: dict[dg.AssetKey, RecordedEvent | None] = dict.fromkeys(keys)
    for record in instance.get_asset_records(list(keys)) if keys else ():
        entry = record.asset_entry
        newest = entry.last_materialization_record
        if newest is not None:
            materialization = newest.asset_materialization
            tags = dict(materialization.tags or {}) if materialization else {}
            found[entry.asset_key] = RecordedEvent(newest.storage_id, tags.get(DATA_VERSION), tags, newest.run_id)
    return found


def latest_by_partition(instance: DagsterInstance, key: dg.AssetKey) -> dict[str, RecordedEvent]:
    """Partition → its newest materialization.

    Reads one event per partition and tick: Dagster indexes only the data version, so the versions that a run consumed are
    in its event.
    """
    ids = instance.event_log_storage.get_latest_storage_id_by_partition(key, DagsterEventType.ASSET_MATERIALIZATION)
    wanted, found = sorted(ids.values()), {}
    for start in range(0, len(wanted), EVENTS_PER_READ):
        chunk = wanted[start : start + EVENTS_PER_READ]
        records = instance.fetch_materializations(
            dg.AssetRecordsFilter(asset_key=key, storage_ids=chunk), limit=len(chunk)
        ).records
        for record in records:
            materialization = record.asset_materialization
            if materialization is not None and materialization.partition is not None:
                tags = dict(materialization.tags or {})
                found[materialization.partition] = RecordedEvent(
                    record.storage_id, tags.get(DATA_VERSION), tags, record.run_id
                )
    return found


def batch_versions(instance: DagsterInstance, key: dg.AssetKey, batches: Sequence[str] | None = None) -> dict[str, str]:
    """Batch → the last reported version of a source, for these batches or all of them (None)."""
    tags = instance.event_log_storage.get_latest_tags_by_partition(
        key, DagsterEventType.ASSET_MATERIALIZATION, [DATA_VERSION], asset_partitions=batches
    )
    return {batch: found[DATA_VERSION] for batch, found in tags.items() if DATA_VERSION in found}


def batch_event(key: dg.AssetKey, batch: str, version: str) -> dg.AssetMaterialization:
    return dg.AssetMaterialization(key, partition=batch, tags={DATA_VERSION: version})


def is_input_changed(parent: str, now: RecordedEvent, version: str | None, tags: Mapping[str, str]) -> bool:
    """Whether a parent differs from the one that the last run consumed. Without a version, any newer event counts."""
    if version is None:
        return now.storage_id > int(tags.get(INPUT_POINTER + parent) or 0)
    return version != tags.get(INPUT_VERSION + parent)


def consumed_version(version: str | None) -> str | None:
    """What Dagster records for consumed partitions: a hash over their versions, here a single one."""
    return None if version is None else hashlib.sha256(version.encode()).hexdigest()


class WholeAssetCondition(AC):
    """A condition that is true or false for the whole asset. Skips the evaluation for an empty subset, so that it costs
    nothing after a false operand."""

    def is_true(self, context: Any) -> bool:
        raise NotImplementedError

    def evaluate(self, context: Any) -> dg.AutomationResult:
        is_met = not context.candidate_subset.is_empty and self.is_true(context)
        return dg.AutomationResult(context, context.candidate_subset if is_met else context.get_empty_subset())


class InputsChanged(AC):
    """True if an input differs from the one last consumed, the asset was never materialized, or its code version changed;
    unless a run over exactly this state failed or was cancelled.

    `ignored`: declared dependencies whose changes don't trigger the asset.
    """

    name = "inputs_changed"
    description = "The recorded inputs differ from the current ones"

    def __init__(self, ignored: Collection[str] = ()) -> None:
        self.ignored = frozenset(map(asset_key, ignored))

    def evaluate(self, context: Any) -> dg.AutomationResult:
        if context.candidate_subset.is_empty:
            return dg.AutomationResult(context, context.candidate_subset)
        graph, instance = context.asset_graph_view.asset_graph, context.asset_graph_view.instance
        node = graph.get(context.key)
        if node.is_partitioned:
            subset = _changed_partitions(context, graph, node, instance)
        else:
            differs = has_changed_inputs(graph, node, instance)
            subset = context.candidate_subset if differs else context.get_empty_subset()
        return dg.AutomationResult(context, subset)


def triggering_inputs(node: Any) -> set[dg.AssetKey]:
    """The dependencies of an asset whose changes trigger it."""
    return set(node.parent_keys) - ignored_inputs(node.automation_condition)


def ignored_inputs(condition: AC | None) -> set[dg.AssetKey]:
    """The dependencies that an asset's condition names as `ignored`."""
    if condition is None:
        return set()
    own = condition.ignored if isinstance(condition, InputsChanged) else ()
    return {*own}.union(*map(ignored_inputs, condition.children))


def has_changed_inputs(graph: Any, node: Any, instance: DagsterInstance) -> bool:
    """`InputsChanged` for an unpartitioned asset."""
    parents = latest_events(instance, [*node.parent_keys, node.key])
    last, triggering = parents.pop(node.key), triggering_inputs(node)
    inputs = {key: parent for key, parent in parents.items() if key in triggering}
    if last is not None and not _has_changed_input(graph, node, inputs, last):
        return False
    return _is_unattempted(graph, instance, node, last, inputs, parents)


def _has_changed_input(
    graph: Any, node: Any, parents: Mapping[dg.AssetKey, RecordedEvent | None], last: RecordedEvent
) -> bool:
    """Compare an asset, or one of its partitions, with its `parents` in the same partition."""
    if node.code_version and node.code_version != last.tags.get(CODE_VERSION):
        return True

    def comparable(key: dg.AssetKey, version: str | None) -> str | None:
        if not graph.get(key).is_partitioned:
            return version
        # A single version can't represent many partitions.
        return consumed_version(version) if node.is_partitioned else None

    return any(
        is_input_changed(_key_path(key), now, comparable(key, now.version), last.tags)
        for key, now in parents.items()
        if now is not None
    )


def _changed_partitions(context: Any, graph: Any, node: Any, instance: DagsterInstance) -> Any:
    own = latest_by_partition(instance, node.key)
    single = latest_events(instance, [k for k in triggering_inputs(node) if not graph.get(k).is_partitioned])
    many = {k: latest_by_partition(instance, k) for k in triggering_inputs(node) if graph.get(k).is_partitioned}
    attempts = instance.event_log_storage.get_latest_asset_partition_materialization_attempts_without_materializations(
        node.key
    )
    wanted = set()
    for partition in context.candidate_subset.expensively_compute_partition_keys():
        parents = {**single, **{key: found.get(partition) for key, found in many.items()}}
        last = own.get(partition)
        if last is not None and not _has_changed_input(graph, node, parents, last):
            continue
        attempt = attempts.get(partition)
        version = node.code_version
        if attempt is None or not _is_attempted(instance, attempt[0], attempt[1], parents.values(), version):
            wanted.add(partition)
    view = context.asset_graph_view
    candidates = context.candidate_subset.expensively_compute_asset_partitions()
    subset = view.get_asset_subset_from_asset_partitions(node.key, {c for c in candidates if c.partition_key in wanted})
    return context.candidate_subset.compute_intersection(subset)


def list_changed_batches(instance: DagsterInstance, key: dg.AssetKey, parent: dg.AssetKey) -> list[str]:
    """Batches whose `parent` differs from the one that an asset consumed, except those whose run over it failed."""
    inputs, own = latest_by_partition(instance, parent), latest_by_partition(instance, key)
    attempts = instance.event_log_storage.get_latest_asset_partition_materialization_attempts_without_materializations(
        key
    )

    def is_due(batch: str, now: RecordedEvent) -> bool:
        last, attempt = own.get(batch), attempts.get(batch)
        version = consumed_version(now.version)
        if last is not None and not is_input_changed(_key_path(parent), now, version, last.tags):
            return False
        return attempt is None or not _is_attempted(instance, attempt[0], attempt[1], [now])

    return [batch for batch, now in sorted(inputs.items()) if is_due(batch, now)]


def _is_unattempted(
    graph: Any,
    instance: DagsterInstance,
    node: Any,
    last: RecordedEvent | None,
    inputs: Mapping[dg.AssetKey, RecordedEvent | None],
    declared: Mapping[dg.AssetKey, RecordedEvent | None],
) -> bool:
    """Whether the newest run planned for an unpartitioned asset materialized it, or was not an attempt at the current inputs
    and the current recipe.

    `declared`: every dependency, including ignored ones. If one of them failed in that run, Dagster skipped the asset's step;
    then a newer state of that dependency counts as well.
    """
    key = node.key
    planned = instance.event_log_storage.get_latest_planned_materialization_info(key)
    if planned is None or (last is not None and last.run_id == planned.run_id):
        return True
    run_id, planned_at = planned.run_id, planned.storage_id
    if _had_other_recipe(instance, run_id, node.code_version):
        return True
    if not _is_attempted(instance, run_id, planned_at, inputs.values()):
        newer = {parent: now for parent, now in inputs.items() if now is not None and now.storage_id > planned_at}
        started_at = _stopped_step(instance, run_id, key)
        return started_at is None or _has_other_content(graph, instance, started_at, newer)
    was_skipped = len(declared) > len(inputs) and _step_start(instance, run_id, key) is None
    return was_skipped and not _is_attempted(instance, run_id, planned_at, declared.values())


def _stopped_step(instance: DagsterInstance, run_id: str, key: dg.AssetKey) -> float | None:
    """When this asset's step started, if its run was cancelled after that, which usually a person does."""
    if COUNTED_ATTEMPTS.get() is not None:  # `fine-tune materialize` repeats cancelled runs
        return None
    run = instance.get_run_by_id(run_id)
    is_cancelled = run is not None and run.status is dg.DagsterRunStatus.CANCELED
    return _step_start(instance, run_id, key) if is_cancelled else None


def _has_other_content(
    graph: Any, instance: DagsterInstance, started_at: float, newer: Mapping[dg.AssetKey, RecordedEvent]
) -> bool:
    """Whether one of these newer inputs has another version than when the step started. The same content does not undo a
    cancellation. A single version can't represent many partitions, so any newer event of a partitioned input counts."""
    return any(
        graph.get(key).is_partitioned or now.version is None or now.version != _version_at(instance, key, started_at)
        for key, now in newer.items()
    )


def _version_at(instance: DagsterInstance, key: dg.AssetKey, timestamp: float) -> str | None:
    """The data version of the newest materialization before that time."""
    before = dg.AssetRecordsFilter(asset_key=key, before_timestamp=timestamp)
    for record in instance.fetch_materializations(before, limit=1).records:
        if record.asset_materialization is not None:
            return (record.asset_materialization.tags or {}).get(DATA_VERSION)
    return None


def _step_start(instance: DagsterInstance, run_id: str, key: dg.AssetKey) -> float | None:
    """When the step that materializes the asset started in this run; None if it was not started."""
    planned, started = dg.DagsterEventType.ASSET_MATERIALIZATION_PLANNED, dg.DagsterEventType.STEP_START
    entries = instance.all_logs(run_id, of_type={planned, started})
    events = [(entry.timestamp, entry.get_dagster_event()) for entry in entries]
    steps = {event.step_key for _, event in events if event.event_type is planned and event.asset_key == key}
    return next((at for at, event in events if event.event_type is started and event.step_key in steps), None)


def _is_attempted(
    instance: DagsterInstance,
    run_id: str,
    planned_at: int,
    parents: Iterable[RecordedEvent | None],
    code_version: str | None = None,
) -> bool:
    """Whether a run over the current inputs failed or was cancelled. Such a run is not repeated automatically.

    With an asset's `code_version`, a run that started with another recipe is no such run.
    """
    own = COUNTED_ATTEMPTS.get()
    if own is not None and run_id not in own:
        return False
    run = instance.get_run_by_id(run_id)
    if run is None or not run.is_failure_or_canceled or _had_other_recipe(instance, run_id, code_version):
        return False
    return not any(parent is not None and parent.storage_id > planned_at for parent in parents)


def _had_other_recipe(instance: DagsterInstance, run_id: str, code_version: str | None) -> bool:
    """Whether a run started with another state of the sections of this code version.

    `fine-tune materialize` keeps the definitions that it began with, so every run of its own counts.
    """
    run = instance.get_run_by_id(run_id) if COUNTED_ATTEMPTS.get() is None else None
    return run is not None and is_other_recipe(run.tags, code_version)


def _key_path(key: dg.AssetKey) -> str:
    return "/".join(key.path)


class InputsPresent(WholeAssetCondition):
    """True if every triggering input exists. One partition of a partitioned input is enough for an unpartitioned asset, so that
    an unreadable batch does not block the others."""

    name = "inputs_present"
    description = "Every input was materialized"

    def is_true(self, context: Any) -> bool:
        graph, instance = context.asset_graph_view.asset_graph, context.asset_graph_view.instance
        return all(latest_events(instance, triggering_inputs(graph.get(context.key))).values())


def ready_to_run() -> AC:
    """No dependency is in progress, the asset itself is not in progress, and every blocking check of its dependencies passed.

    Must come first in every condition. Dagster evaluates operands one after the other: a run that ends in between would
    otherwise look neither finished nor in progress, and would be started again.
    """
    return ~AC.any_deps_in_progress() & ~AC.in_progress() & AC.all_deps_blocking_checks_passed()


def inputs_are_final() -> AC:
    """No input is requested in this tick. Otherwise the asset would run concurrently, or on an input about to be replaced."""
    return ~AC.any_deps_match(AC.will_be_requested())


def on_new_inputs(*also: AC, ignored: Collection[str] = (), label: str = "on_new_inputs") -> AC:
    """For expensive assets: wait until every input is final, and run only if one of them changed.

    `also`: further conditions. `ignored`: dependencies that neither delay nor trigger the asset.
    """
    condition = ready_to_run() & inputs_are_final() & InputsPresent() & InputsChanged(ignored)
    for further in also:
        condition = condition & further
    return _ignore_inputs(ignored, condition).with_label(label)


def _ignore_inputs(ignored: Collection[str], condition: Any) -> Any:
    """Make Dagster's own operands ignore these dependencies. Ours use `triggering_inputs`."""
    return condition.ignore(dg.AssetSelection.assets(*map(asset_key, ignored))) if ignored else condition


class SourceChanged(WholeAssetCondition):
    """True if one source differs from the version last consumed, unless a run over the current version failed."""

    def __init__(self, source: str) -> None:
        self._source = asset_key(source)

    @property
    def name(self) -> str:
        return f"source_changed: {_key_path(self._source)}"

    @property
    def description(self) -> str:
        return f"The recorded version of {_key_path(self._source)} differs from the current one"

    def is_true(self, context: Any) -> bool:
        graph, instance = context.asset_graph_view.asset_graph, context.asset_graph_view.instance
        last, now = latest_events(instance, [context.key, self._source]).values()
        if last is None or now is None or not is_input_changed(_key_path(self._source), now, now.version, last.tags):
            return False
        node = graph.get(context.key)
        return _is_unattempted(graph, instance, node, last, {self._source: now}, {self._source: now})


def on_new_inputs_or_source(source: str, *, ignored: Collection[str] = ()) -> AC:
    """`on_new_inputs`, and immediately when this source changed.

    The immediate run uses the other inputs as they are and does not wait for those in progress; the asset runs again when
    they are ready. For rows that must leave a table without delay.
    """
    at_once = ~AC.in_progress() & InputsPresent() & SourceChanged(source)
    return (on_new_inputs(ignored=ignored) | at_once).with_label("on_new_inputs_or_source")


def with_new_inputs(*also: AC, ignored: Collection[str] = (), label: str = "with_new_inputs") -> AC:
    """For cheap assets: join the run that rebuilds an input. `also` and `ignored`: as for `on_new_inputs`."""
    is_input_requested = AC.any_deps_match(AC.will_be_requested())
    condition = ready_to_run() & InputsPresent() & (InputsChanged(ignored) | is_input_requested)
    for further in also:
        condition = condition & further
    return _ignore_inputs(ignored, condition).with_label(label)


def on_new_batches(optional: dg.AssetSelection | None = None) -> AC:
    """For a partitioned asset: run only the batches whose inputs changed. `optional` inputs may be missing."""
    missing = AC.any_deps_match(AC.missing())
    missing = missing if optional is None else missing.ignore(optional)
    return (ready_to_run() & inputs_are_final() & ~missing & InputsChanged()).with_label("on_new_batches")


def build_automation_sensor(sections: Mapping[str, str]) -> AutomationSensor:
    """`sections`: of the recipe that the definitions are loaded with; empty if it can't be read."""
    recipe = {RECIPE_TAG: describe_sections(sections)} if sections else {}
    with warnings.catch_warnings():
        # Two parameters are in beta, and every step process would print a warning. Dagster is pinned.
        warnings.simplefilter("ignore", dg.BetaWarning)
        return AutomationSensor(
            "automation",
            target=dg.AssetSelection.all(include_sources=True) | dg.AssetSelection.all_asset_checks(),
            # Custom conditions are silently ignored without it.
            use_user_code_server=True,
            minimum_interval_seconds=5,
            description="Evaluates the automation conditions and starts runs.",
            default_status=dg.DefaultSensorStatus.RUNNING,
            run_tags={"trigger": "automation", **line_tags(), **recipe},
        )
