"""Trials: nothing that was to be tried goes live untried, and nobody is sent where a trial has ended."""

from datetime import UTC, datetime, timedelta

import pytest

from fine_tune_assets.core.errors import GateClosedError
from fine_tune_assets.ledger.audit import audit
from fine_tune_assets.ledger.database import Ledger
from fine_tune_assets.ledger.errors import TransitionError
from fine_tune_assets.ledger.reviews.corrections import record_correction
from fine_tune_assets.ledger.reviews.feedback import record_feedback
from fine_tune_assets.ledger.serving.deployments import (
    Deployment,
    live_deployment,
    switch_live,
    want_release,
    withdraw_engine,
)
from fine_tune_assets.ledger.serving.outcomes import FAILED, add_outcomes, outcomes_since
from fine_tune_assets.ledger.serving.rollbacks import fail_deployment
from fine_tune_assets.ledger.serving.targets import find_targets
from fine_tune_assets.ledger.serving.trial_rows import TrialPlan, find_trial
from fine_tune_assets.ledger.serving.trials import (
    begin_trial,
    fail_trial,
    interrupt_trial,
    open_trial,
    pass_trial,
    trial_that_may_ask,
)
from fine_tune_assets.ledger.serving.verdicts import record_verdict
from fine_tune_assets_tests.ledger.made import deployment_of, live_of, make_verdict, trial_of
from fine_tune_assets_tests.serving.tiny import make_ready, switched

PLAN = TrialPlan(percent=25, seconds=60, minimum_requests=5, maximum_seconds=600)
NOW = datetime.now(UTC)


def on_trial(ledger: Ledger, release_id: str = "r-2") -> Deployment:
    """Green, while r-1 is live."""
    if live_deployment(ledger) is None:
        switched(ledger, "r-1")
    green = make_ready(ledger, release_id, trial=PLAN)
    begin_trial(ledger, green.deployment_id, NOW)
    return green


def end_of(ledger: Ledger, deployment: Deployment) -> tuple[str | None, str]:
    trial = trial_of(ledger, deployment.deployment_id)
    return trial.outcome, trial.reason


def test_what_is_to_be_tried_goes_live_only_when_its_trial_has_passed(ledger: Ledger) -> None:
    """Whoever asks for the switch, and whenever: the transaction that flips looks itself."""
    blue = switched(ledger, "r-1")
    green = make_ready(ledger, "r-2", trial=PLAN)
    with pytest.raises(TransitionError, match="is not begun"):
        switch_live(ledger, green.deployment_id)
    begin_trial(ledger, green.deployment_id, NOW)
    with pytest.raises(TransitionError, match="is under way"):
        switch_live(ledger, green.deployment_id)
    assert live_deployment(ledger) == blue
    pass_trial(ledger, green.deployment_id, "9 requests")
    assert switch_live(ledger, green.deployment_id).state == "live"
    said = [line.what for line in audit.lines(ledger) if line.who == "supervisor" and "trial" in line.what]
    assert said == ["began trial", "passed trial"]


def test_a_trial_that_did_not_begin_can_neither_pass_nor_fail(ledger: Ledger) -> None:
    """A look that is late must not let through what was never tried."""
    switched(ledger, "r-1")
    green = make_ready(ledger, "r-2", trial=PLAN)
    pass_trial(ledger, green.deployment_id, "9 requests")
    assert fail_trial(ledger, green.deployment_id, "late") is False
    assert trial_of(ledger, green.deployment_id).outcome is None


def test_a_failed_trial_ends_the_deployment_and_blue_stays(ledger: Ledger) -> None:
    """Nobody is sent there any more, and what was live is as it was."""
    green = on_trial(ledger)
    blue = live_deployment(ledger)
    assert fail_trial(ledger, green.deployment_id, "5 of 9 requests failed") is True
    ended = deployment_of(ledger, green.deployment_id)
    assert (ended.state, ended.detail) == ("failed", "ended on trial: 5 of 9 requests failed")
    assert (ended.engine_url, ended.engine_key) == (None, None)
    assert [target.release_id for target in find_targets(ledger, with_trial=True)] == ["r-1"]
    assert live_deployment(ledger) == blue
    assert trial_that_may_ask(ledger, green.deployment_id, NOW) is None
    assert fail_trial(ledger, green.deployment_id, "again") is False
    with pytest.raises(TransitionError, match="only a ready one"):
        switch_live(ledger, green.deployment_id)


def test_the_one_on_trial_is_a_target_with_its_share_and_never_before_the_live_one(ledger: Ledger) -> None:
    """Only who asks for it gets it, and only while the trial goes on."""
    green = on_trial(ledger)
    found = find_targets(ledger, with_trial=True)
    assert [(t.release_id, t.trial_percent, t.is_on_trial) for t in found] == [("r-1", None, False), ("r-2", 25, True)]
    assert [t.release_id for t in find_targets(ledger)] == ["r-1"]
    interrupt_trial(ledger, green.deployment_id)
    assert [t.release_id for t in find_targets(ledger, with_trial=True)] == ["r-1"]


def test_a_trial_begins_only_with_an_engine(ledger: Ledger) -> None:
    switched(ledger, "r-1")
    green = make_ready(ledger, "r-2", upto="wanted", trial=PLAN)
    begin_trial(ledger, green.deployment_id, NOW)
    assert trial_of(ledger, green.deployment_id).begun_at is None
    make_ready(ledger, "r-2", trial=PLAN)
    withdraw_engine(ledger, green.deployment_id)
    begin_trial(ledger, green.deployment_id, NOW)
    assert trial_of(ledger, green.deployment_id).begun_at is None
    assert open_trial(ledger) is not None


def test_a_beginning_is_not_moved_by_a_second_one(ledger: Ledger) -> None:
    """It would count the time from there, and forget what failed."""
    green = on_trial(ledger)
    begin_trial(ledger, green.deployment_id, NOW + timedelta(minutes=5))
    assert trial_of(ledger, green.deployment_id).begun_at == NOW


def test_a_trial_whose_engine_was_lost_begins_anew_with_nothing_counted(ledger: Ledger) -> None:
    """After a power cut: the new engine is tried, not the one that is gone."""
    green = on_trial(ledger)
    add_outcomes(
        ledger, {green.deployment_id: FAILED}, NOW + timedelta(minutes=5)
    )  # in the ten seconds of the new beginning
    interrupt_trial(ledger, green.deployment_id)
    assert trial_that_may_ask(ledger, green.deployment_id, NOW) is None
    begin_trial(ledger, green.deployment_id, NOW + timedelta(minutes=5))
    assert trial_of(ledger, green.deployment_id).begun_at == NOW + timedelta(minutes=5)
    assert outcomes_since(ledger, green.deployment_id, NOW).requests == 0


def test_a_trial_that_ended_is_not_interrupted(ledger: Ledger) -> None:
    """What passed has passed, though the supervisor starts again before the switch."""
    green = on_trial(ledger)
    pass_trial(ledger, green.deployment_id, "9 requests")
    interrupt_trial(ledger, green.deployment_id)
    assert switch_live(ledger, green.deployment_id).state == "live"


def test_where_nothing_is_live_there_is_no_trial(ledger: Ledger) -> None:
    """Users have nothing then: the first release of all, and one that is ready when the live one has failed."""
    first = make_ready(ledger, "r-1", trial=PLAN)
    assert find_trial(ledger, first.deployment_id) is None
    switch_live(ledger, first.deployment_id)
    green = on_trial(ledger)
    fail_deployment(ledger, first.deployment_id, "a file changed")
    assert switch_live(ledger, green.deployment_id).state == "live"
    assert end_of(ledger, green) == ("waived", "nothing else is live")


def test_a_trial_does_not_begin_while_no_other_engine_answers(ledger: Ledger) -> None:
    """It would leave users without an answer for as long as it takes."""
    blue = switched(ledger, "r-1")
    green = make_ready(ledger, "r-2", trial=PLAN)
    withdraw_engine(ledger, blue.deployment_id)
    begin_trial(ledger, green.deployment_id, NOW)
    assert trial_of(ledger, green.deployment_id).outcome == "waived"
    assert switch_live(ledger, green.deployment_id).state == "live"


def test_who_goes_back_waits_for_no_trial(ledger: Ledger) -> None:
    """The release served before, and users are to leave what serves now. Also when it was on its way already."""
    switched(ledger, "r-1")
    switched(ledger, "r-2")
    green = want_release(ledger, "r-1", is_rollback=True, trial=PLAN)
    assert find_trial(ledger, green.deployment_id) is None
    later = make_ready(ledger, "r-3", trial=PLAN)
    assert want_release(ledger, "r-3", is_rollback=True, trial=PLAN).deployment_id == later.deployment_id
    assert trial_of(ledger, later.deployment_id).outcome == "waived"
    assert switch_live(ledger, later.deployment_id).state == "live"


def test_a_step_that_was_killed_finds_its_trial_and_another_plan_is_another_trial(ledger: Ledger) -> None:
    """The next run of `served_models` resumes what is under way; new settings count from their own beginning."""
    green = on_trial(ledger)
    assert want_release(ledger, "r-2", trial=PLAN).deployment_id == green.deployment_id
    assert trial_of(ledger, green.deployment_id).begun_at == NOW
    longer = TrialPlan(50, 120, 5, 600)
    want_release(ledger, "r-2", trial=longer)
    assert (trial_of(ledger, green.deployment_id).plan, trial_of(ledger, green.deployment_id).begun_at) == (
        longer,
        None,
    )
    want_release(ledger, "r-2")
    assert trial_of(ledger, green.deployment_id).outcome == "waived"


def test_the_next_release_ends_the_trial_of_the_one_before(ledger: Ledger) -> None:
    """There is one at most: a third engine would not fit, and two shares would be nobody's to judge."""
    green = on_trial(ledger)
    later = make_ready(ledger, "r-3", trial=PLAN)
    assert end_of(ledger, green) == ("given up", "for release r-3")
    found = open_trial(ledger)
    assert found is not None
    assert found[0].deployment_id == later.deployment_id


def test_a_verdict_that_is_withdrawn_closes_the_trial_to_every_further_request(ledger: Ledger) -> None:
    """The gate holds throughout, also between the end of a trial and the switch."""
    green = on_trial(ledger)
    assert trial_that_may_ask(ledger, green.deployment_id, NOW) is not None
    record_verdict(ledger, make_verdict("refuse", adapter_id="adapter of r-2"))
    assert trial_that_may_ask(ledger, green.deployment_id, NOW) is None
    pass_trial(ledger, green.deployment_id, "9 requests")
    with pytest.raises(GateClosedError):
        switch_live(ledger, green.deployment_id)
    assert live_of(ledger).release_id == "r-1"


@pytest.mark.parametrize(("seconds", "may_be_asked"), [(0, True), (599, True), (600, False)])
def test_nobody_is_sent_there_after_its_last_moment_though_nobody_ended_it(
    ledger: Ledger, seconds: int, may_be_asked: bool
) -> None:
    """The supervisor may be gone: a trial without a judge must not go on for ever."""
    green = on_trial(ledger)
    found = trial_that_may_ask(ledger, green.deployment_id, NOW + timedelta(seconds=seconds))
    assert (found is not None) == may_be_asked


def test_one_whose_engine_is_away_is_asked_nothing(ledger: Ledger) -> None:
    green = on_trial(ledger)
    withdraw_engine(ledger, green.deployment_id)
    assert trial_that_may_ask(ledger, green.deployment_id, NOW) is None
    assert [t.release_id for t in find_targets(ledger, with_trial=True)] == ["r-1"]


def test_a_deployment_that_fails_by_itself_ends_its_trial(ledger: Ledger) -> None:
    """`fine-tune status` must not go on telling of a trial that nobody holds."""
    green = on_trial(ledger)
    fail_deployment(ledger, green.deployment_id, "a file changed")
    assert end_of(ledger, green) == ("failed", "a file changed")
    assert open_trial(ledger) is None


def test_answers_of_a_release_on_trial_may_be_corrected_and_rated(ledger: Ledger) -> None:
    """Users see its id beside its answer, and what they say of it is what the trial is for."""
    on_trial(ledger)
    texts = {"instruction": "i", "input": "", "answer": "a", "corrected_answer": "b"}
    assert record_correction(ledger, b"k" * 32, release_id="r-2", author="a", idempotency_key="1", **texts)
    assert record_feedback(ledger, release_id="r-2", author="a", idempotency_key="2", rating="down")
