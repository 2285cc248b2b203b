"""Run one cycle of the correction loop: a wrong answer, corrections, approvals, and a release that answers correctly.

Uses public interfaces only: `fine-tune` commands, the gateway's API, the pages of the desk, and Dagster's run records.
"""

import argparse
import json
import secrets
import shutil
import signal
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import dagster as dg

from examples.correction_loop.clients import Answer, DeskUser, LoopError, Tally, Traffic, ask, correct, http_client
from examples.correction_loop.handovers import INSTRUCTION, Handover, Shares, read_visits, share_out
from examples.correction_loop.installation import VISITS, Installation, make_installation

REPORTED, CORRECTED, ONLY_ASKED = 80, 70, 12
"""Visits for the first release, answers to correct, and evaluation questions."""
WARDS = ("ward-a", "ward-b", "ward-c", "ward-d")
QUEUE_SECONDS, RELEASE_SECONDS = 600.0, 3600.0
"""Maximum waits for the desk's queue and for the next release."""
POLL_SECONDS = 2.0
QUIET_SECONDS = 15.0
"""Time without a run. Dagster's sensors tick every five seconds, so nothing more is about to start."""
STARTED = time.monotonic()


class People:
    """The users of the desk. The first one is an operator, who adds the others on the page Users."""

    def __init__(self, installation: Installation, stack: ExitStack) -> None:
        self._address, self._stack = f"http://127.0.0.1:{installation.setting('DESK_PORT')}", stack
        password = secrets.token_urlsafe(18)
        installation.fine_tune("users", "add", "operator-one", stdin=f"{password}\n")
        self._operator = self._sign_in("operator-one", password)

    def add(self, name: str, role: str) -> str:
        """Add a user; returns the password."""
        return self._operator.add_user(name, role)

    def add_and_sign_in(self, name: str, role: str) -> DeskUser:
        return self._sign_in(name, self.add(name, role))

    def _sign_in(self, name: str, password: str) -> DeskUser:
        return DeskUser(self._stack.enter_context(http_client(self._address)), name, password)


def serve_first_release(installation: Installation, people: People) -> None:
    """Train, judge and serve a first release, then start everything for daily use.

    With so few visits its verdict may be `hold`. The model has no users yet, so an approver signs it.
    """
    is_served = installation.materialize()
    if verdict := first_hold(installation.verdicts(limit=2)):
        tell(f"The first verdict is hold: {' '.join(verdict['reasons'])}")
        reason = "A first release for the correction loop, which has no users yet."
        people.add_and_sign_in("approver-one", "approver").sign_verdict(verdict["verdict_id"], reason)
        tell("approver-one signed it")
        is_served = installation.materialize()
    if not is_served:
        raise LoopError("The first release was not built. The reasons are above.")
    installation.fine_tune("up", "dagster-daemon")


def first_hold(verdicts: Sequence[dict[str, Any]]) -> dict[str, Any] | None:
    """The only verdict of an installation, if it waits for a signature. Later verdicts are never signed."""
    is_first_hold = len(verdicts) == 1 and verdicts[0]["decision"] == "hold" and not verdicts[0]["signed_by"]
    return verdicts[0] if is_first_hold else None


@dataclass
class Outcome:
    """Results of one cycle."""

    tally: Tally
    runs: list[dg.DagsterRun]
    steps: list[tuple[str, float]] = field(default_factory=list)
    """Name and seconds of each step."""
    corrections: list[str] = field(default_factory=list)
    approved: int = 0
    learned_from: list[str] = field(default_factory=list)
    """Corrections in the lineage of the second release."""
    before: list[Answer] = field(default_factory=list)
    after: list[Answer] = field(default_factory=list)
    """Answers to the evaluation questions."""
    verdict: dict[str, Any] = field(default_factory=dict)

    @property
    def releases(self) -> tuple[str, str]:
        """The first and the second release."""
        return self.before[0].release_id, self.after[0].release_id


def turn_the_loop(installation: Installation, shares: Shares, people: People) -> Outcome:
    """Go from one release to the next. People ask, correct and approve; the daemon does everything else."""
    with ExitStack() as stack:
        return Loop(installation, shares, people, stack).run()


class NotPromoted(Exception):
    """The gate stayed closed for the second candidate, which is a valid result, not a failure."""

    def __init__(self, verdict: Mapping[str, Any]) -> None:
        super().__init__(f"The second verdict is {verdict['decision']}: {' '.join(verdict['reasons'])}")


def require_promotion(verdict: Mapping[str, Any]) -> None:
    """Raises NotPromoted. This verdict is not signed by a person: its evidence alone must open the gate."""
    if verdict["decision"] != "promote":
        raise NotPromoted(verdict)


class Watch:
    """Watches the daemon's runs in Dagster's instance."""

    def __init__(self, instance: dg.DagsterInstance, check: Callable[[Sequence[str]], None]) -> None:
        """`check` receives the assets of each run that ended, whether it succeeded or not."""
        self.ended: list[dg.DagsterRun] = []
        self._instance, self._check = instance, check
        self._known = {run.run_id for run in instance.get_runs()}
        self._last_activity = time.monotonic()

    def until(self, is_so: Callable[[], bool], what: str, seconds: float = QUEUE_SECONDS) -> None:
        """Raises LoopError if a run fails or the time is up, and whatever `check` raises."""
        deadline = time.monotonic() + seconds
        self._last_activity = time.monotonic()  # the first poll is now
        self._look()
        while not is_so():
            if time.monotonic() >= deadline:
                raise LoopError(f"Timed out after {seconds:.0f} s waiting for: {what}.")
            time.sleep(POLL_SECONDS)
            self._look()

    def is_quiet(self) -> bool:
        return time.monotonic() - self._last_activity >= QUIET_SECONDS

    def _look(self) -> None:
        for record in reversed(self._instance.get_run_records()):
            run = record.dagster_run
            if run.run_id in self._known:
                continue
            self._last_activity = time.monotonic()
            if run.is_finished:
                self._known.add(run.run_id)
                self._note(run, (record.end_time or 0) - (record.start_time or record.end_time or 0))

    def _note(self, run: dg.DagsterRun, seconds: float) -> None:
        self.ended.append(run)
        assets = sorted(key.to_user_string() for key in run.asset_selection or ())
        tell(f"    {', '.join(assets)}  {seconds:.0f} s")
        self._check(assets)
        if not run.is_success:
            raise LoopError(f"The run {run.run_id} of {', '.join(assets)} failed.")


class Loop:
    """The steps of one cycle."""

    def __init__(self, installation: Installation, shares: Shares, people: People, stack: ExitStack) -> None:
        self._installation, self._shares = installation, shares
        self._gateway = stack.enter_context(http_client(f"http://127.0.0.1:{installation.setting('GATEWAY_PORT')}"))
        for ward in WARDS:
            people.add(ward, "user")
        self._keys = [installation.key(ward, "chat", "correct", user=ward) for ward in WARDS]
        self._reviewer = people.add_and_sign_in("reviewer-one", "reviewer")
        (self._first_verdict,) = installation.verdicts(limit=1)
        instance = stack.enter_context(dg.DagsterInstance.from_config(installation.setting("DAGSTER_HOME")))
        self._watch = Watch(instance, self._check_verdict)
        traffic = stack.enter_context(Traffic(self._gateway, installation.key("background-traffic", "chat")))
        self.outcome = Outcome(traffic.tally, self._watch.ended)

    def run(self) -> Outcome:
        steps: tuple[tuple[str, Callable[[], None]], ...] = (
            (f"ask {len(self._shares.only_asked)} questions", lambda: self._ask(self.outcome.before)),
            (f"correct {len(self._shares.corrected)} other answers through the API", self._correct),
            ("wait until the corrections are in the queue of the desk", self._wait_for_queue),
            ("approve them at the desk", self._approve),
            ("wait for the daemon to train, judge, promote, release and switch", self._wait_for_switch),
            ("ask the same questions again", lambda: self._ask(self.outcome.after)),
            ("trace the release to its corrections", self._trace),
            (
                "wait until there is nothing left to run",
                lambda: self._watch.until(self._watch.is_quiet, "end of the runs"),
            ),
        )
        for name, step in steps:
            tell(f"… {name}")
            started = time.monotonic()
            step()
            self.outcome.steps.append((name, time.monotonic() - started))
        return self.outcome

    def _ask(self, answers: list[Answer]) -> None:
        for handover in self._shares.only_asked:
            answers.append(ask(self._gateway, self._keys[0], handover.question))

    def _correct(self) -> None:
        for number, handover in enumerate(self._shares.corrected):
            key = self._keys[number % len(self._keys)]
            answer = ask(self._gateway, key, handover.question)
            correction = {
                "release_id": answer.release_id,
                "instruction": INSTRUCTION,
                "input": handover.input,
                "answer": answer.text,
                "corrected_answer": handover.line,
                "error_kind": "format",
                "severity": "medium",
            }
            self.outcome.corrections.append(correct(self._gateway, key, correction, f"visit-{handover.visit_id}"))

    def _wait_for_queue(self) -> None:
        """Wait for all corrections or, because the scrubber may withhold some, until no more runs start."""

        def are_there() -> bool:
            waiting = len(self._reviewer.waiting())
            return waiting >= len(self.outcome.corrections) or (waiting > 0 and self._watch.is_quiet())

        self._watch.until(are_there, "corrections in the queue of the desk")

    def _approve(self) -> None:
        for example_id in self._reviewer.waiting():
            self._reviewer.approve(example_id)
            self.outcome.approved += 1

    def _wait_for_switch(self) -> None:
        first, by_release = self.outcome.before[0].release_id, self.outcome.tally.by_release
        self._watch.until(lambda: set(by_release) > {first}, "another release", RELEASE_SECONDS)
        (self.outcome.verdict,) = self._installation.verdicts(limit=1)

    def _trace(self) -> None:
        traced = json.loads(self._installation.fine_tune("trace", "release", self.outcome.releases[1], "--json"))
        self.outcome.learned_from = traced["corrections"] or []

    def _check_verdict(self, assets: Sequence[str]) -> None:
        if "promotion_verdicts" in assets:
            (newest,) = self._installation.verdicts(limit=1)
            if newest["verdict_id"] != self._first_verdict["verdict_id"]:
                require_promotion(newest)


def require_kept(outcome: Outcome) -> None:
    """Raises LoopError if a request failed during the switch or the lineage does not contain the corrections."""
    if outcome.tally.failed:
        raise LoopError(f"Requests failed during the cycle: {dict(outcome.tally.failed)}.")
    if set(outcome.tally.by_release) != set(outcome.releases):
        raise LoopError("The background traffic did not receive answers from both releases.")
    if not outcome.learned_from or not set(outcome.learned_from) <= set(outcome.corrections):
        raise LoopError("The lineage of the second release does not name the corrections that were sent.")


def require_learned(outcome: Outcome, asked: Handover) -> None:
    """Raises LoopError unless the first question was answered wrongly before and correctly after."""
    if asked.is_right(outcome.before[0].text):
        raise LoopError("The first release already answers correctly: nothing to correct.")
    if not asked.is_right(outcome.after[0].text):
        raise LoopError(f"The second release still answers wrongly: {outcome.after[0].text}")


def show(outcome: Outcome, asked: Sequence[Handover]) -> None:
    """Print the seconds of each step and all figures; then the figures as one JSON line."""
    target = next(figure for figure in outcome.verdict["evidence"]["metrics"] if figure["family"] == "target")
    right = [sum(map(Handover.is_right, asked, (a.text for a in some))) for some in (outcome.before, outcome.after)]
    figures = {
        "answer_before": outcome.before[0].text,
        "answer_after": outcome.after[0].text,
        "questions": len(asked),
        "right_before": right[0],
        "right_after": right[1],
        "gain": target["difference"],
        "gain_low": target["low"],
        "gain_high": target["high"],
        "test_examples": target["items"],
        "requests": outcome.tally.requests,
        "failed_requests": outcome.tally.failed.total(),
        "slowest_request_seconds": round(outcome.tally.slowest_seconds, 1),
        "corrections": len(outcome.corrections),
        "approved": outcome.approved,
        "learned_from": len(outcome.learned_from),
        "first_release": outcome.releases[0],
        "second_release": outcome.releases[1],
        "loop_seconds": round(sum(seconds for _, seconds in outcome.steps)),
    }
    for name, seconds in outcome.steps:
        print(f"{seconds:7.0f} s  {name}")
    for name, value in figures.items():
        print(f"{name:<25}{value}")
    print(json.dumps({**figures, "steps": dict(outcome.steps)}))


def tell(line: str) -> None:
    print(f"{time.monotonic() - STARTED:7.1f} s  {line}", flush=True)


def run(named: Path | None) -> None:
    shares = share_out(read_visits(VISITS), REPORTED, CORRECTED, ONLY_ASKED)
    root = Path(tempfile.mkdtemp(prefix="fine-tune-loop-")) if named is None else named.resolve()
    installation = make_installation(root, shares.reported)
    tell(f"The installation is in {root}")
    try:
        with ExitStack() as stack:
            installation.fine_tune("up", "supervisor", "gateway", "desk")
            people = People(installation, stack)
            serve_first_release(installation, people)
            outcome = turn_the_loop(installation, shares, people)
    except NotPromoted as held:
        tell(f"{held} The first release stays in production. The installation stays in {root}")
        return
    finally:
        installation.fine_tune("down")
        tell("Everything is stopped")
    show(outcome, shares.only_asked)
    require_kept(outcome)
    require_learned(outcome, shares.only_asked[0])
    if named is None:
        shutil.rmtree(root)


def main() -> None:
    parser = argparse.ArgumentParser(description="Run one cycle of the correction loop on a separate installation.")
    parser.add_argument("--folder", type=Path, help="new folder for the installation, kept at the end")
    folder = parser.parse_args().folder
    if folder is not None and folder.exists():
        parser.error(f"{folder} exists already. Name a new folder.")
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # stop the services on SIGTERM too
    try:
        run(folder)
    except LoopError as error:
        sys.exit(f"Error: {error}")
    except KeyboardInterrupt:
        sys.exit("Interrupted.")


if __name__ == "__main__":
    main()
