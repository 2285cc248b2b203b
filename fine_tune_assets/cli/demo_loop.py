"""`fine-tune demo-loop`: the loop from a wrong answer to the release that answers rightly, on an installation of its own.

Owns starting and stopping what it needs, and how the outcome is shown. What happens in between is `loop.story`'s.
"""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import click
from rich.console import Console
from rich.table import Table

from fine_tune_assets.cli.loop.handovers import read_visits, share_out
from fine_tune_assets.cli.loop.installation import (
    RECIPE,
    VISITS,
    make_installation,
    remove_installation,
    require_enough,
)
from fine_tune_assets.cli.loop.people import LoopError
from fine_tune_assets.cli.loop.story import Outcome, require_kept, require_learned, turn_the_loop
from fine_tune_assets.cli.services import prepare, prepare_dagster
from fine_tune_assets.core.paths import PROJECT_DIR
from fine_tune_assets.core.settings import Settings
from fine_tune_assets.ledger.database import open_ledger
from fine_tune_assets.ledger.verdicts import list_verdicts, sign_hold, signers_of

BEFORE = ("supervisor", "gateway")
APPROVER = "approver-one"
ALL = ("supervisor", "gateway", "desk", "dagster-daemon")


@click.command("demo-loop")
@click.option(
    "--folder", type=click.Path(path_type=Path), help="Where it is made; must be empty. A temporary folder else."
)
@click.option("--keep", is_flag=True, help="Leave the folder there at the end. After a failure it is left in any case.")
@click.option("--recipe", default=RECIPE, show_default=True, help="Another recipe: its name, or a YAML file.")
@click.option(
    "--reports",
    type=click.IntRange(min=1),
    default=85,
    show_default=True,
    help="Visits that the first release learns from.",
)
@click.option("--corrections", type=click.IntRange(min=1), default=40, show_default=True)
@click.option(
    "--asked",
    type=click.IntRange(min=1),
    default=12,
    show_default=True,
    help="Questions that nobody corrects, asked before and after.",
)
def demo_loop(folder: Path | None, keep: bool, recipe: str, reports: int, corrections: int, asked: int) -> None:
    """Correct a wrong answer, and see the system train, judge, promote and serve a release that answers rightly, by itself."""
    # Ended by a signal, it stops what it started as well.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    tell = _teller(Console())
    require_enough(recipe, corrections)
    shares = share_out(read_visits(VISITS), reports, corrections, asked)
    settings = make_installation(folder, recipe, shares.reported)
    root = settings.data_dir.parent
    is_done = False
    try:
        tell(f"An installation of its own in {root}")
        first_seconds = serve_first_release(settings, tell)
        started = time.monotonic()
        outcome = turn_the_loop(settings, shares, tell)
        outcome_seconds = time.monotonic() - started
        show(outcome, first_seconds, outcome_seconds)
        require_kept(outcome)
        require_learned(outcome, shares.only_asked[0])
        is_done = True
    finally:
        stop_services_of(settings)
        if is_done and not keep:
            remove_installation(settings, folder)
        else:
            tell(f"Left for you to look at: {root}")


def _teller(console: Console) -> Callable[[str], None]:
    started = time.monotonic()

    def tell(line: str) -> None:
        console.print(f"{time.monotonic() - started:7.1f} s  {line}", markup=False, highlight=False, soft_wrap=True)

    return tell


def serve_first_release(settings: Settings, tell: Callable[[str], None]) -> float:
    """Train, judge and serve what there is, then start all that daily use has. Returns the seconds. Raises LoopError.

    A first release on so few visits may be on hold. Nobody is served yet, so it is signed; what the loop is about never is.
    """
    from fine_tune_assets.serving.services import service_environment, start_services

    started = time.monotonic()
    environment = service_environment(settings)
    os.environ["DAGSTER_HOME"] = environment["DAGSTER_HOME"]
    prepare(settings)
    start_services(settings, BEFORE)
    tell("… a first release is made")
    is_made = _materialized(environment)
    if sign_first_hold(settings, tell):
        is_made = _materialized(environment)
    if not is_made:
        raise LoopError("The first release could not be made: see above.")
    prepare_dagster(settings, is_daemon_next=True)
    start_services(settings, ALL)
    tell(f"✓ a first release is live  {time.monotonic() - started:.1f} s")
    return time.monotonic() - started


def _materialized(environment: Mapping[str, str]) -> bool:
    command = [sys.executable, "-m", "fine_tune_assets.cli.main", "materialize"]
    return subprocess.run(command, cwd=PROJECT_DIR, env=environment, check=False).returncode == 0


def sign_first_hold(settings: Settings, tell: Callable[[str], None]) -> bool:
    """Sign the verdict on the first candidate if it is on hold; whether it was."""
    ledger = open_ledger(settings.database_url)
    try:
        found = list_verdicts(ledger, 2)
        if len(found) != 1 or found[0].decision != "hold" or signers_of(ledger, found[0].verdict_id):
            return False
        tell(f"! the first verdict is hold: {' '.join(found[0].reasons)}")
        sign_hold(
            ledger, found[0].verdict_id, APPROVER, "A first release for the demo of the loop. Nobody is served yet."
        )
        tell(f"✓ signed by {APPROVER}, as an approver may sign a hold")
        return True
    finally:
        ledger.close()


def stop_services_of(settings: Settings) -> None:
    from fine_tune_assets.serving.services import stop_services

    stop_services(settings, ALL)


def figures_of(outcome: Outcome, first_seconds: float, seconds: float) -> dict[str, Any]:
    """For the JSON line."""
    target = next(f for f in outcome.verdict["figures"] if f["family"] == "target")
    return {
        "loop_seconds": round(seconds, 1),
        "loop_processor_seconds": round(outcome.processor_seconds),
        "first_release_seconds": round(first_seconds, 1),
        "steps": {name: round(taken, 1) for name, taken in outcome.steps},
        "corrections": len(outcome.corrections),
        "approved": outcome.approved,
        "learned_from": len(outcome.learned_from),
        "gain": target["difference"],
        "gain_low": target["low"],
        "gain_high": target["high"],
        "test_examples": target["items"],
        "requests": outcome.tally.asked,
        "failed_requests": outcome.tally.failed.total(),
        "requests_by_release": dict(outcome.tally.by_release),
        "slowest_request_seconds": round(outcome.tally.slowest_seconds, 1),
        "right_before": outcome.right_before,
        "right_after": outcome.right_after,
        "first_release": outcome.first_release,
        "second_release": outcome.second_release,
        "load_average": round(os.getloadavg()[0], 1),
        "processors": os.cpu_count(),
    }


def show(outcome: Outcome, first_seconds: float, seconds: float) -> None:
    console = Console()
    steps = Table("step", "seconds", title="The loop")
    for name, taken in outcome.steps:
        steps.add_row(name, f"{taken:.0f}")
        if "switched" in name:
            for run in outcome.runs:
                steps.add_row(f"  {', '.join(run.assets)}", f"  {run.seconds:.0f}")
    steps.add_row("all of it", f"{seconds:.0f}")
    steps.add_row("processor time of it", f"{outcome.processor_seconds:.0f}")
    console.print(steps)
    figures = figures_of(outcome, first_seconds, seconds)
    for line in _in_words(outcome, figures):
        console.print(line, markup=False, highlight=False, soft_wrap=True)
    print(json.dumps(figures))


def _in_words(outcome: Outcome, figures: Mapping[str, Any]) -> Iterator[str]:
    yield f"Before    {outcome.answer_before}"
    yield f"After     {outcome.answer_after}"
    yield f"Right     {outcome.right_before} before and {outcome.right_after} after, of the questions that nobody corrected"
    interval = f"95 % interval {figures['gain_low']:.2f} to {figures['gain_high']:.2f}"
    yield f"Verdict   promote: better by {figures['gain']:.2f} points ({interval}) on {figures['test_examples']} test examples"
    yield f"Requests  {figures['requests']}, of which {figures['failed_requests']} failed"
    learned, sent = figures["learned_from"], figures["corrections"]
    yield f"Lineage   release {outcome.second_release} learned from {learned} of {sent} corrections"
