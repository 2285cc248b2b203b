"""The conditions that make assets follow their inputs: nothing is lost, and nothing runs for nothing.

Each scenario is one in which Dagster's own `AutomationCondition.eager()` loses a change, runs for nothing, or is right.
"""

from collections.abc import Callable
from typing import Any

import dagster as dg
import pytest
from dagster._core.definitions.sensor_definition import SensorType

from fine_tune_assets.defs.platform.automation import (
    build_automation_sensor,
    on_new_batches,
    on_new_inputs,
    on_new_inputs_or_source,
    with_new_inputs,
)
from fine_tune_assets_tests.defs.platform.automation_graph import Graph, instance

__all__ = ["instance"]

MORE_THAN_DAGSTER_RECORDS = 120
"""Of more partitions than 100 Dagster does not record which version of each a run consumed."""


@pytest.fixture(params=[on_new_inputs, with_new_inputs], ids=lambda condition: condition.__name__)
def model(request: pytest.FixtureRequest, instance: dg.DagsterInstance) -> Graph:
    """One asset `model` over one source `src`."""

    @dg.asset(deps=["src"], automation_condition=request.param())
    def model() -> dg.MaterializeResult[None]:
        return dg.MaterializeResult(data_version=graph.compute())

    graph = Graph(dg.Definitions(assets=[dg.AssetSpec("src"), model]), instance)
    return graph


@pytest.fixture
def settled(model: Graph) -> Graph:
    """The model was made from version 1."""
    assert model.tick() == set()
    model.report("src", "1")
    assert model.tick() == {"model"}
    assert model.run("model")
    assert model.tick() == set()
    return model


@pytest.mark.parametrize(("version", "requested"), [("2", set()), ("3", {"model"})])
def test_a_step_that_was_stopped_starts_again_only_with_other_content(
    settled: Graph, version: str, requested: set[str]
) -> None:
    """An operator stopped a training. Building the same instruction set again must not start it; corrections must."""
    settled.report("src", "2")
    assert settled.tick() == {"model"}
    settled.stop_during_run("model")
    assert settled.tick() == set()
    settled.report("src", version)
    assert settled.tick() == requested


def test_a_changed_source_is_followed_once(settled: Graph) -> None:
    """The plain case."""
    settled.report("src", "2")
    assert settled.tick() == {"model"}
    settled.run("model")
    assert settled.tick() == set()


def test_a_change_during_the_run_is_followed_after_it(settled: Graph) -> None:
    """Corrections arrive all day, and a training takes hours: eager() loses every one of them."""
    settled.report("src", "2")
    assert settled.tick() == {"model"}
    asked_meanwhile: list[Any] = []

    def arrive() -> None:
        settled.report("src", "3")
        asked_meanwhile.append(settled.tick())

    settled.during = arrive
    assert settled.run("model")
    assert asked_meanwhile == [set()]
    assert settled.tick() == {"model"}
    settled.run("model")
    assert settled.tick() == set()


def test_a_change_in_the_tick_in_which_the_run_ended_is_followed(settled: Graph) -> None:
    """The second race in which eager() loses a change."""
    settled.report("src", "2")
    assert settled.tick() == {"model"}
    settled.run("model")
    settled.report("src", "3")
    assert settled.tick() == {"model"}


def test_a_failed_run_is_not_repeated_until_something_is_new(settled: Graph) -> None:
    """A run that repeats the same failure would occupy the GPU indefinitely."""
    settled.report("src", "2")
    assert settled.tick() == {"model"}
    settled.is_broken = {None}
    assert not settled.run("model")
    assert settled.tick() == set()
    assert settled.tick() == set()
    settled.is_broken = set()
    settled.report("src", "3")
    assert settled.tick() == {"model"}


def test_a_first_run_that_failed_is_not_repeated_either(model: Graph) -> None:
    """Nothing was ever made then, which looks like an asset that is simply missing."""
    model.report("src", "1")
    assert model.tick() == {"model"}
    model.is_broken = {None}
    assert not model.run("model")
    assert model.tick() == set()
    model.report("src", "2")
    assert model.tick() == {"model"}


def test_a_failed_run_may_be_repeated_by_hand(settled: Graph) -> None:
    """After the fault is mended, a person starts it; then everything is as if it had not failed."""
    settled.report("src", "2")
    settled.tick()
    settled.is_broken = {None}
    settled.run("model")
    settled.is_broken = set()
    assert settled.run("model")
    assert settled.tick() == set()
    settled.report("src", "3")
    assert settled.tick() == {"model"}


def test_data_that_was_there_before_the_first_tick_is_processed(model: Graph) -> None:
    """The first `make up` on a folder with data, for which eager() never triggers."""
    model.report("src", "1")
    assert model.tick() == {"model"}


def test_the_same_content_reported_again_runs_nothing(settled: Graph) -> None:
    """A file that was only touched must not cost a training."""
    settled.report("src", "1")
    assert settled.tick() == set()


def test_idle_ticks_run_nothing(settled: Graph) -> None:
    """Nothing new, nothing done."""
    assert [settled.tick() for _ in range(3)] == [set(), set(), set()]


def test_a_change_back_to_what_was_processed_before_is_a_change(settled: Graph) -> None:
    """What counts is what the last run consumed, not what was ever seen."""
    for version in ("2", "1"):
        settled.report("src", version)
        assert settled.tick() == {"model"}
        settled.run("model")


def test_a_lost_cursor_loses_nothing_and_repeats_nothing(settled: Graph) -> None:
    """The daemon's memory is gone after a restored backup."""
    settled.cursor = None
    assert settled.tick() == set()
    settled.report("src", "2")
    settled.cursor = None
    assert settled.tick() == {"model"}


def test_a_new_code_version_is_followed(instance: dg.DagsterInstance) -> None:
    """Better code makes old results stale."""

    def graph_of(code_version: str) -> Graph:
        @dg.asset(deps=["src"], code_version=code_version, automation_condition=on_new_inputs())
        def model() -> dg.MaterializeResult[None]:
            return dg.MaterializeResult(data_version=dg.DataVersion("m"))

        return Graph(dg.Definitions(assets=[dg.AssetSpec("src"), model]), instance)

    graph = graph_of("1")
    graph.report("src", "1")
    graph.run("model")
    assert graph.tick() == set()
    assert graph_of("2").tick() == {"model"}


def _chain(instance: dg.DagsterInstance, condition: dg.AutomationCondition, is_green: Callable[[], bool]) -> Graph:
    """`src` → `up`, guarded by a blocking check → `down`, which follows by `condition`."""

    @dg.asset(deps=["src"], automation_condition=on_new_inputs())
    def up() -> dg.MaterializeResult[None]:
        return dg.MaterializeResult(data_version=graph.compute())

    @dg.asset_check(asset=up, blocking=True)
    def up_is_good() -> dg.AssetCheckResult:
        return dg.AssetCheckResult(passed=is_green())

    @dg.asset(deps=[up], automation_condition=condition)
    def down() -> dg.MaterializeResult[None]:
        return dg.MaterializeResult(data_version=dg.DataVersion("d"))

    graph = Graph(dg.Definitions(assets=[dg.AssetSpec("src"), up, down], asset_checks=[up_is_good]), instance)
    return graph


@pytest.mark.parametrize("condition", [on_new_inputs, with_new_inputs])
def test_a_red_blocking_check_above_stops_and_a_green_one_lets_through(
    instance: dg.DagsterInstance, condition: Callable[[], dg.AutomationCondition]
) -> None:
    """The gate, in the run in which it is red and in every later tick."""
    is_green = True
    graph = _chain(instance, condition(), lambda: is_green)
    graph.report("src", "1")
    assert graph.tick() == {"up"}
    assert graph.run("up")
    assert graph.tick() == {"down"}
    graph.run("down")
    assert graph.tick() == set()

    is_green = False
    graph.report("src", "2")
    asked = graph.tick()
    assert "up" in asked
    assert not graph.run(*map(str, asked))
    assert [graph.tick() for _ in range(3)] == [set(), set(), set()]

    is_green = True
    graph.report("src", "3")
    assert graph.tick() == {"up"}  # not `down` with it: its gate is still red
    graph.run("up")
    assert graph.tick() == {"down"}


def test_an_unchanged_result_stops_the_cascade(instance: dg.DagsterInstance) -> None:
    """Another input, the same output: nothing that costs a GPU runs below it."""
    graph = _chain(instance, on_new_inputs(), lambda: True)
    graph.output = "same"
    graph.report("src", "1")
    graph.run("up")
    graph.run("down")
    graph.report("src", "2")
    assert graph.tick() == {"up"}
    graph.run("up")
    assert graph.tick() == set()


def test_what_is_cheap_rides_along_and_what_is_costly_waits() -> None:
    """One run instead of two for cheap stages; the real result first for costly ones."""
    for condition, expected in ((with_new_inputs, {"up", "down"}), (on_new_inputs, {"up"})):
        with dg.DagsterInstance.ephemeral() as fresh:
            graph = _chain(fresh, condition(), lambda: True)
            graph.report("src", "1")
            graph.run("up")
            graph.run("down")
            graph.report("src", "2")
            assert graph.tick() == expected


@pytest.mark.parametrize("condition", [on_new_inputs, with_new_inputs])
def test_a_dependency_that_triggers_nothing_is_ignored(condition: Any, instance: dg.DagsterInstance) -> None:
    """It is declared since it is read: whether it is missing, in the same tick, or another one, nothing waits or runs for it."""

    @dg.asset(deps=["documents"], automation_condition=with_new_inputs())
    def chunks() -> dg.MaterializeResult[None]:
        return dg.MaterializeResult(data_version=graph.compute())

    @dg.asset(deps=["src", chunks], automation_condition=condition(ignored=["chunks"]))
    def model() -> dg.MaterializeResult[None]:
        return dg.MaterializeResult(data_version=graph.compute())

    @dg.asset_check(asset=chunks, blocking=True)
    def is_good() -> dg.AssetCheckResult:
        return dg.AssetCheckResult(passed=False)

    assets = [dg.AssetSpec("src"), dg.AssetSpec("documents"), chunks, model]
    graph = Graph(dg.Definitions(assets=assets, asset_checks=[is_good]), instance)
    graph.report("src", "1")
    assert graph.tick() == {"model"}
    assert graph.run("model")
    graph.report("documents", "1")
    assert graph.tick() == {"chunks"}
    graph.run("chunks")
    assert graph.tick() == set()
    graph.report("src", "2")
    graph.report("documents", "2")
    assert graph.tick() == {"model", "chunks"}


def test_a_failed_run_is_not_tried_again_for_a_dependency_that_triggers_nothing(instance: dg.DagsterInstance) -> None:
    """A training that failed does not start again with each new batch of reports."""

    @dg.asset(deps=["src", "reports"], automation_condition=on_new_inputs(ignored=["reports"]))
    def model() -> dg.MaterializeResult[None]:
        return dg.MaterializeResult(data_version=graph.compute())

    graph = Graph(dg.Definitions(assets=[dg.AssetSpec("src"), dg.AssetSpec("reports"), model]), instance)
    graph.report("src", "1")
    graph.is_broken = {None}
    assert graph.tick() == {"model"}
    assert not graph.run("model")
    graph.report("reports", "1")
    assert graph.tick() == set()


def test_an_asset_that_was_skipped_behind_a_failed_dependency_is_made_once_that_is_there(
    instance: dg.DagsterInstance,
) -> None:
    """Both are in one run, so Dagster skips the asset although the dependency triggers nothing. It must not wait indefinitely."""

    @dg.asset(deps=["src"], automation_condition=on_new_inputs())
    def chunks() -> dg.MaterializeResult[None]:
        return dg.MaterializeResult(data_version=graph.compute())

    @dg.asset(deps=["src", chunks], automation_condition=on_new_inputs(ignored=["chunks"]))
    def model() -> dg.MaterializeResult[None]:
        return dg.MaterializeResult(data_version=graph.compute())

    graph = Graph(dg.Definitions(assets=[dg.AssetSpec("src"), chunks, model]), instance)
    graph.report("src", "1")
    graph.is_broken = {None}
    assert graph.tick() == {"chunks", "model"}
    assert not graph.run("chunks", "model")
    assert graph.tick() == set()
    graph.is_broken = set()
    assert graph.run("chunks")
    assert graph.tick() == {"model"}


@pytest.fixture
def batches(instance: dg.DagsterInstance) -> Graph:
    """As in stages 1 to 3: partitioned `raw` → `read` → `scrubbed`, which also needs `floor`, → unpartitioned `unique`."""
    parts = dg.DynamicPartitionsDefinition(name="parts")

    @dg.asset(partitions_def=parts, deps=["raw"], automation_condition=on_new_batches())
    def read(context: dg.AssetExecutionContext) -> dg.MaterializeResult[None]:
        return dg.MaterializeResult(data_version=graph.compute(context.partition_key))

    @dg.asset(partitions_def=parts, deps=[read, "floor"], automation_condition=on_new_batches())
    def scrubbed(context: dg.AssetExecutionContext) -> dg.MaterializeResult[None]:
        return dg.MaterializeResult(data_version=graph.compute(context.partition_key))

    @dg.asset(deps=[scrubbed], automation_condition=on_new_inputs())
    def unique() -> dg.MaterializeResult[None]:
        return dg.MaterializeResult(data_version=graph.compute())

    raw = dg.AssetSpec("raw", partitions_def=parts)
    graph = Graph(dg.Definitions(assets=[raw, dg.AssetSpec("floor"), read, scrubbed, unique]), instance)
    return graph


def _drop(graph: Graph, batch: str, version: str) -> None:
    graph.instance.add_dynamic_partitions("parts", [batch])
    graph.report("raw", version, batch)


@pytest.fixture
def ingested(batches: Graph) -> Graph:
    """Two batches, a and b, went through all stages."""
    batches.report("floor", "1")
    for batch in ("a", "b"):
        _drop(batches, batch, "1")
    for name in ("read", "scrubbed"):
        assert batches.tick() == {(name, "a"), (name, "b")}
        for batch in ("a", "b"):
            assert batches.run(name, partition=batch)
    assert batches.tick() == {"unique"}
    batches.run("unique")
    assert batches.tick() == set()
    return batches


def test_only_the_new_batch_runs(ingested: Graph) -> None:
    """Scrubbing a year of reports again for one new folder would take a night."""
    _drop(ingested, "c", "1")
    assert ingested.tick() == {("read", "c")}
    ingested.run("read", partition="c")
    assert ingested.tick() == {("scrubbed", "c")}
    ingested.run("scrubbed", partition="c")
    assert ingested.tick() == {"unique"}
    ingested.run("unique")
    assert ingested.tick() == set()


def test_only_the_changed_batch_runs(ingested: Graph) -> None:
    """A changed folder is a new revision of that batch alone."""
    ingested.report("raw", "2", "b")
    assert ingested.tick() == {("read", "b")}
    ingested.run("read", partition="b")
    assert ingested.tick() == {("scrubbed", "b")}
    ingested.run("scrubbed", partition="b")
    assert ingested.tick() == {"unique"}


def test_a_stopped_step_over_all_batches_follows_a_change_of_any_of_them(ingested: Graph) -> None:
    """The newest event of the batches may be of another one, with the content that it had before."""
    ingested.output = "of a"
    ingested.run("scrubbed", partition="a")
    assert ingested.tick() == {"unique"}
    ingested.stop_during_run("unique")
    assert ingested.tick() == set()
    for batch in ("b", "a"):
        ingested.output = f"of {batch}"
        ingested.run("scrubbed", partition=batch)
    assert ingested.tick() == {"unique"}


def test_a_batch_with_identical_content_runs_nothing(ingested: Graph) -> None:
    """Copying the same files again changes nothing."""
    ingested.report("raw", "1", "a")
    assert ingested.tick() == set()


def test_a_batch_that_changes_during_its_run_runs_again_after_it(ingested: Graph) -> None:
    """A user adds a file while the folder is being read."""
    ingested.report("raw", "2", "a")
    assert ingested.tick() == {("read", "a")}
    meanwhile: list[Any] = []

    def arrive() -> None:
        ingested.report("raw", "3", "a")
        meanwhile.append(ingested.tick())

    ingested.during = arrive
    ingested.run("read", partition="a")
    assert meanwhile == [set()]
    assert ("read", "a") in ingested.tick()


def test_another_batch_that_arrives_during_a_run_is_not_lost(ingested: Graph) -> None:
    """The usual case on a busy morning."""
    ingested.report("raw", "2", "a")
    assert ingested.tick() == {("read", "a")}
    ingested.during = lambda: _drop(ingested, "c", "1")
    ingested.run("read", partition="a")
    assert ingested.tick() == {("read", "c"), ("scrubbed", "a")}


def test_a_failed_batch_is_not_repeated_and_holds_up_nothing(ingested: Graph) -> None:
    """One folder that can't be scrubbed must neither block the others nor be retried indefinitely."""
    for batch in ("bad", "good"):
        _drop(ingested, batch, "1")
    assert ingested.tick() == {("read", "bad"), ("read", "good")}
    ingested.is_broken = {"bad"}
    assert not ingested.run("read", partition="bad")
    assert ingested.run("read", partition="good")
    assert ingested.tick() == {("scrubbed", "good")}
    ingested.run("scrubbed", partition="good")
    assert ingested.tick() == {"unique"}
    ingested.run("unique")
    assert ingested.tick() == set()
    ingested.is_broken = set()
    ingested.report("raw", "2", "bad")
    assert ingested.tick() == {("read", "bad")}


def test_a_changed_unpartitioned_parent_runs_all_batches(ingested: Graph) -> None:
    """A scrubber with other rules was measured: what the old one scrubbed is scrubbed again."""
    ingested.report("floor", "2")
    assert ingested.tick() == {("scrubbed", "a"), ("scrubbed", "b")}


def test_a_batch_waits_for_a_parent_that_is_made_in_this_tick(instance: dg.DagsterInstance) -> None:
    """Batches run in parallel with unpartitioned assets: a batch started now would use a scrubber that is not yet measured."""
    parts = dg.StaticPartitionsDefinition(["a"])

    @dg.asset(deps=["rules"], automation_condition=on_new_inputs())
    def floor() -> dg.MaterializeResult[None]:
        return dg.MaterializeResult(data_version=graph.compute())

    @dg.asset(partitions_def=parts, deps=["raw", floor], automation_condition=on_new_batches())
    def scrubbed() -> dg.MaterializeResult[None]:
        return dg.MaterializeResult(data_version=graph.compute())

    raw = dg.AssetSpec("raw", partitions_def=parts)
    graph = Graph(dg.Definitions(assets=[raw, dg.AssetSpec("rules"), floor, scrubbed]), instance)
    graph.report("raw", "1", "a")
    graph.report("rules", "1")
    assert graph.tick() == {"floor"}
    graph.run("floor")
    assert graph.tick() == {("scrubbed", "a")}


def test_a_batch_waits_for_the_parent_that_is_missing(batches: Graph) -> None:
    """Nothing is scrubbed before the scrubber was measured."""
    _drop(batches, "a", "1")
    assert batches.tick() == {("read", "a")}
    batches.run("read", partition="a")
    assert batches.tick() == set()
    batches.report("floor", "1")
    assert batches.tick() == {("scrubbed", "a")}


@pytest.fixture
def marked(instance: dg.DagsterInstance) -> Graph:
    """`scrubbed` behind `marks_of_batch`, which most batches never have; `unique` behind it and `marks`, at once."""
    parts = dg.StaticPartitionsDefinition(["a", "b"])
    optional = dg.AssetSelection.assets("marks_of_batch")

    @dg.asset(partitions_def=parts, deps=["raw", "marks_of_batch"], automation_condition=on_new_batches(optional))
    def scrubbed(context: dg.AssetExecutionContext) -> dg.MaterializeResult[None]:
        return dg.MaterializeResult(data_version=graph.compute(context.partition_key))

    @dg.asset(deps=[scrubbed, "marks"], automation_condition=on_new_inputs_or_source("marks"))
    def unique() -> dg.MaterializeResult[None]:
        return dg.MaterializeResult(data_version=graph.compute())

    sources = [dg.AssetSpec(name, partitions_def=parts) for name in ("raw", "marks_of_batch")]
    graph = Graph(dg.Definitions(assets=[*sources, dg.AssetSpec("marks"), scrubbed, unique]), instance)
    graph.report("marks", "1")
    for part in ("a", "b"):
        graph.report("raw", "1", part)
    assert graph.tick() == {("scrubbed", "a"), ("scrubbed", "b")}
    for part in ("a", "b"):
        assert graph.run("scrubbed", partition=part)
    assert graph.tick() == {"unique"}
    assert graph.run("unique")
    assert graph.tick() == set()
    return graph


def test_an_optional_input_that_appears_runs_its_batch_and_no_other(marked: Graph) -> None:
    """A mark concerns the batches of one patient."""
    marked.report("marks_of_batch", "1", "b")
    assert marked.tick() == {("scrubbed", "b")}
    marked.run("scrubbed", partition="b")
    assert marked.tick() == {"unique"}
    marked.run("unique")
    marked.report("marks_of_batch", "1", "b")
    assert marked.tick() == set()


def test_what_has_to_leave_now_does_not_wait_for_an_input_that_is_made_again(marked: Graph) -> None:
    """While the batch is scrubbed for minutes, the report with the leak is out already; then it comes back clean."""
    marked.report("marks", "2")
    marked.report("marks_of_batch", "1", "b")
    assert marked.tick() == {("scrubbed", "b"), "unique"}
    meanwhile: list[Any] = []

    def look() -> None:
        marked.run("unique")
        meanwhile.append(marked.tick())

    marked.during = look
    marked.run("scrubbed", partition="b")
    assert meanwhile == [set()]
    assert marked.tick() == {"unique"}
    marked.run("unique")
    assert marked.tick() == set()


def test_a_failed_urgent_removal_is_not_retried_indefinitely(marked: Graph) -> None:
    marked.report("marks", "2")
    assert marked.tick() == {"unique"}
    marked.is_broken = {None}
    assert not marked.run("unique")
    assert marked.tick() == set()
    marked.is_broken = set()
    marked.report("marks", "3")
    assert marked.tick() == {"unique"}


def test_one_rewritten_batch_of_very_many_is_noticed(batches: Graph) -> None:
    """Dagster records no version of each partition for more than 100: then any newer event counts."""
    names = [f"p{number:03}" for number in range(MORE_THAN_DAGSTER_RECORDS)]
    batches.instance.add_dynamic_partitions("parts", names)
    batches.report("floor", "1")
    for name in names:
        batches.report("scrubbed", "1", name)
    assert "unique" in batches.tick()
    assert batches.run("unique")
    assert "unique" not in batches.tick()
    batches.report("scrubbed", "2", names[17])
    assert "unique" in batches.tick()


@pytest.mark.parametrize(
    "condition", [on_new_inputs(), with_new_inputs(), on_new_batches()], ids=lambda c: c.get_label()
)
def test_what_is_going_on_is_read_before_what_differs(condition: dg.AutomationCondition) -> None:
    """Else a run that ends between the two readings is started a second time (seen with the real daemon)."""

    def names(of: Any) -> list[str]:
        return [of.name, *(name for child in of.children for name in names(child))]

    in_order = names(condition)
    differs = in_order.index("inputs_changed")
    going_on = [place for place, name in enumerate(in_order) if "in_progress" in name]
    assert len(going_on) >= 2
    assert max(going_on) < differs


def test_the_sensor_evaluates_custom_conditions() -> None:
    """Without this flag Dagster silently skips every condition of our own."""
    sensor = build_automation_sensor({})
    assert sensor.sensor_type is SensorType.AUTOMATION
    assert sensor.default_status is dg.DefaultSensorStatus.RUNNING
    assert sensor.minimum_interval_seconds == 5
