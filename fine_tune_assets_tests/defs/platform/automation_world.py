"""The whole graph with its real dependencies, conditions and sensor, and with steps that only compute a version.

Every tick is the one that the daemon has the code server make. Runs are real Dagster runs: queued when they are requested, and
started, failed or cancelled later. Bookkeeping is separate from Dagster's, so that the two can be compared.
"""

import hashlib
import itertools
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from copy import deepcopy
from dataclasses import dataclass
from random import Random
from typing import Any

import dagster as dg
from dagster._core.definitions.job_base import InMemoryJob
from dagster._core.execution.api import execute_run

from fine_tune_assets.definitions import defs as real_defs
from fine_tune_assets.defs.jobs import INGEST_BATCH, plan_ingest
from fine_tune_assets.defs.platform.automation import (
    DATA_VERSION,
    triggering_inputs,
)
from fine_tune_assets.defs.platform.automation_sensor import AutomationSensor
from fine_tune_assets.defs.platform.recipe_versions import (
    RECIPE_TAG,
    describe_sections,
    list_sections,
    with_section_versions,
)
from fine_tune_assets.defs.s01_raw_reports.raw_reports import BATCHES
from fine_tune_assets.defs.s04_approved_examples.incoming_corrections import (
    incoming_corrections,
    report_incoming_corrections,
)
from fine_tune_assets.defs.s06_adapters.adapters import TrainingIsDue

REAL: Any = real_defs.resolve_asset_graph()
BATCH_SOURCES = ("erased_subjects", "rescrub_requests")
RAW = "raw_reports"
SINGLE_SOURCES = sorted(
    key.to_user_string()
    for key in REAL.external_asset_keys
    if not REAL.get(key).is_partitioned and REAL.get(key).child_keys and key != incoming_corrections.key
)


INPUTS = {
    key.to_user_string(): sorted(parent.to_user_string() for parent in triggering_inputs(REAL.get(key)))
    for key in sorted(REAL.executable_asset_keys)
}
"""Asset → the dependencies that trigger it."""
FOLLOWING = [name for name in INPUTS if REAL.get(dg.AssetKey.from_user_string(name)).automation_condition is not None]
AFTER_TRAINING = [
    name
    for name in FOLLOWING
    if REAL.get(dg.AssetKey.from_user_string(name)).automation_condition.label == "after_training"
]
SECTIONS = sorted({name for key in REAL.executable_asset_keys for name in list_sections(REAL.get(key).code_version)})
GATED = {check.asset_key.to_user_string() for check in REAL.asset_check_keys if REAL.get(check).blocking}
"""Assets with a blocking check."""
Place = tuple[str, str | None]
"""An asset, and its batch if it is partitioned."""


_RECIPE = "sections of the recipe"
"""Among the inputs of an asset."""


class StepFailure(Exception):
    """A step that the test lets fail."""


@dataclass
class Attempt:
    """A run that planned an asset and did not materialize it."""

    clock: int


@dataclass(eq=False)
class Queued:
    run: dg.DagsterRun
    places: tuple[Place, ...]
    planned_at: int
    after: tuple["Queued", ...] = ()
    """Earlier runs of the same backfill."""
    is_successful: bool | None = None


def _is_partitioned(name: str) -> bool:
    return bool(REAL.get(dg.AssetKey.from_user_string(name)).is_partitioned)


class WorldSensor(AutomationSensor):
    """The product's sensor, with the recipe of the world."""

    world: "World"

    def read_sections(self) -> Mapping[str, str]:
        return self.world.recipe


class World:
    """Sources, batches, the queue of runs, and what each step read."""

    def __init__(self, seed: int, instance: dg.DagsterInstance) -> None:
        self.random, self.instance = Random(seed), instance
        self.clock = 0
        self.versions: dict[Place, str] = {}
        self.event_at: dict[Place, int] = {}
        self.read: dict[Place, dict[str, Any]] = {}
        self.attempts: dict[Place, Attempt] = {}
        self.red: set[Place] = set()
        self.batches: list[str] = []
        self.queue: list[Queued] = []
        self.failing: set[str] = set()
        self.turning_red: set[str] = set()
        self.during: Any = None
        self.counts: Counter[str] = Counter()
        self.problems: list[str] = []
        self._running: Queued | None = None
        self._materialized: set[Place] = set()
        self._numbers = itertools.count(1)
        self.recipe = dict.fromkeys(SECTIONS, "v0")
        self.section_at = dict.fromkeys(SECTIONS, 0)
        self.load(forget=True)

    # -- the graph

    def load(self, *, forget: bool) -> None:
        """The code server loads the definitions with the current recipe."""
        self.loaded, self.definitions = dict(self.recipe), self._build()
        self.job = self.definitions.resolve_implicit_global_asset_job_def()
        self.graph: Any = self.definitions.resolve_asset_graph()
        self.restart(forget=forget)

    def _code_version(self, name: str) -> str:
        """With the current recipe, which may be newer than the loaded one."""
        return with_section_versions(REAL.get(dg.AssetKey.from_user_string(name)).code_version or "", self.recipe)

    def _build(self) -> dg.Definitions:
        sources = [
            dg.AssetSpec(key, group_name="sources", partitions_def=REAL.get(key).partitions_def)
            for key in REAL.external_asset_keys
        ]
        steps = [self._step(made) for made in REAL.assets_defs if made.is_executable and made.keys]
        return dg.Definitions(assets=[*sources, *steps], jobs=[INGEST_BATCH], executor=dg.in_process_executor)

    def _step(self, made: Any) -> dg.AssetsDefinition:
        keys = sorted(made.keys)
        specs = [
            dg.AssetSpec(
                key,
                deps=[dg.AssetDep(parent) for parent in sorted(REAL.get(key).parent_keys)],
                automation_condition=_condition(REAL.get(key)),
                code_version=self._code_version(key.to_user_string()) or None,
                partitions_def=REAL.get(key).partitions_def,
            )
            for key in keys
        ]
        checks = [
            dg.AssetCheckSpec(check.name, asset=key, blocking=True, partitions_def=REAL.get(check).partitions_def)
            for key in keys
            for check in sorted(REAL.get(key).check_keys)
            if REAL.get(check).blocking
        ]

        @dg.multi_asset(name=made.op.name, specs=specs, check_specs=checks)
        def step(context: dg.AssetExecutionContext) -> Iterator[Any]:
            # A run of `ingest_batch` has a batch, also for the steps that are not partitioned.
            batch = context.partition_key if made.partitions_def is not None else None
            places: list[Place] = [(key.to_user_string(), batch) for key in keys]
            inputs = {place: self._inputs(place) for place in places}
            self._happen_during()
            if self.failing & {name for name, _ in places}:
                self.failing -= {name for name, _ in places}
                self.counts["failed steps"] += 1
                raise StepFailure
            for place, found in inputs.items():
                self._note(place, found)
                yield dg.MaterializeResult(asset_key=place[0], data_version=dg.DataVersion(self.versions[place]))
            for number, check in enumerate(checks):
                passed = check.asset_key.to_user_string() not in self.turning_red
                # A red check ends the step, so the checks after it are not evaluated, and their gates stay closed.
                unseen = checks[number:] if not passed else [check]
                (self.red.discard if passed else self.red.add)((check.asset_key.to_user_string(), batch))
                self.red |= set() if passed else {(other.asset_key.to_user_string(), batch) for other in unseen}
                yield dg.AssetCheckResult(passed=passed, asset_key=check.asset_key, check_name=check.name)

        return step

    def _inputs(self, place: Place) -> dict[str, Any]:
        """The current version of each triggering input, in the same batch or in all, and the recipe."""
        return {_RECIPE: self._code_version(place[0])} | {
            name: self._current(name, place[1]) for name in INPUTS[place[0]]
        }

    def _current(self, name: str, batch: str | None) -> Any:
        if not _is_partitioned(name):
            return self.versions.get((name, None))
        if batch is not None:
            return self.versions.get((name, batch))
        return tuple(self.versions.get((name, batch)) for batch in self.batches)

    def _note(self, place: Place, inputs: Mapping[str, Any]) -> None:
        """Record a materialization, and check that there was a reason for it."""
        assert self._running is not None
        together = {name for name, _ in self._running.places}
        has_batches = any(_is_partitioned(name) and place[1] is None for name in INPUTS[place[0]])
        joined = bool(together & set(INPUTS[place[0]]))
        if self.read.get(place) == inputs and not (joined or has_batches or place in self.attempts):
            self.problems.append(f"{place} ran twice on the same inputs")
        digest = hashlib.sha256(repr((place[0], sorted(inputs.items()))).encode()).hexdigest()
        # Half of the assets compute one of three results, so that an unchanged result stops a change.
        is_coarse = hashlib.sha256(place[0].encode()).digest()[0] % 2 == 0
        self.versions[place] = str(int(digest, 16) % 3) if is_coarse else digest
        self.read[place] = dict(inputs)
        self.attempts.pop(place, None)
        self._materialized.add(place)
        self._stamp(place)
        self.counts["materializations"] += 1

    def _stamp(self, place: Place) -> None:
        self.clock += 1
        self.event_at[place] = self.clock

    # -- what happens

    def report(self, name: str, batch: str | None = None, *, is_same: bool = False) -> None:
        """A sensor reports a source, with a new version or the one that it has."""
        place = (name, batch)
        if not is_same or place not in self.versions:
            self.versions[place] = f"v{next(self._numbers)}"
        event = dg.AssetMaterialization(
            dg.AssetKey.from_user_string(name), partition=batch, tags={DATA_VERSION: self.versions[place]}
        )
        self.instance.report_runless_asset_event(event)
        self._stamp(place)
        self.counts["reports"] += 1

    def change_recipe(self, section: str) -> None:
        """The code server may load it later; runs that start load it at once."""
        self.recipe[section] = f"v{next(self._numbers)}"
        self.clock += 1
        self.section_at[section] = self.clock
        self.counts["changes of the recipe"] += 1

    def report_batch(self, batch: str) -> None:
        """The sensor of raw reports: the event, and a run at once if `plan_ingest` allows it."""
        if batch not in self.batches:
            self.batches.append(batch)
            self.instance.add_dynamic_partitions(str(BATCHES.name), [batch])
        self.report(RAW, batch)
        for request in plan_ingest(self.graph, self.instance, {batch}):
            assert request.partition_key == batch
            job = self.definitions.resolve_job_def("ingest_batch")
            self._queue_run(job, frozenset(job.asset_layer.executable_asset_keys), batch)
            self.counts["ingest runs"] += 1

    def tick(self) -> None:
        """What the daemon has the code server do, and the runs that it creates from the answer."""
        for event in report_incoming_corrections(self.instance):
            place = (event.asset_key.to_user_string(), None)
            self.versions[place] = str(event.tags[DATA_VERSION])
            self.instance.report_runless_asset_event(event)
            self._stamp(place)
        context = dg.build_sensor_context(self.instance, cursor=self._cursor, repository_def=self._repository)
        found = self._sensor.evaluate_tick(context)
        self._cursor = found.cursor
        self.counts["ticks"] += 1
        for request in sorted(found.run_requests or (), key=_request_order):
            if request.asset_graph_subset is None:
                self._queue_run(self.job, frozenset(request.asset_selection), request.partition_key)
            else:
                self._queue_backfill(request.asset_graph_subset)

    def _queue_backfill(self, subset: Any) -> None:
        """Several batches at once: Dagster makes a backfill, which runs each batch and then what is not partitioned."""
        self.counts["backfills"] += 1
        batches: dict[str, set[dg.AssetKey]] = {}
        for key, partitions in subset.partitions_subsets_by_asset_key.items():
            for batch in partitions.get_partition_keys():
                batches.setdefault(batch, set()).add(key)
        first = [self._queue_run(self.job, frozenset(keys), batch) for batch, keys in sorted(batches.items())]
        if subset.non_partitioned_asset_keys:
            self._queue_run(self.job, frozenset(subset.non_partitioned_asset_keys), None, after=first)

    def _queue_run(
        self, job: Any, selection: frozenset[dg.AssetKey], batch: str | None, after: Sequence[Queued] = ()
    ) -> Queued:
        places = tuple(
            (key.to_user_string(), batch if _is_partitioned(key.to_user_string()) else None)
            for key in sorted(selection)
        )
        in_progress = [*self.queue, *([self._running] if self._running else [])]
        unfinished = {place for queued in in_progress for place in queued.places}
        for place in sorted(unfinished & set(places), key=str):
            self.problems.append(f"{place} was started while it was in progress")
        run = self.instance.create_run_for_job(
            job.get_subset(asset_selection=selection),
            asset_selection=selection,
            status=dg.DagsterRunStatus.STARTING,
            tags={RECIPE_TAG: describe_sections(self.recipe)}
            | ({"dagster/partition": batch} if batch is not None else {}),
        )
        self.clock += 1
        self.queue.append(Queued(run, places, self.clock, tuple(after)))
        self.counts["runs"] += 1
        return self.queue[-1]

    def start_run(self) -> None:
        """Execute a queued run, any of them. A run behind a failed one of its backfill is cancelled."""
        ready = [queued for queued in self.queue if all(run.is_successful is not None for run in queued.after)]
        if not ready or self._running is not None:
            return
        queued = self.random.choice(ready)
        if not all(run.is_successful for run in queued.after):
            self._cancel(queued)
            return
        self.queue.remove(queued)
        self._running, self._materialized = queued, set()
        self.instance.add_run_tags(queued.run.run_id, {RECIPE_TAG: describe_sections(self.recipe)})
        definitions = self.definitions if self.loaded == self.recipe else self._build()
        job = InMemoryJob(definitions.resolve_job_def(queued.run.job_name))
        queued.is_successful = execute_run(job, queued.run, self.instance, raise_on_error=False).success
        self._running = None
        self._note_unfinished(queued, set(queued.places) - self._materialized)

    def cancel_run(self) -> None:
        if self.queue:
            self._cancel(self.random.choice(self.queue))

    def _cancel(self, queued: Queued) -> None:
        self.queue.remove(queued)
        queued.is_successful = False
        self.instance.report_run_canceled(queued.run)
        self._note_unfinished(queued, set(queued.places))
        self.counts["cancelled runs"] += 1

    def _note_unfinished(self, queued: Queued, places: set[Place]) -> None:
        for place in places:
            self.attempts[place] = Attempt(queued.planned_at)

    def restart(self, *, forget: bool) -> None:
        """The daemon starts again; a new cursor is what a lost or discarded one looks like."""
        self._sensor_definition = WorldSensor(
            "automation",
            target=dg.AssetSelection.all(include_sources=True) | dg.AssetSelection.all_asset_checks(),
            use_user_code_server=True,
        )
        self._sensor_definition.world = self
        self._repository = dg.Definitions.merge(
            self.definitions, dg.Definitions(sensors=[self._sensor_definition])
        ).get_repository_def()
        self._sensor: Any = self._repository.get_sensor_def("automation")
        if forget:
            self._cursor: Any = None
        self.counts["restarts"] += 1

    def happen(self) -> None:
        """One random event."""
        choose, partitioned = self.random, self.batches
        kind = choose.choices(
            (
                "source",
                "recipe",
                "batch",
                "batch source",
                "tick",
                "start",
                "fail",
                "cancel",
                "red",
                "restart",
                "middle",
            ),
            weights=(6, 2, 2, 1, 8, 8, 1, 1, 1, 1, 2),
        )[0]
        if kind == "source":
            self.report(choose.choice(SINGLE_SOURCES), is_same=choose.random() < 0.2)
        elif kind == "recipe":
            self.change_recipe(choose.choice(SECTIONS))
            if choose.random() < 0.5:
                self.load(forget=False)
        elif kind == "batch":
            is_new = len(partitioned) < 3 and (not partitioned or choose.random() < 0.4)
            self.report_batch(f"b{len(partitioned)}" if is_new else choose.choice(partitioned))
        elif kind == "batch source" and partitioned:
            self.report(choose.choice(BATCH_SOURCES), choose.choice(partitioned))
        elif kind == "tick":
            self.tick()
        elif kind == "start":
            self.start_run()
        elif kind == "fail":
            self.failing.add(choose.choice(FOLLOWING))
        elif kind == "cancel":
            self.cancel_run()
        elif kind == "red":
            self.turning_red.add(choose.choice(FOLLOWING))
        elif kind == "restart":
            self.restart(forget=choose.random() < 0.5)
        elif kind == "middle":
            self.during = self._arrive

    def _happen_during(self) -> None:
        if self.during is not None:
            happen, self.during = self.during, None
            happen()

    def _arrive(self) -> None:
        """A change and a tick while a step runs."""
        self.report(self.random.choice(SINGLE_SOURCES))
        if self.batches and self.random.random() < 0.3:
            self.report_batch(self.random.choice(self.batches))
        self.tick()
        self.counts["changes during a step"] += 1

    # -- what must be true

    def settle(self, rounds: int = 60) -> None:
        """Let everything end, without further disturbances."""
        self.failing, self.during, self.turning_red = set(), None, set()
        self.load(forget=False)
        for _ in range(rounds):
            while self.queue:
                self.start_run()
            before = self.counts["runs"]
            self.tick()
            if self.counts["runs"] == before and not self.queue:
                return
        self.problems.append(f"runs are still requested after {rounds} rounds")

    def find_lost(self) -> list[str]:
        """Assets that did not follow their inputs, without an excuse."""
        places = [(name, batch) for name in FOLLOWING for batch in (self.batches if _is_partitioned(name) else [None])]
        return [f"{place} has not followed its inputs" for place in places if self._is_lost(place)]

    def _is_lost(self, place: Place) -> bool:
        if not self._is_stale(place):
            return False
        name, batch = place
        current = self._inputs(place)
        needed = [p for p in INPUTS[name] if p not in BATCH_SOURCES]
        if any(
            value is None or (isinstance(value, tuple) and not any(value)) for value in (current[p] for p in needed)
        ):
            return False  # an input is missing
        inputs = [(p, b) for p in INPUTS[name] for b in self._batches_of(p, batch)]
        if any(found in self.red or (found[0] in GATED and found in self.attempts) for found in inputs):
            return False  # behind a closed gate; a gate has no evidence if the last run of its asset did not end
        if name in AFTER_TRAINING and any(self._is_stale(found) for found in inputs):
            return False  # waits for an input that is itself behind a closed gate, such as a training that is due
        attempt = self.attempts.get(place)
        sections = list_sections(self._code_version(name))
        newest = max(
            (0, *(self.event_at.get(found, 0) for found in inputs), *map(self.section_at.__getitem__, sections))
        )
        return attempt is None or newest > attempt.clock  # a run over this state failed or was cancelled

    def _is_stale(self, place: Place) -> bool:
        return place[0] in INPUTS and self.read.get(place) != self._inputs(place)

    def _batches_of(self, name: str, batch: str | None) -> list[str | None]:
        if not _is_partitioned(name):
            return [None]
        return [batch] if batch is not None else list(self.batches)


def _request_order(request: Any) -> tuple[str, list[str]]:
    """Dagster's own order differs from process to process."""
    return request.partition_key or "", sorted(key.to_user_string() for key in request.asset_selection or ())


def _condition(node: Any) -> Any:
    """The asset's condition, copied. A training is always due, since the decision reads tables that are not made here."""
    condition = deepcopy(node.automation_condition)
    for part in _parts(condition):
        if isinstance(part, TrainingIsDue):
            part.is_true = lambda _context: True  # type: ignore[method-assign]
    return condition


def _parts(condition: Any) -> Iterator[Any]:
    if condition is not None:
        yield condition
        for child in condition.children:
            yield from _parts(child)
