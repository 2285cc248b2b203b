"""When the automation sensor evaluates the conditions and when it skips, with Dagster's storage in files."""

import time
from collections.abc import Iterator
from typing import Any

import dagster as dg
import pytest
from dagster._core.execution.backfill import BulkActionStatus, PartitionBackfill

from fine_tune_assets.defs.platform import automation_sensor
from fine_tune_assets.defs.platform.automation import DATA_VERSION, on_new_inputs
from fine_tune_assets.defs.platform.automation_sensor import MAX_IDLE_SECONDS, AutomationSensor


class Daemon:
    """Ticks like the daemon, with an asset `model` that depends on a source `src`."""

    def __init__(self, instance: dg.DagsterInstance) -> None:
        self.instance, self.cursor, self.is_noticed = instance, None, False
        self.evaluations = 0

        class Counted(dg.AutomationCondition):  # type: ignore[type-arg]
            name = "counted"

            def evaluate(_self, context: Any) -> dg.AutomationResult:
                self.evaluations += 1
                return dg.AutomationResult(context, context.candidate_subset)

        @dg.asset(deps=["src"], automation_condition=Counted() & on_new_inputs())
        def model() -> dg.MaterializeResult[None]:
            return dg.MaterializeResult(data_version=dg.DataVersion("1"))

        self.sensor = AutomationSensor("automation", target=dg.AssetSelection.all(), use_user_code_server=True)
        self.defs = dg.Definitions(assets=[dg.AssetSpec("src"), model], sensors=[self.sensor])

    def tick(self) -> tuple[bool, bool]:
        """Whether the tick evaluated the conditions, and whether it requested a run."""
        before, repository = self.evaluations, self.defs.get_repository_def()
        context = dg.build_sensor_context(self.instance, cursor=self.cursor, repository_def=repository)
        found = repository.get_sensor_def("automation").evaluate_tick(context)
        self.cursor = found.cursor  # type: ignore[assignment]
        return self.evaluations > before, bool(found.run_requests)

    def report(self, version: str) -> None:
        event = dg.AssetMaterialization("src", tags={DATA_VERSION: version})
        self.instance.report_runless_asset_event(event)

    def run(self) -> None:
        job = self.defs.resolve_implicit_global_asset_job_def()
        assert job.execute_in_process(instance=self.instance, asset_selection=[dg.AssetKey("model")]).success


@pytest.fixture
def daemon() -> Iterator[Daemon]:
    with dg.DagsterInstance.local_temp() as instance:
        yield Daemon(instance)


@pytest.fixture
def settled(daemon: Daemon) -> Daemon:
    daemon.report("1")
    assert daemon.tick() == (True, True)
    daemon.run()
    assert daemon.tick() == (True, False)
    return daemon


def test_without_activity_ticks_are_skipped(settled: Daemon) -> None:
    cursor = settled.cursor
    assert [settled.tick() for _ in range(3)] == [(False, False)] * 3
    assert settled.cursor == cursor


def test_an_event_is_evaluated_at_the_next_tick(settled: Daemon) -> None:
    """A new source version is evaluated, a run is requested until it starts, and the end of the run is evaluated."""
    settled.tick()
    settled.report("2")
    assert settled.tick() == (True, True)
    assert settled.tick() == (True, True)
    settled.run()
    assert settled.tick() == (True, False)
    assert settled.tick() == (False, False)


def test_a_changed_run_is_evaluated(settled: Daemon) -> None:
    """Conditions depend on runs in progress, so a started and a cancelled run count as activity."""
    settled.tick()
    job = settled.defs.resolve_implicit_global_asset_job_def()
    run = settled.instance.create_run_for_job(job, status=dg.DagsterRunStatus.STARTED)
    assert settled.tick()[0]
    assert settled.tick() == (False, False)
    settled.instance.report_run_canceled(run)
    assert settled.tick()[0]


def test_the_end_of_a_backfill_is_evaluated(settled: Daemon) -> None:
    """It ends after its last run, and its assets are in progress until then: without this, they would wait five minutes."""
    settled.tick()
    backfill = PartitionBackfill(
        backfill_id="several batches",
        status=BulkActionStatus.REQUESTED,
        from_failure=False,
        tags={},
        backfill_timestamp=time.time(),
        asset_selection=[dg.AssetKey("model")],
    )
    settled.instance.add_backfill(backfill)
    assert settled.tick()[0]
    assert settled.tick() == (False, False)
    settled.instance.update_backfill(backfill.with_status(BulkActionStatus.COMPLETED_SUCCESS))
    assert settled.tick()[0]


def test_an_event_during_an_evaluation_causes_another_one(settled: Daemon, monkeypatch: pytest.MonkeyPatch) -> None:
    """Otherwise a change that the evaluation just missed would wait a minute."""
    original = dg.AutomationConditionSensorDefinition.evaluate_tick

    def evaluate_and_report(sensor: Any, context: Any) -> Any:
        found = original(sensor, context)
        monkeypatch.undo()
        settled.report("2")
        return found

    settled.report("1")
    monkeypatch.setattr(dg.AutomationConditionSensorDefinition, "evaluate_tick", evaluate_and_report)
    assert settled.tick() == (True, False)
    assert settled.tick() == (True, True)


def test_conditions_are_evaluated_at_least_every_five_minutes(settled: Daemon, monkeypatch: pytest.MonkeyPatch) -> None:
    """Conditions also read files and the ledger, whose changes don't create events."""
    settled.tick()
    later = time.monotonic() + MAX_IDLE_SECONDS
    monkeypatch.setattr(automation_sensor.time, "monotonic", lambda: later)
    assert settled.tick() == (True, False)
    assert settled.tick() == (False, False)
