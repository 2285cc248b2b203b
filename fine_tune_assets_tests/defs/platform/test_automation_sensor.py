"""When the automation sensor looks at all conditions, and when it need not. With Dagster's own storage in files."""

import time
from collections.abc import Iterator
from typing import Any

import dagster as dg
import pytest

from fine_tune_assets.defs.platform import automation_sensor
from fine_tune_assets.defs.platform.automation import DATA_VERSION, on_new_inputs
from fine_tune_assets.defs.platform.automation_sensor import LOOK_EACH_SECONDS, AutomationSensor


class Daemon:
    """Ticks as the daemon does, over one asset `model` that follows a source `src`."""

    def __init__(self, instance: dg.DagsterInstance) -> None:
        self.instance, self.cursor, self.is_noticed = instance, None, False
        self.looks = 0

        class Counted(dg.AutomationCondition):  # type: ignore[type-arg]
            name = "counted"

            def evaluate(_self, context: Any) -> dg.AutomationResult:
                self.looks += 1
                return dg.AutomationResult(context, context.candidate_subset)

        @dg.asset(deps=["src"], automation_condition=Counted() & on_new_inputs())
        def model() -> dg.MaterializeResult[None]:
            return dg.MaterializeResult(data_version=dg.DataVersion("1"))

        self.sensor = AutomationSensor("automation", target=dg.AssetSelection.all(), use_user_code_server=True)
        self.defs = dg.Definitions(assets=[dg.AssetSpec("src"), model], sensors=[self.sensor])

    def tick(self) -> tuple[bool, bool]:
        """Whether it looked, and whether it asked for a run."""
        before, repository = self.looks, self.defs.get_repository_def()
        context = dg.build_sensor_context(self.instance, cursor=self.cursor, repository_def=repository)
        found = repository.get_sensor_def("automation").evaluate_tick(context)
        self.cursor = found.cursor  # type: ignore[assignment]
        return self.looks > before, bool(found.run_requests)

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


def test_where_nothing_happened_it_is_not_looked_again(settled: Daemon) -> None:
    cursor = settled.cursor
    assert [settled.tick() for _ in range(3)] == [(False, False)] * 3
    assert settled.cursor == cursor


def test_what_happens_is_seen_at_the_next_tick(settled: Daemon) -> None:
    """A new version of a source; what was asked for is asked for until it is under way; and a run that ends."""
    settled.tick()
    settled.report("2")
    assert settled.tick() == (True, True)
    assert settled.tick() == (True, True)
    settled.run()
    assert settled.tick() == (True, False)
    assert settled.tick() == (False, False)


def test_a_run_that_changes_is_seen(settled: Daemon) -> None:
    """Conditions ask what is going on: one that starts, and one that is taken away."""
    settled.tick()
    job = settled.defs.resolve_implicit_global_asset_job_def()
    run = settled.instance.create_run_for_job(job, status=dg.DagsterRunStatus.STARTED)
    assert settled.tick()[0]
    assert settled.tick() == (False, False)
    settled.instance.report_run_canceled(run)
    assert settled.tick()[0]


def test_while_a_backfill_goes_on_it_is_looked_at_each_time(settled: Daemon) -> None:
    """Several partitions of an asset are asked for as one: that it ended is written where neither events nor runs are."""
    from dagster._core.execution.backfill import BulkActionStatus, PartitionBackfill

    backfill = PartitionBackfill(
        backfill_id="b1", partition_set_origin=None, status=BulkActionStatus.REQUESTED, partition_names=None,
        from_failure=False, reexecution_steps=None, tags={}, backfill_timestamp=time.time(),
        asset_selection=[dg.AssetKey("model")], serialized_asset_backfill_data=None,
    )  # fmt: skip
    settled.instance.add_backfill(backfill)
    settled.report("1")
    looked = [settled.tick()[0] for _ in range(3)]
    settled.instance.update_backfill(backfill.with_status(BulkActionStatus.COMPLETED_SUCCESS))
    assert [*looked, settled.tick()[0], settled.tick()[0]] == [True, True, True, True, False]


def test_what_happens_during_a_look_is_looked_at_once_more(settled: Daemon, monkeypatch: pytest.MonkeyPatch) -> None:
    """Else the change that a look just missed would wait for the next one."""
    whole = dg.AutomationConditionSensorDefinition.evaluate_tick

    def looked(sensor: Any, context: Any) -> Any:
        found = whole(sensor, context)
        monkeypatch.undo()
        settled.report("2")
        return found

    settled.report("1")
    monkeypatch.setattr(dg.AutomationConditionSensorDefinition, "evaluate_tick", looked)
    assert settled.tick() == (True, False)
    assert settled.tick() == (True, True)


def test_each_minute_it_is_looked_at_in_any_case(settled: Daemon, monkeypatch: pytest.MonkeyPatch) -> None:
    """Conditions read files and the ledger too."""
    settled.tick()
    later = time.monotonic() + LOOK_EACH_SECONDS
    monkeypatch.setattr(automation_sensor.time, "monotonic", lambda: later)
    assert settled.tick() == (True, False)
    assert settled.tick() == (False, False)
