"""What the daemon does while the demo of the loop only looks on: runs that ended, and what came of them.

Owns reading Dagster's instance and the ledger until something is so. Starts nothing and changes nothing.
"""

import time
from collections.abc import Callable
from dataclasses import dataclass

import dagster as dg

from fine_tune_assets.cli.loop.people import LoopError
from fine_tune_assets.ledger.database import Ledger
from fine_tune_assets.ledger.deployments import live_deployment
from fine_tune_assets.ledger.verdicts import list_verdicts

LOOK_SECONDS = 2.0
QUIET_SECONDS = 15.0
"""The sensors look every five seconds: who starts nothing for three times as long has nothing to do."""


@dataclass(frozen=True)
class EndedRun:
    assets: tuple[str, ...]
    seconds: float
    """Of the run itself."""
    is_success: bool
    run_id: str


class Watch:
    """Tells each run once, when it has ended."""

    def __init__(self, instance: dg.DagsterInstance, tell: Callable[[EndedRun], None]) -> None:
        self._instance, self._tell = instance, tell
        self._known = {run.run_id for run in instance.get_runs()}
        self.ended: list[EndedRun] = []
        self._quiet_since = time.monotonic()

    def until(self, is_so: Callable[[], bool], what: str, seconds: float) -> None:
        """Raises LoopError when a run fails, or `what` is not so in time."""
        deadline = time.monotonic() + seconds
        # What was quiet before nobody looked at.
        self._quiet_since = time.monotonic()
        self.look()
        while not is_so():
            self.look()
            if time.monotonic() >= deadline:
                raise LoopError(f"Not within {seconds:.0f} s: {what}.")
            time.sleep(LOOK_SECONDS)
        self.look()

    def until_quiet(self, seconds: float) -> None:
        """Until nothing runs and nothing was started for a while."""
        self.until(lambda: self.is_quiet, "nothing left to do", seconds)

    @property
    def is_quiet(self) -> bool:
        """Whether nothing ran, when it was last looked, for a while."""
        return time.monotonic() - self._quiet_since >= QUIET_SECONDS

    def look(self) -> None:
        for record in reversed(self._instance.get_run_records()):
            run = record.dagster_run
            if run.run_id in self._known:
                continue
            self._quiet_since = time.monotonic()
            if run.is_finished:
                self._known.add(run.run_id)
                self._note(_ended(record))

    def _note(self, run: EndedRun) -> None:
        self.ended.append(run)
        self._tell(run)
        if not run.is_success:
            raise LoopError(f"The run of {', '.join(run.assets)} failed: {run.run_id}.")


def _ended(record: dg.RunRecord) -> EndedRun:
    run, asked = record.dagster_run, record.create_timestamp.timestamp()
    began, ended = record.start_time or asked, record.end_time or asked
    assets = tuple(sorted(key.to_user_string() for key in run.asset_selection or ()))
    return EndedRun(assets, ended - began, run.is_success, run.run_id)


def has_switched(ledger: Ledger, from_release: str, after_verdict: str) -> bool:
    """Whether another release is live. Raises LoopError when a verdict since `after_verdict` let none through."""
    live = live_deployment(ledger)
    if live is not None and live.release_id != from_release:
        return True
    newest = list_verdicts(ledger, 1)[0]
    if newest.verdict_id != after_verdict and newest.decision != "promote":
        raise LoopError(f"The verdict is {newest.decision}: {' '.join(newest.reasons)}")
    return False
