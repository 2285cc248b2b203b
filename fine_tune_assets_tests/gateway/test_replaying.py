"""Requests of callers who consented are asked once more of a release on trial, from memory, and leave sums and nothing else."""

import asyncio
import json
import logging
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from fine_tune_assets.gateway.callers import Caller
from fine_tune_assets.gateway.chat import Chat, Question
from fine_tune_assets.gateway.identifiers import BLOCK, FLAG, OFF, AnswerGate
from fine_tune_assets.gateway.metrics import Metrics
from fine_tune_assets.gateway.outcomes import OutcomeCounter
from fine_tune_assets.gateway.replaying import KEPT_FOR, KeptRequests, Replayer
from fine_tune_assets.gateway.requests import engine_request
from fine_tune_assets.gateway.traffic import Traffic
from fine_tune_assets.ledger.api_keys import KeyLimits, create_key, revoke_key
from fine_tune_assets.ledger.caller_usage import tokens_used
from fine_tune_assets.ledger.outcomes import FAILED
from fine_tune_assets.ledger.trials import Replays, begin_trial, fail_trial, interrupt_trial, replays_of
from fine_tune_assets.ledger.verdicts import record_verdict
from fine_tune_assets_tests.gateway.test_identifiers import Looking
from fine_tune_assets_tests.gateway.trials import Trying, said, trying
from fine_tune_assets_tests.ledger.made import make_verdict

MARKER = "Quxelbrand"
"""Of no language: wherever it is found, it came from a request."""


def _wait(is_so: Callable[[], bool], seconds: float = 30) -> None:
    deadline = time.monotonic() + seconds
    while not is_so():
        assert time.monotonic() < deadline
        time.sleep(0.05)


def _question(text: str = "hi", **fields: Any) -> Question:
    body = {"messages": [{"role": "user", "content": text}], **fields}
    return Question(body, engine_request, "chat/completions", is_completion=False)


@dataclass
class Aside:
    """A replayer whose steps are taken by hand."""

    made: Trying
    kept: KeptRequests
    replayer: Replayer
    caller: Caller
    runner: asyncio.Runner = field(default_factory=asyncio.Runner)
    """One loop for all steps, as in a gateway."""

    def keep(self, text: str = "hi", **fields: Any) -> None:
        self.kept.keep(_question(text, **fields), self.caller)

    def sums(self) -> Replays:
        return replays_of(self.made.ledger, self.made.tried.deployment_id)


def _aside(made: Trying, mode: str = OFF, most: int = 10) -> Aside:
    gate = AnswerGate(mode, None if mode == OFF else Looking())
    chat = Chat(made.settings, made.ledger, OutcomeCounter(made.ledger), gate, Traffic(made.settings, made.ledger))
    kept = KeptRequests(most)
    new = create_key(made.ledger, f"consents {mode}", ["chat", "replay"])
    caller = Caller(f"key:{new.key_id}", "consents", frozenset({"chat", "replay"}), None, None)
    return Aside(made, kept, Replayer(made.ledger, chat, gate, Metrics(), kept), caller)


def _steps(aside: Aside, count: int) -> list[bool]:
    async def take() -> list[bool]:
        return [await aside.replayer.step(datetime.now(UTC)) for _ in range(count)]

    return aside.runner.run(take())


def test_what_consenting_callers_asked_is_asked_of_the_one_on_trial_and_nowhere_on_disk(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Through the whole gateway: no line in the log of requests, no budget, no outcome of users, no text in any file or log."""
    caplog.set_level(logging.DEBUG)
    with trying(tmp_path, percent=0, shadow_requests=5) as made:
        made.green.body = said(f"{MARKER} again", finish="length")
        budget = KeyLimits(tokens_per_day=10_000)
        new = create_key(made.ledger, "consents", ["chat", "replay"], limits=budget)
        silent = create_key(made.ledger, "does not", ["chat"]).secret
        for is_stream in (False, True):
            asked = [{"role": "user", "content": f"{MARKER} has a cough."}]
            assert (
                made.ask(new.secret, messages=asked, stream=is_stream).headers["x-release-id"] == made.live.release_id
            )
        assert made.ask(silent, messages=[{"role": "user", "content": "not this one"}]).status_code == 200
        _wait(lambda: replays_of(made.ledger, made.tried.deployment_id).outcomes.answered == 2)
        time.sleep(2.5)  # two more steps, in which nothing is left to send
        found = replays_of(made.ledger, made.tried.deployment_id)
        assert (made.green.asked, found.outcomes.failed) == (2, 0)
        assert (found.cut_off, found.tokens_in, found.tokens_out) == (2, 14, 6)
        sent = json.loads(made.green.last)
        assert (sent["stream"], sent["messages"][-1]["content"]) == (False, f"{MARKER} has a cough.")
        assert [line[2] for line in made.lines()] == [made.live.release_id] * 3
        assert tokens_used(made.ledger, f"key:{new.key_id}", datetime.now(UTC)) == 10  # the stream told none
        assert made.outcomes(made.live, 3).answered == 3
        key = create_key(made.ledger, "measures", ["metrics"]).secret
        told = made.client.get("/metrics", headers={"Authorization": f"Bearer {key}"}).text
        assert f'fine_tune_replays_total{{outcome="answered",release="{made.tried.release_id}"}} 2.0' in told
    files = [path for path in tmp_path.rglob("*") if path.is_file()]
    assert len(files) > 5
    assert [path for path in files if MARKER.encode() in path.read_bytes()] == []
    assert MARKER not in caplog.text


def test_what_a_revoked_key_asked_is_forgotten_within_a_minute_though_there_is_no_trial(tmp_path: Path) -> None:
    """Consent that ended must not wait for the next release."""
    with trying(tmp_path, percent=0, shadow_requests=5) as made:
        aside = _aside(made)
        fail_trial(made.ledger, made.tried.deployment_id, "a test")
        aside.keep()
        start = datetime.now(UTC)
        aside.runner.run(aside.replayer.step(start))
        revoke_key(made.ledger, aside.caller.caller_id.removeprefix("key:"))
        aside.runner.run(aside.replayer.step(start + timedelta(seconds=59)))
        assert len(aside.kept) == 1
        aside.runner.run(aside.replayer.step(start + timedelta(seconds=60)))
        assert len(aside.kept) == 0


def test_nothing_is_kept_without_consent_or_when_it_is_off() -> None:
    """None is given by default, and a person's token never gives it."""
    consenting = frozenset({"chat", "replay"})
    for caller_id, scopes, count in (
        ("key:1", consenting, 1),
        ("key:1", frozenset({"chat"}), 0),
        ("oidc:somebody", consenting, 0),
    ):
        kept = KeptRequests(3)
        kept.keep(_question(), Caller(caller_id, "n", scopes, None, None))
        assert len(kept) == count
    off = KeptRequests(0)
    off.keep(_question(), Caller("key:1", "n", consenting, None, None))
    assert len(off) == 0


def test_only_the_last_ones_are_kept_and_none_for_longer_than_a_day() -> None:
    """A gateway that runs for a year must hold neither a year's requests nor one that is a year old."""
    kept, caller = KeptRequests(3), Caller("key:1", "n", frozenset({"replay"}), None, None)
    for number in range(5):
        kept.keep(_question(str(number)), caller)
    assert [k.question.body["messages"][0]["content"] for k in kept.after(0)] == ["2", "3", "4"]
    kept.forget_before(datetime.now(UTC) - KEPT_FOR)
    assert len(kept) == 3
    kept.forget_before(datetime.now(UTC) + timedelta(seconds=1))
    assert len(kept) == 0


def test_what_is_kept_shows_no_text_when_it_is_printed() -> None:
    """A traceback with its values, or a debugger's list, is a log too."""
    kept = KeptRequests(3)
    kept.keep(_question(MARKER), Caller("key:1", "n", frozenset({"replay"}), None, None))
    assert MARKER not in repr(list(kept.after(0)))


def test_each_is_sent_once_a_trial_and_again_in_the_next(tmp_path: Path) -> None:
    """Oldest first, one a step. What was lost with an engine is begun anew."""
    with trying(tmp_path, percent=0, shadow_requests=5) as made:
        aside = _aside(made)
        aside.keep("first")
        aside.keep("second", model=made.live.release_id)
        assert _steps(aside, 3) == [True, True, False]
        assert json.loads(made.green.last)["model"] == made.tried.release_id
        interrupt_trial(made.ledger, made.tried.deployment_id)
        assert _steps(aside, 1) == [False]
        begin_trial(made.ledger, made.tried.deployment_id, datetime.now(UTC))
        assert _steps(aside, 3) == [True, True, False]
        assert (made.green.asked, aside.sums().outcomes.answered) == (4, 2)


@pytest.mark.parametrize("why", ["revoked", "withdrawn verdict", "ended"])
def test_what_may_not_be_sent_any_more_is_not(tmp_path: Path, why: str) -> None:
    """Consent ends with the key, and the gate holds for replays as for users."""
    with trying(tmp_path, percent=0, shadow_requests=5) as made:
        aside = _aside(made)
        aside.keep()
        if why == "revoked":
            revoke_key(made.ledger, aside.caller.caller_id.removeprefix("key:"))
        elif why == "ended":
            fail_trial(made.ledger, made.tried.deployment_id, "a test")
        else:
            record_verdict(made.ledger, make_verdict("refuse", adapter_id=f"adapter of {made.tried.release_id}"))
        assert _steps(aside, 2) == [False, False]
        assert made.green.asked == 0
        assert len(aside.kept) == (0 if why == "revoked" else 1)


@pytest.mark.parametrize(("status", "body"), [(500, b"{}"), (400, b"{}"), (200, b"<html>"), (200, b"[]")])
def test_what_it_fails_or_refuses_is_a_failure(tmp_path: Path, status: int, body: bytes) -> None:
    """The live release answered all of these."""
    with trying(tmp_path, percent=0, shadow_requests=5) as made:
        aside = _aside(made)
        made.green.status, made.green.body = status, body
        aside.keep()
        _steps(aside, 1)
        assert aside.sums() == Replays(FAILED)


def test_what_fails_after_the_end_of_a_trial_is_counted_nowhere(tmp_path: Path) -> None:
    """Its engine was taken away."""
    with trying(tmp_path, percent=0, shadow_requests=5) as made:
        aside = _aside(made)
        aside.keep()
        made.green.may_answer.clear()
        made.green.status = 500

        async def end_meanwhile() -> None:
            step = asyncio.create_task(aside.replayer.step(datetime.now(UTC)))
            while not made.green.asked:
                await asyncio.sleep(0.01)
            fail_trial(made.ledger, made.tried.deployment_id, "a test")
            made.green.may_answer.set()
            await step

        aside.runner.run(end_meanwhile())
        assert aside.sums() == Replays()


@pytest.mark.parametrize("mode", [OFF, FLAG, BLOCK])
def test_identifiers_in_what_nobody_gets_are_counted_where_answers_are_read(tmp_path: Path, mode: str) -> None:
    """That is the finding that a trial should make before users do."""
    with trying(tmp_path, percent=0, shadow_requests=5) as made:
        aside = _aside(made, mode)
        made.green.body = said("Zyxomark, and Zyxomark again")
        aside.keep()
        _steps(aside, 1)
        assert aside.sums().outcomes.identifiers == (None if mode == OFF else 2)
        assert aside.sums().outcomes.answered == 1


def test_requests_that_the_one_on_trial_answered_itself_are_not_replayed_to_it(tmp_path: Path) -> None:
    """They say nothing new, and would count twice."""
    with trying(tmp_path, percent=100, shadow_requests=5) as made:
        secret = create_key(made.ledger, "consents", ["chat", "replay"]).secret
        assert made.ask(secret).headers["x-release-id"] == made.tried.release_id
        made.outcomes(made.tried)
        time.sleep(2.5)
        assert made.green.asked == 1
