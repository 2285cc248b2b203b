"""Bringing everything up to date in this process: what a person asks for again is tried again, and nothing goes unsaid."""

import subprocess
import sys
from pathlib import Path

import dagster as dg
import pytest
from click.testing import CliRunner

from fine_tune_assets.cli.main import main
from fine_tune_assets.core.paths import PROJECT_DIR
from fine_tune_assets.core.stages import STAGES
from fine_tune_assets.definitions import defs
from fine_tune_assets.defs.local_run import (
    PROCESS_TAG,
    VERDICT_CHECK,
    UnknownAssetError,
    create_databases,
    execute_assets,
    fail_abandoned_runs,
    map_steps_to_stages,
    materialize_stale,
    plan_runs,
    progress_logger,
)
from fine_tune_assets.defs.platform.automation import on_new_inputs
from fine_tune_assets.defs.s01_raw_reports.raw_reports import BATCHES
from fine_tune_assets_tests.conftest import replace_file

KILLED_WHILE_IT_WORKS = """
import os, signal
import dagster as dg
from fine_tune_assets.defs.platform.automation import on_new_inputs
from fine_tune_assets.defs.local_run import materialize_stale, progress_logger

@dg.asset(deps=["expert_decisions"], automation_condition=on_new_inputs())
def model() -> dg.MaterializeResult[None]:
    os.kill(os.getpid(), signal.SIGKILL)

with dg.DagsterInstance.get() as instance:
    assets = [dg.AssetSpec("expert_decisions"), model]
    materialize_stale(dg.Definitions(assets=assets, loggers={"progress": progress_logger}), instance)
"""


class Graph:
    """One asset behind a real source, which can be made to fail."""

    def __init__(self) -> None:
        self.is_broken, self.attempts = False, 0

        @dg.asset(deps=["expert_decisions"], automation_condition=on_new_inputs())
        def model() -> dg.MaterializeResult[None]:
            self.attempts += 1
            if self.is_broken:
                raise dg.Failure("out of memory", allow_retries=False)
            return dg.MaterializeResult(data_version=dg.DataVersion("1"))

        assets = [dg.AssetSpec("expert_decisions"), model]
        self.defs = dg.Definitions(assets=assets, loggers={"progress": progress_logger})


@pytest.mark.usefixtures("installation_dir")
def test_what_failed_is_tried_once_more_each_time_that_a_person_asks(instance: dg.DagsterInstance) -> None:
    """Automation does not retry a failed run. A user who has freed disk space and retries must not get "up to date"."""
    graph = Graph()
    graph.is_broken = True
    assert [len(materialize_stale(graph.defs, instance).failed) for _ in range(2)] == [1, 1]
    graph.is_broken = False
    assert [run.is_success for run in materialize_stale(graph.defs, instance).runs] == [True]
    assert materialize_stale(graph.defs, instance).runs == []
    assert graph.attempts == 3


@pytest.mark.usefixtures("installation_dir")
def test_what_was_killed_is_made_by_the_next_call(instance: dg.DagsterInstance) -> None:
    """A run without its process stays "started" in Dagster's storage and would block its assets indefinitely."""
    killed = subprocess.run([sys.executable, "-c", KILLED_WHILE_IT_WORKS], cwd=PROJECT_DIR, check=False)
    assert killed.returncode == -9
    (run,) = instance.get_runs()
    assert not run.is_finished
    summary = materialize_stale(Graph().defs, instance)
    assert [run.is_success for run in summary.runs] == [True]
    assert summary.unfinished == ()
    assert instance.get_runs(filters=dg.RunsFilter(run_ids=[run.run_id]))[0].status is dg.DagsterRunStatus.FAILURE


@pytest.mark.usefixtures("installation_dir")
def test_a_named_asset_is_materialized_without_changes_and_an_unknown_name_is_an_error(
    instance: dg.DagsterInstance,
) -> None:
    """Restores a lost table. A typo must cause an error."""
    graph = Graph()
    assert len(materialize_stale(graph.defs, instance).runs) == 1
    assert [run.assets for run in materialize_stale(graph.defs, instance, forced=["model"]).runs] == [("model",)]
    assert graph.attempts == 2
    for name in ("modle", "expert_decisions"):
        with pytest.raises(UnknownAssetError, match=f"{name}.* model"):
            materialize_stale(graph.defs, instance, forced=[name])


def test_what_batches_read_is_materialized_before_them(instance: dg.DagsterInstance) -> None:
    """In an empty installation, a scrubber that was not measured can't scrub the first batch."""
    instance.add_dynamic_partitions(str(BATCHES.name), ["b1", "b2"])
    names = ["drafted_examples", "scrub_recall", "scrubbed_reports", "unique_reports"]
    planned = plan_runs(defs.resolve_asset_graph(), instance, names)
    batch = ("phi_spans", "scrubbed_reports")
    assert planned[:3] == [(None, ("scrub_recall",)), ("b1", batch), ("b2", batch)]
    assert [partition for partition, _ in planned[3:]] == [None]
    assert "scrub_recall" not in planned[3][1]
    assert plan_runs(defs.resolve_asset_graph(), instance, ["scrub_recall"]) == [(None, ("scrub_recall",))]


@pytest.mark.usefixtures("installation_dir")
def test_what_fails_again_is_not_tried_twice_in_one_call(instance: dg.DagsterInstance) -> None:
    """It may be a training of hours."""
    graph = Graph()
    graph.is_broken = True
    assert len(materialize_stale(graph.defs, instance, forced=["model"]).failed) == graph.attempts == 1


def judged(check: str, error: Exception | None = None) -> dg.Definitions:
    """A verdict behind a blocking check of this name."""

    @dg.asset
    def promotion_verdicts() -> dg.MaterializeResult[None]:
        if error is not None:
            raise error
        return dg.MaterializeResult(data_version=dg.DataVersion("1"))

    @dg.asset_check(asset="promotion_verdicts", name=check, blocking=True)
    def closed() -> dg.AssetCheckResult:
        return dg.AssetCheckResult(passed=False, metadata={"reason": "Verdict v is hold and nobody signed it."})

    return dg.Definitions(assets=[promotion_verdicts], asset_checks=[closed], loggers={"progress": progress_logger})


def test_an_input_that_does_not_exist_is_named_with_the_command_that_makes_it(instance: dg.DagsterInstance) -> None:
    """It said `FileNotFoundError`, and nothing else."""
    done = execute_assets(defs, instance, ("promotion_verdicts",), None)
    assert not done.is_success
    assert "`fine-tune materialize +" in done.errors[0]


def test_an_unexpected_error_is_named_by_its_class_and_never_by_its_message(instance: dg.DagsterInstance) -> None:
    """A person read "Error occurred while executing op" and nothing after the colon; the message may quote a report."""

    @dg.asset
    def broken() -> None:
        raise ValueError("Zebrafinch")

    done = execute_assets(dg.Definitions([broken], loggers={"progress": progress_logger}), instance, ("broken",), None)
    (error,) = done.errors
    assert "ValueError" in error
    assert "Zebrafinch" not in error


@pytest.mark.parametrize(
    ("check", "error", "is_stopped"),
    [
        (VERDICT_CHECK, None, True),
        ("validation_loss_decreased", None, False),
        (VERDICT_CHECK, dg.Failure("GateClosedError: Verdict v on adapter a is hold."), True),
        (VERDICT_CHECK, dg.Failure("GateClosedError: Grades are about other examples."), False),
        (VERDICT_CHECK, dg.Failure("out of memory"), False),
    ],
)
def test_a_run_blocked_only_by_the_verdict_differs_from_a_failed_run(
    check: str, error: Exception | None, is_stopped: bool
) -> None:
    """The demo ends well on the first kind, and never on the second."""
    with dg.DagsterInstance.ephemeral() as instance:
        run = execute_assets(judged(check, error), instance, ("promotion_verdicts",), None)
    assert not run.is_success
    assert run.is_blocked_by_verdict == is_stopped


def test_the_check_that_the_verdict_closes_is_in_the_graph() -> None:
    """Its name is written twice."""
    from fine_tune_assets.definitions import defs

    keys = {key.name for key in defs.resolve_asset_graph().asset_check_keys}
    assert VERDICT_CHECK in keys


def test_every_step_of_the_graph_belongs_to_a_stage() -> None:
    """What belongs to none would run without a line on the terminal."""
    from fine_tune_assets.definitions import defs

    job = defs.resolve_implicit_global_asset_job_def()
    assert {node.name for node in job.nodes} == set(map_steps_to_stages(defs))
    assert set(map_steps_to_stages(defs).values()) == set(STAGES)


@pytest.mark.usefixtures("installation_dir")
def test_a_run_of_another_machine_is_not_marked_as_failed(instance: dg.DagsterInstance) -> None:
    """Its process is not to be seen from here, and with a shared database it may be training now."""
    job = Graph().defs.resolve_implicit_global_asset_job_def()
    run = instance.create_run_for_job(job, status=dg.DagsterRunStatus.STARTED, tags={PROCESS_TAG: "another:1-1"})
    fail_abandoned_runs(instance)
    assert instance.get_runs(filters=dg.RunsFilter(run_ids=[run.run_id]))[0].status is dg.DagsterRunStatus.STARTED


@pytest.mark.parametrize("command", [("materialize",), ("demo", "--no-ui")])
def test_a_recipe_with_an_unknown_key_ends_the_command_with_its_name(
    installation_dir: Path, command: tuple[str, ...]
) -> None:
    """Without it nothing would be made, and the command would end well."""
    recipe = installation_dir / "recipe.yaml"
    replace_file(recipe, recipe.read_bytes() + b"\ngaet: {minimum_gain: 1}\n")
    done = CliRunner().invoke(main, list(command))
    assert done.exit_code == 1
    assert "recipe.yaml: gaet" in done.output


def test_databases_are_there_before_services_want_them(installation_dir: Path) -> None:
    """Daemon, web server and code server start at once: two that make the same file leave it with two versions, unreadable."""
    home = installation_dir / "new-home"
    home.mkdir()
    with dg.DagsterInstance.local_temp(str(home)) as instance:
        create_databases(instance)
        made = {path.relative_to(home).as_posix() for path in home.rglob("*.db")}
        versions = instance.event_log_storage.alembic_version(), instance.run_storage.alembic_version()
    assert {"history/runs.db", "schedules/schedules.db"} <= made
    assert any("index" in name for name in made)
    assert all(current == newest for current, newest in versions)
