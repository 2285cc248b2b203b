"""The loop as a story: a wrong answer, corrections, approvals, and a release that nobody's hand made.

Owns the steps and what must be true after each. The only hands are the users', the reviewer's and the asking client's, over HTTP;
what follows is the daemon's.
"""

import json
import secrets
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

import dagster as dg

from fine_tune_assets.approval.drafting import CORRECTION
from fine_tune_assets.cli.loop.handovers import INSTRUCTION, Handover, Shares, is_right
from fine_tune_assets.cli.loop.people import LoopError, Reviewer, Ward
from fine_tune_assets.cli.loop.processor_time import processor_seconds
from fine_tune_assets.cli.loop.traffic import Tally, Traffic
from fine_tune_assets.cli.loop.watching import EndedRun, Watch, has_switched
from fine_tune_assets.core.paths import PROJECT_DIR
from fine_tune_assets.core.settings import Settings
from fine_tune_assets.ledger.api_keys import create_key
from fine_tune_assets.ledger.database import Ledger, open_ledger
from fine_tune_assets.ledger.deployments import live_deployment
from fine_tune_assets.ledger.users import create_user
from fine_tune_assets.ledger.verdicts import list_verdicts
from fine_tune_assets.serving.services import service_environment

WARDS = ("ward-a", "ward-b", "ward-c", "ward-d")
REVIEWER = "reviewer-one"
QUEUE_SECONDS = 600.0
RETRAIN_SECONDS = 3600.0
"""Given up then. The demo says how long it took; a machine with other work is not a fault."""
Tell = Callable[[str], None]


@dataclass
class Outcome:
    """What the loop came to."""

    first_release: str
    steps: list[tuple[str, float]] = field(default_factory=list)
    """What was done, and its seconds, in order."""
    processor_seconds: float = 0.0
    """Of the services and all that they started; of the demo's own process nothing."""
    runs: list[EndedRun] = field(default_factory=list)
    corrections: list[str] = field(default_factory=list)
    answer_before: str = ""
    answer_after: str = ""
    right_before: int = 0
    right_after: int = 0
    """Of the questions that nobody corrected."""
    approved: int = 0
    """Corrections that were in the desk: what can't be scrubbed is held back, and what looks like poison kept apart."""
    second_release: str = ""
    learned_from: list[str] = field(default_factory=list)
    """Corrections that the lineage names for the second release."""
    verdict: dict[str, Any] = field(default_factory=dict)
    tally: Tally = field(default_factory=Tally)


def turn_the_loop(settings: Settings, shares: Shares, tell: Tell) -> Outcome:
    """From a live release to the next one. Raises LoopError when a step does not come to its end."""
    ledger = open_ledger(settings.database_url)
    try:
        live = live_deployment(ledger)
        if live is None:
            raise LoopError("No release is live.")
        with (
            _people(settings, ledger) as (wards, reviewer, traffic),
            dg.DagsterInstance.from_config(str(settings.dagster_home)) as instance,
        ):
            watch = Watch(instance, lambda run: tell(f"    ran {', '.join(run.assets)}  {run.seconds:.0f} s"))
            outcome, spent = Outcome(live.release_id), processor_seconds(settings)
            _Story(settings, shares, ledger, watch, wards, reviewer, tell, outcome).run()
            outcome.tally, outcome.runs = traffic.stop(), watch.ended
            outcome.processor_seconds = processor_seconds(settings) - spent
    finally:
        ledger.close()
    return outcome


@contextmanager
def _people(settings: Settings, ledger: Ledger) -> Iterator[tuple[list[Ward], Reviewer, Traffic]]:
    """With a key each, a password for the reviewer, and a client that asks as long as the block lasts."""
    gateway = settings.gateway_address
    keys = [create_key(ledger, name, scopes=("chat", "correct")).secret for name in WARDS]
    password = secrets.token_urlsafe(18)
    create_user(ledger, REVIEWER, ("reviewer",), password=password, oidc_identity=None, now=datetime.now(UTC))
    reviewer = Reviewer(settings.desk_address, REVIEWER, password)
    wards = [Ward(gateway, key) for key in keys]
    try:
        with Traffic(gateway, create_key(ledger, "asks-all-the-time", scopes=("chat",)).secret) as traffic:
            yield wards, reviewer, traffic
    finally:
        reviewer.close()
        for ward in wards:
            ward.close()


@dataclass
class _Story:
    settings: Settings
    shares: Shares
    ledger: Ledger
    watch: Watch
    wards: list[Ward]
    reviewer: Reviewer
    tell: Tell
    outcome: Outcome

    def run(self) -> None:
        for name, step in (
            ("questions are asked, and answered wrongly", self._ask_before),
            (f"{len(self.shares.corrected)} answers are corrected through the API", self._correct),
            ("they are scrubbed and wait in the desk", self._wait_for_queue),
            ("they are approved in the desk, signed", self._approve),
            ("trained, judged, promoted, released, switched", self._wait_for_switch),
            ("the same question is asked again", self._ask_after),
            ("the lineage names the corrections", self._trace),
            ("nothing is left to do", lambda: self.watch.until_quiet(QUEUE_SECONDS)),
        ):
            started = time.monotonic()
            self.tell(f"… {name}")
            step()
            self.outcome.steps.append((name, time.monotonic() - started))
            self.tell(f"✓ {name}  {self.outcome.steps[-1][1]:.1f} s")

    def _ask_before(self) -> None:
        self.outcome.answer_before, self.outcome.right_before = self._ask_all()

    def _correct(self) -> None:
        for number, handover in enumerate(self.shares.corrected):
            ward = self.wards[number % len(self.wards)]
            answered = ward.ask(INSTRUCTION, handover.input)
            sent = ward.correct(INSTRUCTION, handover.input, answered, handover.line, f"visit-{handover.visit_id}")
            self.outcome.corrections.append(sent)

    def _wait_for_queue(self) -> None:
        """For all of them; or for what comes, when nothing more does."""
        sent = len(self.shares.corrected)

        def are_there() -> bool:
            waiting = len(self.reviewer.waiting(CORRECTION))
            return waiting >= sent or (waiting > 0 and self.watch.is_quiet)

        self.watch.until(are_there, "corrections in the desk's queue", QUEUE_SECONDS)

    def _approve(self) -> None:
        for example_id in self.reviewer.waiting(CORRECTION):
            self.reviewer.approve(example_id)
            self.outcome.approved += 1

    def _wait_for_switch(self) -> None:
        before, first = list_verdicts(self.ledger, 1)[0].verdict_id, self.outcome.first_release
        self.watch.until(lambda: has_switched(self.ledger, first, before), "another release", RETRAIN_SECONDS)
        self.outcome.second_release = str(live_deployment(self.ledger).release_id)  # type: ignore[union-attr]
        self.outcome.verdict = json.loads(list_verdicts(self.ledger, 1)[0].evidence)

    def _ask_after(self) -> None:
        self.outcome.answer_after, self.outcome.right_after = self._ask_all()

    def _ask_all(self) -> tuple[str, int]:
        """The answer to the one question, and how many of those that nobody corrects are right."""
        answers = [self.wards[0].ask(INSTRUCTION, asked.input).text for asked in self.shares.only_asked]
        right = sum(is_right(answer, asked) for answer, asked in zip(answers, self.shares.only_asked, strict=True))
        return answers[0], right

    def _trace(self) -> None:
        command = [sys.executable, "-m", "fine_tune_assets.cli.main", "trace", "release", self.outcome.second_release]
        environment = service_environment(self.settings)
        done = subprocess.run([*command, "--json"], cwd=PROJECT_DIR, env=environment, capture_output=True, check=False)
        if done.returncode:
            raise LoopError(f"The release can't be traced: {done.stderr.decode(errors='replace')}")
        self.outcome.learned_from = json.loads(done.stdout)["corrections"] or []


def require_kept(outcome: Outcome) -> None:
    """That nobody noticed the switch, and that the lineage tells of it. Raises LoopError."""
    if outcome.tally.failed:
        raise LoopError(f"Requests failed while the loop turned: {dict(outcome.tally.failed)}.")
    if set(outcome.tally.by_release) != {outcome.first_release, outcome.second_release}:
        raise LoopError("The client that asks all the time did not see both releases answer.")
    if not outcome.learned_from or not set(outcome.learned_from) <= set(outcome.corrections):
        raise LoopError("The lineage does not name the corrections that were sent.")


def require_learned(outcome: Outcome, asked: Handover) -> None:
    """That the question was answered wrongly, and is answered rightly now. Raises LoopError."""
    if is_right(outcome.answer_before, asked):
        raise LoopError("The first release answers rightly already: there was nothing to correct.")
    if not is_right(outcome.answer_after, asked):
        raise LoopError(f"The next release answers wrongly too: {outcome.answer_after}")
