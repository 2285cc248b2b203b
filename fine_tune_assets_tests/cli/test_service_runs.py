"""Runs that the services execute: submitted in the order in which they need each other, and waited for."""

import time
from collections.abc import Iterator
from pathlib import Path

import dagster as dg
import pytest

from fine_tune_assets.cli.run_submission import SubmissionError
from fine_tune_assets.cli.service_runs import ProgressLines, split_into_waves, wait_for_runs
from fine_tune_assets.core.progress import RunningStep, progress_writer, publish_step

GATE, FIRST, SECOND, REST = (None, ["scrub_recall"]), ("a", ["reports"]), ("b", ["reports"]), (None, ["drafts"])


@pytest.fixture
def instance() -> Iterator[dg.DagsterInstance]:
    with dg.DagsterInstance.ephemeral() as opened:
        yield opened


def add_run(instance: dg.DagsterInstance, run_id: str, status: dg.DagsterRunStatus) -> str:
    return instance.add_run(dg.DagsterRun(job_name="assets", run_id=run_id, status=status)).run_id


def test_what_reads_all_batches_waits_for_them() -> None:
    """Submitted together, the comparison of all reports would run beside the batches that it compares."""
    assert split_into_waves([GATE, FIRST, SECOND, REST]) == [[GATE], [FIRST, SECOND], [REST]]
    assert split_into_waves([REST]) == [[REST]]
    assert split_into_waves([]) == []


def test_each_run_is_returned_when_it_ends_and_a_failure_does_not_end_the_waiting(instance: dg.DagsterInstance) -> None:
    """One batch that fails must not hide how the others ended."""
    failed = add_run(instance, "0" * 32, dg.DagsterRunStatus.FAILURE)
    running = add_run(instance, "1" * 32, dg.DagsterRunStatus.STARTED)
    ended = wait_for_runs(instance, [failed, running], lambda: True)
    assert next(ended).run_id == failed
    run = instance.get_run_by_id(running)
    assert run is not None
    instance.report_run_canceled(run)
    assert [run.run_id for run in ended] == [running]


def test_a_daemon_that_stops_ends_the_waiting(instance: dg.DagsterInstance) -> None:
    """Nothing would ever start the queued runs."""
    running = add_run(instance, "2" * 32, dg.DagsterRunStatus.STARTED)
    with pytest.raises(SubmissionError, match="1 runs have not ended"):
        list(wait_for_runs(instance, [running], lambda: False))


def test_the_running_steps_are_shown_while_the_command_waits(tmp_path: Path) -> None:
    """A training of ten minutes was silent, so that people stopped it."""
    shown: list[str] = []
    progress = ProgressLines(tmp_path, shown.append, seconds=0)
    progress.show()
    with publish_step(tmp_path, RunningStep("s06_adapters", ("adapters",), None, time.time())) as file:
        progress_writer(file)(3, 40, "optimizer steps")
        progress.show()
    progress.show()
    assert shown == ["s06 adapters: 3 of 40 optimizer steps"]
