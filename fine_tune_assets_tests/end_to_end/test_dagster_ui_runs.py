"""An operator's work in the Dagster UI while the real daemon runs: stop a training, materialize assets, read their checks."""

import json
import re
import statistics
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import dagster as dg
import psutil
import pytest
from click.testing import CliRunner
from playwright.sync_api import Page, expect

from fine_tune_assets.cli.main import main
from fine_tune_assets.core.settings import PREFIX
from fine_tune_assets.definitions import defs
from fine_tune_assets.defs.local_run import materialize_stale
from fine_tune_assets_tests.conftest import create_installation, drop_dialogues, write_recipe
from fine_tune_assets_tests.end_to_end.daemon_waits import until, until_quiet
from fine_tune_assets_tests.end_to_end.dagster_ui_user import Ui, open_as, press_terminate, running_ui
from fine_tune_assets_tests.serving.load import wait

pytestmark = [pytest.mark.slow, pytest.mark.long, pytest.mark.timeout(1500)]

RUN_SECONDS, QUIET_SECONDS = 180.0, 20.0
"""`source_sensor` looks every 15 seconds, so quiet takes longer than that."""
EPOCHS = 200
"""Minutes of training on any machine, so that it can be stopped."""
REPETITIONS = 5
TICKS = 3
SET_CHECKS = {
    "erasures_are_complete",
    "every_approved_example_is_accounted_for",
    "final_texts_contain_no_identifiers",
    "set_meets_minimum_size",
    "splits_have_no_leakage",
    "test_subjects_stay_in_test",
}


@pytest.fixture(scope="module")
def ui(tmp_path_factory: pytest.TempPathFactory, dagster_home: Path) -> Iterator[Ui]:
    """One small batch from a trusted source, and everything that a training needs. The daemon starts the training."""
    with pytest.MonkeyPatch.context() as patch:
        data = create_installation(tmp_path_factory.mktemp("ui-runs"), patch, dagster_home)
        write_recipe(data, training={"epochs": EPOCHS})
        drop_dialogues(data, "2026-02", first=0, count=24)
        with dg.DagsterInstance.get() as opened:
            assert not materialize_stale(defs, opened, only=_all_but_the_training()).failed
        with running_ui() as found:
            yield found


@pytest.fixture(scope="module")
def instance(ui: Ui) -> Iterator[dg.DagsterInstance]:  # noqa: ARG001
    """The instance that the services use."""
    with dg.DagsterInstance.get() as opened:
        yield opened


def test_an_operator_stops_the_training_that_the_daemon_started(
    ui: Ui, instance: dg.DagsterInstance, page: Page
) -> None:
    """A wrong training must not hold the GPU for hours, and the audit log must name who stopped it."""
    until(lambda: bool(_runs_of(instance, "adapters")), ui.settings, RUN_SECONDS, "a training")
    (training,) = _runs_of(instance, "adapters")
    open_as(page, ui, "operator", "/dagster/runs")
    page.get_by_role("link", name=training.run_id[:8]).click()
    expect(page.get_by_text(re.compile("of .* optimizer steps")).first).to_be_visible(timeout=RUN_SECONDS * 1000)
    assert _trainers(ui)
    press_terminate(page)
    page.get_by_role("button", name="Done").click()
    expect(page.get_by_text("Canceled", exact=True).first).to_be_visible(timeout=RUN_SECONDS * 1000)
    assert [run.status for run in _runs_of(instance, "adapters")] == [dg.DagsterRunStatus.CANCELED]
    assert _trainers(ui) == []
    ((actor, action, subject),) = ui.audited()
    assert (actor, action) == ("operator one", "Dagster: terminateRuns")
    assert training.run_id in subject


def test_a_stopped_training_is_not_restarted_over_unchanged_inputs(ui: Ui, instance: dg.DagsterInstance) -> None:
    """Otherwise the operator would have to stop it again and again. Its inputs have not changed."""
    (stopped,) = instance.get_run_records(dg.RunsFilter(statuses=[dg.DagsterRunStatus.CANCELED]))
    assert stopped.end_time is not None
    until_quiet(instance, ui.settings, QUIET_SECONDS, RUN_SECONDS)
    ended = stopped.end_time
    until(lambda: _ticks_since(instance, ended) >= TICKS, ui.settings, RUN_SECONDS, "ticks of the automation")
    assert len(_runs_of(instance, "adapters")) == 1
    assert _trainers(ui) == []


def test_a_click_on_materialize_succeeds_each_time(
    ui: Ui, page: Page, instance: dg.DagsterInstance, record_property: Callable[[str, object], None]
) -> None:
    """Reports the seconds from the click to the end of a trivial run, and to the page that shows it. Does not assert on them."""
    open_as(page, ui, "operator", "/dagster/assets/general_examples")
    until_run_ends, until_shown = [], []
    for _ in range(REPETITIONS):
        page.goto(f"{ui.url}/dagster/assets/general_examples")
        expect(page.get_by_role("button", name="Materialize").first).to_be_enabled()
        clicked = time.time()
        run_id = _materialize(page)
        expect(page.get_by_text("Success", exact=True).first).to_be_visible(timeout=RUN_SECONDS * 1000)
        until_shown.append(time.time() - clicked)
        until_run_ends.append(_end_time(instance, run_id) - clicked)
    for name, seconds in (("run ends", until_run_ends), ("page shows it", until_shown)):
        measured = {"median": round(statistics.median(seconds), 1), "maximum": round(max(seconds), 1)}
        record_property(f"seconds until the {name}", measured)
        print(json.dumps({"seconds until": name, **measured}))


def test_an_operator_finds_the_instruction_set_materializes_it_and_reads_its_checks(
    ui: Ui, page: Page, instance: dg.DagsterInstance
) -> None:
    """Lineage, asset, Materialize, run, checks: the path of an operator who does not know the addresses of the pages."""
    open_as(page, ui, "operator", "/dagster/asset-groups")
    page.get_by_placeholder("Jump to").fill("instruction_sets")
    page.get_by_role("menuitem", name="instruction_sets").first.click()
    page.get_by_role("link", name="View in Asset Catalog").click()
    page.wait_for_url(f"{ui.url}/dagster/assets/instruction_sets")
    run_id = _materialize(page)
    expect(page.get_by_text("Success", exact=True).first).to_be_visible(timeout=RUN_SECONDS * 1000)
    assert _passed_checks(instance, run_id) == SET_CHECKS
    page.goto(f"{ui.url}/dagster/assets/instruction_sets")
    page.get_by_role("tab", name="Checks").click()
    expect(page.get_by_text("Succeeded", exact=True)).to_have_count(len(SET_CHECKS))
    actor, action, subject = ui.audited()[-1]
    assert (actor, action) == ("operator one", "Dagster: launchPipelineExecution")
    assert subject.endswith("assets instruction_sets")


@pytest.mark.usefixtures("ui")
def test_the_command_waits_for_the_runs_of_the_services_and_ends_with_the_account(instance: dg.DagsterInstance) -> None:
    """Whoever submits a run must see what it left out, without looking for it in another program."""
    done = CliRunner().invoke(main, ["materialize", "+drafted_examples"])
    assert done.exit_code == 0, done.output
    submitted = instance.get_runs(dg.RunsFilter(tags={"dagster/partition": "2026-02"}), limit=1)
    assert [run.status for run in submitted] == [dg.DagsterRunStatus.SUCCESS]
    runs, account = done.output.split("Account of 1 batch")
    assert "[2026-02]" in runs
    assert "drafts" in account


def _all_but_the_training() -> set[str]:
    """What the daemon would make before the training, or in the same run."""
    graph = defs.resolve_asset_graph()
    after = dg.AssetSelection.assets("adapters").downstream() - dg.AssetSelection.assets("judge_agreement")
    return {key.to_user_string() for key in (dg.AssetSelection.all() - after).resolve(graph)}


def _runs_of(instance: dg.DagsterInstance, asset: str) -> list[dg.DagsterRun]:
    return [run for run in instance.get_runs() if dg.AssetKey(asset) in (run.asset_selection or ())]


def _trainers(ui: Ui) -> list[int]:
    """Ids of the processes that train in this installation."""
    data = str(ui.settings.layout.data_dir)
    return [
        process.pid
        for process in psutil.process_iter(["cmdline", "environ"])
        if "fine_tune_assets.training" in (process.info["cmdline"] or [])
        and (process.info["environ"] or {}).get(PREFIX + "DATA_DIR") == data
    ]


def _ticks_since(instance: dg.DagsterInstance, moment: float) -> int:
    (sensor,) = [found for found in instance.all_instigator_state() if found.instigator_name == "automation"]
    return len(instance.get_ticks(sensor.instigator_origin_id, sensor.selector_id, after=moment))


def _materialize(page: Page) -> str:
    """Press the button on an asset's page, follow the link to the run, and return its id."""
    page.get_by_role("button", name="Materialize").first.click()
    page.get_by_role("link", name="View", exact=True).click()
    page.wait_for_url(re.compile(r"/dagster/runs/[\w-]{36}"))
    return page.url.rsplit("/", 1)[1]


def _end_time(instance: dg.DagsterInstance, run_id: str) -> float:
    """Waits for it: the page shows the success of the step a moment before the run's end is recorded."""
    found: list[float] = []

    def has_ended() -> bool:
        record = instance.get_run_record_by_id(run_id)
        assert record is not None
        found[:] = [] if record.end_time is None else [record.end_time]
        return bool(found)

    wait(has_ended, 10)
    return found[0]


def _passed_checks(instance: dg.DagsterInstance, run_id: str) -> set[str]:
    entries = instance.all_logs(run_id, of_type=dg.DagsterEventType.ASSET_CHECK_EVALUATION)
    found = [entry.get_dagster_event().asset_check_evaluation_data for entry in entries]
    return {evaluation.check_name for evaluation in found if evaluation.passed}
