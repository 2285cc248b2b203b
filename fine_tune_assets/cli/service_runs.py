"""Executes runs in the running Dagster services and waits until they end."""

import time
from collections.abc import Callable, Iterator, Sequence
from itertools import groupby
from pathlib import Path

import dagster as dg

from fine_tune_assets.cli.run_submission import SubmissionError, submit_runs
from fine_tune_assets.cli.stage_lines import LINE_SECONDS, format_count
from fine_tune_assets.core.dagster_ui import DAEMON
from fine_tune_assets.core.progress import format_duration, list_running_steps
from fine_tune_assets.core.settings import Settings
from fine_tune_assets.defs.local_run import StageRun, Summary, describe_run
from fine_tune_assets.serving.services import read_service_states

POLL_SECONDS = 2.0
PlannedRun = tuple[str | None, Sequence[str]]
"""Partition and assets."""


def run_in_services(
    settings: Settings,
    instance: dg.DagsterInstance,
    runs: Sequence[PlannedRun],
    show: Callable[[str], None],
    *,
    is_waiting: bool,
) -> Summary:
    """Submit the runs in the order in which they need each other; without `is_waiting` all at once, and the summary is empty.

    Raises SubmissionError, also if the daemon stops before the runs end.
    """
    address, summary = f"{settings.dagster_address}/runs", Summary()
    if not is_waiting:
        show(f"Submitted {len(submit_runs(settings, runs))} runs: {address}")
        return summary
    for wave in split_into_waves(runs):
        submitted = dict(zip(submit_runs(settings, wave), wave, strict=True))
        show(f"Submitted {len(submitted)} runs: {address}. Waiting for them; Ctrl+C stops the waiting, not the runs.")
        progress = ProgressLines(settings.layout.running_steps, show)
        for run in wait_for_runs(instance, list(submitted), lambda: _is_daemon_running(settings), progress.show):
            partition, assets = submitted[run.run_id]
            events = [entry.dagster_event for entry in instance.all_logs(run.run_id) if entry.dagster_event is not None]
            ended = describe_run(tuple(assets), partition, run.run_id, run.is_success, events)
            summary.runs.append(ended)
            show(_describe(ended))
    return summary


def split_into_waves(runs: Sequence[PlannedRun]) -> list[list[PlannedRun]]:
    """Runs of batches don't need each other; what reads all batches waits for them."""
    return [list(wave) for _, wave in groupby(runs, key=lambda run: run[0] is None)]


def wait_for_runs(
    instance: dg.DagsterInstance,
    run_ids: Sequence[str],
    is_daemon_running: Callable[[], bool],
    on_wait: Callable[[], None] = lambda: None,
) -> Iterator[dg.DagsterRun]:
    """Each run as it ends. Raises SubmissionError if the daemon stops first."""
    left = set(run_ids)
    while left:
        found = [run for run in instance.get_runs(dg.RunsFilter(run_ids=sorted(left))) if run.is_finished]
        yield from found
        left -= {run.run_id for run in found}
        if left and not is_daemon_running():
            raise SubmissionError(
                f"The Dagster daemon stopped, and {len(left)} runs have not ended. `fine-tune up {DAEMON}` starts it, and the "
                "runs that wait in the queue continue."
            )
        if left:
            on_wait()
            time.sleep(POLL_SECONDS)


class ProgressLines:
    """Shows the running steps, whose files are in `folder`, at most once in `seconds`."""

    def __init__(self, folder: Path, show: Callable[[str], None], seconds: float = LINE_SECONDS) -> None:
        self._folder, self._show, self._seconds, self._last = folder, show, seconds, time.time()

    def show(self) -> None:
        now = time.time()
        if now - self._last < self._seconds:
            return
        for step in list_running_steps(self._folder, now):
            self._last = now
            words = format_count(step.count, now) or f"{format_duration(now - step.started_at)} so far"
            batch = f" [{step.partition}]" if step.partition else ""
            self._show(f"{step.stage[:3]} {', '.join(step.assets)}{batch}: {words}")


def _is_daemon_running(settings: Settings) -> bool:
    return any(state.name == DAEMON and state.is_running for state in read_service_states(settings.installation))


def _describe(run: StageRun) -> str:
    return "\n".join([f"{'✓' if run.is_success else '✗'} {run.name}", *(f"  {error}" for error in run.errors)])
