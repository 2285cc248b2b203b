"""One retraining at a time: data that arrives during a training is kept for the next one."""

from datetime import UTC, datetime
from pathlib import Path
from zoneinfo import ZoneInfo

import dagster as dg
import pytest
from dagster._utils.schedules import schedule_execution_time_iterator

from fine_tune_assets.approval.drafts import CORRECTION
from fine_tune_assets.core.errors import SettingsError
from fine_tune_assets.core.settings import Settings, load_settings
from fine_tune_assets.definitions import defs
from fine_tune_assets.defs.platform.automation import InputsChanged, InputsPresent, inputs_are_final, ready_to_run
from fine_tune_assets.defs.platform.resources import Installation
from fine_tune_assets.defs.s06_adapters import adapters as s06_adapters
from fine_tune_assets.defs.s06_adapters.adapters import weekly_retraining
from fine_tune_assets.training.training_due import TrainingDue
from fine_tune_assets_tests.conftest import write_recipe
from fine_tune_assets_tests.defs.platform.automation_graph import Graph
from fine_tune_assets_tests.defs.trained_versions import trained_by_recipe
from fine_tune_assets_tests.instructions.examples import example, subjects_in
from fine_tune_assets_tests.lineage.stored_data import store, store_set

pytestmark = pytest.mark.usefixtures("installation_dir")


@pytest.fixture
def due(monkeypatch: pytest.MonkeyPatch) -> None:
    """Something new was approved: what `test_training_is_due…` prove is taken for granted here."""
    monkeypatch.setattr(s06_adapters, "_decide_due", lambda *_, **__: TrainingDue.AFTER_CANDIDATE)


def _weekly(instance: dg.DagsterInstance) -> object:
    now, repository = datetime.now(tz=ZoneInfo("UTC")), defs.get_repository_def()
    # With resources as an argument the schedule makes a second context, and only the garbage collector closes its instance: that
    # resets Dagster's defs state storage in the middle of another test.
    with dg.build_schedule_context(
        instance, resources={"installation": Installation()}, scheduled_execution_time=now, repository_def=repository
    ) as context:
        return weekly_retraining(context)


@pytest.mark.usefixtures("due")
@pytest.mark.parametrize("status", [dg.DagsterRunStatus.NOT_STARTED, dg.DagsterRunStatus.STARTED])
@pytest.mark.parametrize("made", ["adapters", "judge_scores", "memorization_results", "served_models"])
def test_the_weekly_schedule_starts_no_second_training_during_a_running_one(
    instance: dg.DagsterInstance, status: dg.DagsterRunStatus, made: str
) -> None:
    """Two would take turns on the card and end with the older set in front of users; and a new adapter would take the place of
    a candidate that is about to be served."""
    job = defs.resolve_implicit_global_asset_job_def()
    run = instance.create_run_for_job(job, asset_selection=frozenset({dg.AssetKey(made)}), status=status)
    assert isinstance(_weekly(instance), dg.SkipReason)
    instance.report_run_canceled(run)
    assert isinstance(_weekly(instance), dg.RunRequest)


@pytest.mark.usefixtures("due")
def test_a_run_that_makes_something_else_holds_up_no_training(instance: dg.DagsterInstance) -> None:
    """Scrubbing runs all day."""
    job = defs.resolve_implicit_global_asset_job_def()
    selection = frozenset({dg.AssetKey("scrubbed_corrections")})
    instance.create_run_for_job(job, asset_selection=selection, status=dg.DagsterRunStatus.STARTED)
    assert isinstance(_weekly(instance), dg.RunRequest)


def test_what_arrives_during_a_training_starts_the_next_one(instance: dg.DagsterInstance) -> None:
    """The corrections of the hours that a training takes are the newest ones."""

    @dg.asset(
        deps=["corrections"],
        automation_condition=ready_to_run() & inputs_are_final() & InputsPresent() & InputsChanged(),
    )
    def adapters() -> dg.MaterializeResult[None]:
        return dg.MaterializeResult(data_version=graph.compute())

    graph = Graph(dg.Definitions(assets=[dg.AssetSpec("corrections"), adapters]), instance)
    graph.report("corrections", "40 of them")
    assert graph.tick() == {"adapters"}
    ticked_during: list[object] = []

    def more_arrive() -> None:
        graph.report("corrections", "41 of them")
        ticked_during.append(graph.tick())

    graph.during = more_arrive
    assert graph.run("adapters")
    assert ticked_during == [set()]
    assert graph.tick() == {"adapters"}
    assert graph.run("adapters")
    assert graph.tick() == set()


def test_sunday_at_three_is_meant_where_the_installation_stands() -> None:
    """In New York three o'clock UTC is Saturday evening, when people work."""
    assert Settings(retrain={"time_zone": "America/New_York"}).time_zone == "America/New_York"
    assert ZoneInfo(Settings().time_zone)
    assert weekly_retraining.execution_timezone
    with pytest.raises(SettingsError, match="Nowhere/Land"):
        _ = Settings(retrain={"time_zone": "Nowhere/Land"}).time_zone


def test_the_week_begins_on_sunday_at_three_of_the_installations_own_time() -> None:
    """Also where the clock is put forward in that night: the default is the requirement's, and Dagster reads it so."""
    assert Settings().retrain.cron == "0 3 * * 0"
    assert (weekly_retraining.cron_schedule, weekly_retraining.execution_timezone) == (
        Settings().retrain.cron,
        load_settings().time_zone,
    )
    zone = ZoneInfo("America/New_York")
    since = datetime(2026, 3, 4, tzinfo=zone).timestamp()
    ticks = schedule_execution_time_iterator(since, Settings().retrain.cron, "America/New_York")
    found = [next(ticks).astimezone(zone) for _ in range(3)]
    assert [(tick.strftime("%A %H:%M"), tick.day) for tick in found] == [
        ("Sunday 03:00", 8),
        ("Sunday 03:00", 15),
        ("Sunday 03:00", 22),
    ]


def _report(instance: dg.DagsterInstance, asset: str, version: str) -> None:
    """Report a materialization as a run with the current recipe would."""
    tags = {"dagster/data_version": version, **trained_by_recipe()}
    instance.report_runless_asset_event(dg.AssetMaterialization(asset, tags=tags))


@pytest.mark.parametrize("source", ["clinic", CORRECTION])
def test_one_new_example_is_enough_for_the_week_and_for_nothing_else(instance: dg.DagsterInstance, source: str) -> None:
    """What a ward corrects once is known a week later; and with nothing new there is nothing to train."""
    layout = Installation().layout
    trained = store_set(layout).fingerprint
    store(layout, "adapters", [{"base_fingerprint": "b", "instruction_set_fingerprint": trained}])
    store(layout, "base_models", [{"fingerprint": "b"}])
    for asset, version in (("base_models", "b"), ("instruction_sets", trained), ("adapters", "1")):
        _report(instance, asset, version)
    assert isinstance(_weekly(instance), dg.SkipReason)

    (patient,) = subjects_in("train", 1)
    new = store_set(layout, extra=({**example(patient, "A finding of today.", "Come back."), "source": source},))
    _report(instance, "instruction_sets", new.fingerprint)
    assert s06_adapters._decide_due(instance, Installation(), minimum=None) is TrainingDue.NOT_DUE
    assert isinstance(_weekly(instance), dg.RunRequest)

    store(layout, "adapters", [{"base_fingerprint": "b", "instruction_set_fingerprint": new.fingerprint}])
    _report(instance, "adapters", "2")
    assert isinstance(_weekly(instance), dg.SkipReason)


@pytest.mark.parametrize(
    ("newest_is_beyond", "new", "expected"),
    [(True, 2, TrainingDue.AFTER_CANDIDATE), (True, 1, TrainingDue.NOT_DUE), (False, 2, TrainingDue.NOT_DUE)],
)
def test_fewer_new_examples_are_enough_while_requests_have_drifted(
    instance: dg.DagsterInstance, installation_dir: Path, newest_is_beyond: bool, new: int, expected: TrainingDue
) -> None:
    """An alarm that leads nowhere is not looked at for long. Only the newest window counts."""
    write_recipe(installation_dir, retrain={"minimum_new_examples": 100, "minimum_new_after_drift": 2})
    layout = Installation().layout
    trained = store_set(layout).fingerprint
    store(layout, "adapters", [{"base_fingerprint": "b", "instruction_set_fingerprint": trained}])
    store(layout, "base_models", [{"fingerprint": "b"}])
    ends = datetime(2026, 5, 1, tzinfo=UTC), datetime(2026, 5, 2, tzinfo=UTC)
    windows = zip(ends, (not newest_is_beyond, newest_is_beyond), strict=True)
    store(
        layout,
        "production_drift",
        [{"window_end": end, "feature": "language", "exceeds_threshold": is_} for end, is_ in windows],
    )
    patients = subjects_in("train", new)
    current = store_set(layout, extra=tuple(example(patient, f"Seen by {patient}.", "Rest.") for patient in patients))
    for asset, version in (("base_models", "b"), ("instruction_sets", current.fingerprint), ("adapters", "1")):
        _report(instance, asset, version)
    assert s06_adapters._decide_due(instance, Installation(), minimum=None) is expected
