"""When assets follow their inputs: level-triggered conditions that remember nothing, so that nothing is lost.

Owns the conditions and the one automation sensor. `AutomationCondition.eager()` is edge-triggered and loses a change that
arrives while the run that it should retrigger is going on (measured; dagster issue 33587). These compare the data versions
that the last run recorded with the present ones, at every tick. Must not hold: what any stage does.
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
from dagster._core.definitions.events import AssetKeyPartitionKey

from fine_tune_assets.defs.platform.automation_sensor import AutomationSensor

DATA_VERSION = "dagster/data_version"
CODE_VERSION = "dagster/code_version"
INPUT_VERSION = "dagster/input_data_version/"
INPUT_POINTER = "dagster/input_event_pointer/"
READ_AT_ONCE = 500
OWN_ATTEMPTS: ContextVar[Collection[str] | None] = ContextVar("own_attempts", default=None)
"""Set while a person brings everything up to date: the ids of the runs of that call. Only these count as attempts then, so
that what failed or was cut off before is tried once more."""


@dataclass(frozen=True)
class Known:
    """What is recorded of an asset, or of one partition of it."""

    storage_id: int
    version: str | None
    tags: Mapping[str, str]
    run_id: str | None = None


def latest_event(instance: DagsterInstance, key: dg.AssetKey) -> Known | None:
    """The newest materialization of an unpartitioned asset (of any partition, for a partitioned one)."""
    return latest_events(instance, [key])[key]


def latest_events(instance: DagsterInstance, keys: Collection[dg.AssetKey]) -> dict[dg.AssetKey, Known | None]:
    """The same of several, in one query: a tick asks some 300 times."""
    found: dict[dg.AssetKey, Known | None] = dict.fromkeys(keys)
    for record in instance.get_asset_records(list(keys)) if keys else ():
        entry = record.asset_entry
        newest = entry.last_materialization_record
        if newest is not None:
            materialization = newest.asset_materialization
            tags = dict(materialization.tags or {}) if materialization else {}
            found[entry.asset_key] = Known(newest.storage_id, tags.get(DATA_VERSION), tags, newest.run_id)
    return found


def latest_by_partition(instance: DagsterInstance, key: dg.AssetKey) -> dict[str, Known]:
    """Partition → its newest materialization.

    Costs a read of one event a partition and tick. Dagster indexes no other tag than the data version, so what a run
    consumed has to be read from its event.
    """
    ids = instance.event_log_storage.get_latest_storage_id_by_partition(key, DagsterEventType.ASSET_MATERIALIZATION)
    wanted, found = sorted(ids.values()), {}
    for start in range(0, len(wanted), READ_AT_ONCE):
        chunk = wanted[start : start + READ_AT_ONCE]
        records = instance.fetch_materializations(
            dg.AssetRecordsFilter(asset_key=key, storage_ids=chunk), limit=len(chunk)
        ).records
        for record in records:
            materialization = record.asset_materialization
            if materialization is not None and materialization.partition is not None:
                tags = dict(materialization.tags or {})
                found[materialization.partition] = Known(record.storage_id, tags.get(DATA_VERSION), tags, record.run_id)
    return found


def batch_versions(instance: DagsterInstance, key: dg.AssetKey, batches: Sequence[str] | None = None) -> dict[str, str]:
    """Batch → the version of a source that was last reported for it; of all batches (None) or of these."""
    tags = instance.event_log_storage.get_latest_tags_by_partition(
        key, DagsterEventType.ASSET_MATERIALIZATION, [DATA_VERSION], asset_partitions=batches
    )
    return {batch: found[DATA_VERSION] for batch, found in tags.items() if DATA_VERSION in found}


def batch_event(key: dg.AssetKey, batch: str, version: str) -> dg.AssetMaterialization:
    return dg.AssetMaterialization(key, partition=batch, tags={DATA_VERSION: version})


def input_differs(parent: str, now: Known, version: str | None, tags: Mapping[str, str]) -> bool:
    """Whether a parent is another one than the last run consumed. Without a version to compare any newer event counts."""
    if version is None:
        return now.storage_id > int(tags.get(INPUT_POINTER + parent) or 0)
    return version != tags.get(INPUT_VERSION + parent)


def version_as_consumed(version: str | None) -> str | None:
    """What Dagster records of a partition that a run consumed: a hash over the versions of all that it took, here one."""
    return None if version is None else hashlib.sha256(version.encode()).hexdigest()


class WholeAsset(AC):
    """True or false of the whole asset. Reads nothing for an empty subset: in a condition whose first parts are false it costs
    nothing."""

    def is_true(self, context: Any) -> bool:
        raise NotImplementedError

    def evaluate(self, context: Any) -> dg.AutomationResult:
        holds = not context.candidate_subset.is_empty and self.is_true(context)
        return dg.AutomationResult(context, context.candidate_subset if holds else context.get_empty_subset())


class InputsDiffer(AC):
    """True while the inputs that the asset last consumed differ from the present ones, or it was never materialised, or
    its code version changed; unless exactly this state was already attempted and failed or was cancelled.

    In an asset's own condition, `untriggered` names dependencies that are declared because the asset reads them, and whose
    changes do not make it again.
    """

    name = "inputs_differ"
    description = "The recorded inputs differ from the present ones"

    def __init__(self, untriggered: Collection[str] = ()) -> None:
        self.untriggered = frozenset(map(dg.AssetKey.from_user_string, untriggered))

    def evaluate(self, context: Any) -> dg.AutomationResult:
        if context.candidate_subset.is_empty:
            return dg.AutomationResult(context, context.candidate_subset)
        graph, instance = context.asset_graph_view.asset_graph, context.asset_graph_view.instance
        node = graph.get(context.key)
        if node.is_partitioned:
            subset = _differing_partitions(context, graph, node, instance)
        else:
            differs = differs_from_inputs(graph, node, instance)
            subset = context.candidate_subset if differs else context.get_empty_subset()
        return dg.AutomationResult(context, subset)


def triggers(node: Any) -> set[dg.AssetKey]:
    """The dependencies of an asset whose changes make it again."""
    return set(node.parent_keys) - untriggered_in(node.automation_condition)


def untriggered_in(condition: AC | None) -> set[dg.AssetKey]:
    """The dependencies that an asset's condition names as `untriggered`."""
    if condition is None:
        return set()
    own = condition.untriggered if isinstance(condition, InputsDiffer) else ()
    return {*own}.union(*map(untriggered_in, condition.children))


def differs_from_inputs(graph: Any, node: Any, instance: DagsterInstance) -> bool:
    """Of an unpartitioned asset: what `InputsDiffer` says."""
    parents = latest_events(instance, [*node.parent_keys, node.key])
    last, triggering = parents.pop(node.key), triggers(node)
    inputs = {key: parent for key, parent in parents.items() if key in triggering}
    if last is not None and not _any_input_differs(graph, node, inputs, last):
        return False
    return _is_untried(instance, node.key, last, inputs.values(), parents.values())


def _any_input_differs(graph: Any, node: Any, parents: Mapping[dg.AssetKey, Known | None], last: Known) -> bool:
    """Of an asset, or of one partition of it: `parents` are that partition's then."""
    if node.code_version and node.code_version != last.tags.get(CODE_VERSION):
        return True

    def comparable(key: dg.AssetKey, version: str | None) -> str | None:
        if not graph.get(key).is_partitioned:
            return version
        # One version can't stand for many partitions.
        return version_as_consumed(version) if node.is_partitioned else None

    return any(
        input_differs(_name(key), now, comparable(key, now.version), last.tags)
        for key, now in parents.items()
        if now is not None
    )


def _differing_partitions(context: Any, graph: Any, node: Any, instance: DagsterInstance) -> Any:
    own = latest_by_partition(instance, node.key)
    single = latest_events(instance, [k for k in triggers(node) if not graph.get(k).is_partitioned])
    many = {k: latest_by_partition(instance, k) for k in triggers(node) if graph.get(k).is_partitioned}
    attempts = instance.event_log_storage.get_latest_asset_partition_materialization_attempts_without_materializations(
        node.key
    )
    wanted = set()
    for partition in context.candidate_subset.expensively_compute_partition_keys():
        parents = {**single, **{key: found.get(partition) for key, found in many.items()}}
        last = own.get(partition)
        if last is not None and not _any_input_differs(graph, node, parents, last):
            continue
        attempt = attempts.get(partition)
        if attempt is None or not _is_attempted(instance, attempt[0], attempt[1], parents.values()):
            wanted.add(partition)
    view = context.asset_graph_view
    subset = view.get_asset_subset_from_asset_partitions(node.key, {AssetKeyPartitionKey(node.key, p) for p in wanted})
    return context.candidate_subset.compute_intersection(subset)


def _is_untried(
    instance: DagsterInstance,
    key: dg.AssetKey,
    last: Known | None,
    inputs: Collection[Known | None],
    declared: Collection[Known | None] = (),
) -> bool:
    """Whether the newest run that was to make an unpartitioned asset made it, or was no attempt at this state of the inputs.

    `declared`: every dependency, the untriggered ones too. If one of them failed in that run, Dagster skipped the asset's step;
    then a newer state of that dependency counts as well.
    """
    planned = instance.event_log_storage.get_latest_planned_materialization_info(key)
    if planned is None or (last is not None and last.run_id == planned.run_id):
        return True
    if not _is_attempted(instance, planned.run_id, planned.storage_id, inputs):
        return True
    was_skipped = len(declared) > len(inputs) and not _was_started(instance, planned.run_id, key)
    return was_skipped and not _is_attempted(instance, planned.run_id, planned.storage_id, declared)


def _was_started(instance: DagsterInstance, run_id: str, key: dg.AssetKey) -> bool:
    """Whether the step that was to make the asset began."""
    planned, started = dg.DagsterEventType.ASSET_MATERIALIZATION_PLANNED, dg.DagsterEventType.STEP_START
    events = [entry.get_dagster_event() for entry in instance.all_logs(run_id, of_type={planned, started})]
    steps = {event.step_key for event in events if event.event_type is planned and event.asset_key == key}
    return any(event.event_type is started and event.step_key in steps for event in events)


def _is_attempted(instance: DagsterInstance, run_id: str, planned_at: int, parents: Iterable[Known | None]) -> bool:
    """Whether a run over this very state of the inputs failed or was cancelled: it is not started again by itself."""
    own = OWN_ATTEMPTS.get()
    if own is not None and run_id not in own:
        return False
    run = instance.get_run_by_id(run_id)
    if run is None or not run.is_failure_or_canceled:
        return False
    return not any(parent is not None and parent.storage_id > planned_at for parent in parents)


def _name(key: dg.AssetKey) -> str:
    return "/".join(key.path)


class InputsPresent(WholeAsset):
    """True when every triggering input exists. Of a partitioned input one partition is enough for an unpartitioned asset: a
    batch that can't be read must not hold up all others."""

    name = "inputs_present"
    description = "Every input was materialized"

    def is_true(self, context: Any) -> bool:
        graph, instance = context.asset_graph_view.asset_graph, context.asset_graph_view.instance
        return all(latest_events(instance, triggers(graph.get(context.key))).values())


def quiet() -> AC:
    """Nothing that it depends on is on its way, it does not run itself, and no gate above is closed.

    Comes first in every condition: operands are read one after the other, and a run that ends in between would otherwise
    be seen as not yet done and as no longer going on, and be started once more.
    """
    return ~AC.any_deps_in_progress() & ~AC.in_progress() & AC.all_deps_blocking_checks_passed()


def inputs_are_final() -> AC:
    """No input is asked for in this very tick: it would run beside, or from an input that is made again at once."""
    return ~AC.any_deps_match(AC.will_be_requested())


def on_new_inputs(*also: AC, untriggered: Collection[str] = (), label: str = "on_new_inputs") -> AC:
    """Wait for the real result of every input, and run only if one of them really changed. For what costs much. `also`: what must
    hold besides. `untriggered`: dependencies that are not waited for, and whose changes run nothing."""
    condition = quiet() & inputs_are_final() & InputsPresent() & InputsDiffer(untriggered)
    for further in also:
        condition = condition & further
    return _ignoring(untriggered, condition).with_label(label)


def _ignoring(untriggered: Collection[str], condition: Any) -> Any:
    """The condition, in which Dagster's own parts don't look at these dependencies. Ours ask `triggers`."""
    return condition.ignore(dg.AssetSelection.assets(*untriggered)) if untriggered else condition


class SourceDiffers(WholeAsset):
    """True while one source is not the one that the asset last consumed, unless that was already attempted in vain."""

    def __init__(self, source: str) -> None:
        self._source = dg.AssetKey.from_user_string(source)

    @property
    def name(self) -> str:
        return f"source_differs: {_name(self._source)}"

    @property
    def description(self) -> str:
        return f"The recorded version of {_name(self._source)} differs from the present one"

    def is_true(self, context: Any) -> bool:
        instance = context.asset_graph_view.instance
        last, now = latest_events(instance, [context.key, self._source]).values()
        if last is None or now is None or not input_differs(_name(self._source), now, now.version, last.tags):
            return False
        return _is_untried(instance, context.key, last, [now])


def on_new_inputs_and_at_once(source: str, *, untriggered: Collection[str] = ()) -> AC:
    """`on_new_inputs`; and when this one source changed, from the other inputs as they are, without waiting for any that is
    made again. For what has to leave a table now: once more when the others are there."""
    at_once = ~AC.in_progress() & InputsPresent() & SourceDiffers(source)
    return (on_new_inputs(untriggered=untriggered) | at_once).with_label("on_new_inputs_and_at_once")


def with_new_inputs(*, untriggered: Collection[str] = ()) -> AC:
    """Ride along in the run that rebuilds an input. For what is cheap. `untriggered`: as for `on_new_inputs`."""
    riding = AC.any_deps_match(AC.will_be_requested())
    condition = quiet() & InputsPresent() & (InputsDiffer(untriggered) | riding)
    return _ignoring(untriggered, condition).with_label("with_new_inputs")


def on_new_batches(optional: dg.AssetSelection | None = None) -> AC:
    """For a partitioned asset: run the batches whose own inputs changed, and only those. `optional` inputs may be absent."""
    missing = AC.any_deps_match(AC.missing())
    missing = missing if optional is None else missing.ignore(optional)
    return (quiet() & inputs_are_final() & ~missing & InputsDiffer()).with_label("on_new_batches")


with warnings.catch_warnings():
    # Two parameters are in beta. Dagster is pinned, and every step process would say so.
    warnings.simplefilter("ignore", dg.BetaWarning)
    AUTOMATION_SENSOR = AutomationSensor(
        "automation",
        target=dg.AssetSelection.all(include_sources=True) | dg.AssetSelection.all_asset_checks(),
        # Custom conditions are silently ignored without it.
        use_user_code_server=True,
        minimum_interval_seconds=5,
        default_status=dg.DefaultSensorStatus.RUNNING,
        run_tags={"trigger": "automation"},
    )
