"""Bringing everything up to date in this process: what a person asks for again is tried again, and nothing goes unsaid."""

import subprocess
import sys
from pathlib import Path

import dagster as dg
import pytest
from click.testing import CliRunner

from fine_tune_assets.cli.main import main
from fine_tune_assets.core.paths import PROJECT_DIR
from fine_tune_assets.defs.automation import on_new_inputs
from fine_tune_assets.defs.local_run import (
    PROCESS,
    UnknownAssetError,
    fail_abandoned_runs,
    make_databases,
    materialize_stale,
    progress_logger,
)
from fine_tune_assets_tests.conftest import replace_file

KILLED_WHILE_IT_WORKS = """
import os, signal
import dagster as dg
from fine_tune_assets.defs.automation import on_new_inputs
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
    """Automation leaves a failed attempt alone; whoever freed the disk and asks again must not hear "up to date"."""
    graph = Graph()
    graph.is_broken = True
    assert [len(materialize_stale(graph.defs, instance).failed) for _ in range(2)] == [1, 1]
    graph.is_broken = False
    assert [run.is_success for run in materialize_stale(graph.defs, instance).runs] == [True]
    assert materialize_stale(graph.defs, instance).runs == []
    assert graph.attempts == 3


@pytest.mark.usefixtures("installation_dir")
def test_what_was_killed_is_made_by_the_next_call(instance: dg.DagsterInstance) -> None:
    """A run without its process stays "started" in Dagster's storage, and would hold its assets back for ever."""
    killed = subprocess.run([sys.executable, "-c", KILLED_WHILE_IT_WORKS], cwd=PROJECT_DIR, check=False)
    assert killed.returncode == -9
    (run,) = instance.get_runs()
    assert not run.is_finished
    summary = materialize_stale(Graph().defs, instance)
    assert [run.is_success for run in summary.runs] == [True]
    assert summary.unfinished == ()
    assert instance.get_runs(filters=dg.RunsFilter(run_ids=[run.run_id]))[0].status is dg.DagsterRunStatus.FAILURE


@pytest.mark.usefixtures("installation_dir")
def test_an_asset_is_made_again_although_nothing_changed(instance: dg.DagsterInstance) -> None:
    """A table that was lost is made again by its name; a name that is wrong is not silently nothing."""
    graph = Graph()
    assert len(materialize_stale(graph.defs, instance).runs) == 1
    assert [run.assets for run in materialize_stale(graph.defs, instance, again=["model"]).runs] == [("model",)]
    assert graph.attempts == 2
    for name in ("modle", "expert_decisions"):
        with pytest.raises(UnknownAssetError, match="Known: model"):
            materialize_stale(graph.defs, instance, again=[name])


@pytest.mark.usefixtures("installation_dir")
def test_what_fails_again_is_not_tried_twice_in_one_call(instance: dg.DagsterInstance) -> None:
    """It may be a training of hours."""
    graph = Graph()
    graph.is_broken = True
    assert len(materialize_stale(graph.defs, instance, again=["model"]).failed) == graph.attempts == 1


@pytest.mark.usefixtures("installation_dir")
def test_a_run_of_another_machine_is_left_to_it(instance: dg.DagsterInstance) -> None:
    """Its process is not to be seen from here, and with a shared database it may be training now."""
    job = Graph().defs.resolve_implicit_global_asset_job_def()
    run = instance.create_run_for_job(job, status=dg.DagsterRunStatus.STARTED, tags={PROCESS: "another:1-1"})
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
        make_databases(instance)
        made = {path.relative_to(home).as_posix() for path in home.rglob("*.db")}
        versions = instance.event_log_storage.alembic_version(), instance.run_storage.alembic_version()
    assert {"history/runs.db", "schedules/schedules.db"} <= made
    assert any("index" in name for name in made)
    assert all(current == newest for current, newest in versions)
