"""When a release on trial is let in front of users, and when it fails: counts in, a judgement or none out."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fine_tune_assets.core.settings import RollbackSettings, Settings
from fine_tune_assets.ledger.database import Ledger
from fine_tune_assets.ledger.serving.deployments import Deployment, switch_live
from fine_tune_assets.ledger.serving.outcomes import FAILED, Outcomes, add_outcomes, answered_after
from fine_tune_assets.ledger.serving.rollbacks import fail_deployment
from fine_tune_assets.ledger.serving.trial_rows import Trial, TrialPlan
from fine_tune_assets.ledger.serving.trials import begin_trial, interrupt_trial
from fine_tune_assets.ledger.serving.verdicts import record_verdict
from fine_tune_assets.serving.switch import ServingError, wait_until_tried
from fine_tune_assets.serving.trials import TrialFigures, judge_trial, look_at_trial, trial_plan, trial_words
from fine_tune_assets_tests.ledger.made import deployment_of, live_of, make_verdict, trial_of
from fine_tune_assets_tests.serving.tiny import make_ready, switched

NOW = datetime(2026, 1, 1, tzinfo=UTC)
PLAN = TrialPlan(percent=10, seconds=600, minimum_requests=20, maximum_seconds=3600)
# The window is the rollback's: a trial is judged though nobody is taken back by themselves.
LIMITS = RollbackSettings(
    window_minutes=0, minimum_requests=20, error_percent=20, p95_seconds=10, identifiers=1, corrections_percent=25
)
OFF = RollbackSettings(window_minutes=0, minimum_requests=0, error_percent=0, on_death=False)
GOING, OVER, LAST = NOW + timedelta(seconds=599), NOW + timedelta(seconds=600), NOW + timedelta(seconds=3600)
TRIAL = Trial("d", PLAN, NOW, None, None, "")


def outcomes(answered: int, failed: int = 0, seconds: float = 0.3) -> Outcomes:
    return sum([answered_after(seconds)] * answered + [FAILED] * failed, Outcomes())


def figures(users: Outcomes, corrections: int = 0) -> TrialFigures:
    return TrialFigures(users, corrections)


@pytest.mark.parametrize(
    ("now", "found", "outcome", "word"),
    [
        (GOING, figures(outcomes(100)), None, ""),
        (OVER, figures(outcomes(20)), "passed", "20 requests of users, 0 failed"),
        (OVER, figures(outcomes(19)), None, ""),  # too few: it goes on
        (LAST, figures(outcomes(19)), "failed", "only 19 of 20 requests in 60 minutes"),
        (LAST, figures(outcomes(0)), "failed", "only 0 of 20"),
        (GOING, figures(outcomes(16, 4)), "failed", "4 of 20 requests failed"),
        (GOING, figures(outcomes(17, 3)), None, ""),
        (GOING, figures(outcomes(0, 19)), None, ""),  # too few to say so, with time left
        (GOING, figures(outcomes(100, seconds=11)), "failed", "10 s or more"),
        (GOING, figures(Outcomes(identifiers=1)), "failed", "1 identifiers"),
        (GOING, figures(outcomes(40), corrections=10), "failed", "10 corrections of 40"),
    ],
)
def test_each_limit_ends_a_trial_and_too_little_evidence_does_not_pass_one(
    now: datetime, found: TrialFigures, outcome: str | None, word: str
) -> None:
    """A gate without its evidence stays closed; and a good release must come through."""
    judged = judge_trial(TRIAL, found, LIMITS, now)
    assert (judged.outcome if judged else None) == outcome
    assert judged is None or word in judged.reason


@given(st.integers(0, 60), st.integers(0, 60), st.integers(1, 30), st.sampled_from([GOING, OVER, LAST]))
def test_more_failures_never_let_a_release_through(answered: int, failed: int, more: int, now: datetime) -> None:
    """Though a failure makes one request more."""
    before = judge_trial(TRIAL, figures(outcomes(answered, failed)), LIMITS, now)
    worse = figures(outcomes(answered, failed + more))
    after = judge_trial(TRIAL, worse, LIMITS, now)
    if after is not None and after.outcome == "passed":
        assert before is None or before.outcome == "passed" or "only" in before.reason
    share = 100 * worse.users.failed >= LIMITS.error_percent * max(worse.users.requests, 1)
    assert not (share and after is not None and after.outcome == "passed")


@given(st.integers(0, 100), st.integers(0, 100), st.integers(0, 500))
def test_with_every_limit_off_only_the_number_of_requests_counts(answered: int, failed: int, corrections: int) -> None:
    """Whoever turned them off decides by themselves, here as after a switch."""
    judged = judge_trial(TRIAL, figures(outcomes(answered, failed), corrections=corrections), OFF, OVER)
    assert (judged is not None) == (answered + failed >= 20)
    assert judged is None or judged.outcome == "passed"


def test_one_that_has_not_begun_is_not_judged() -> None:
    """There is nothing yet to judge it by, and no time to count from."""
    assert judge_trial(replace(TRIAL, begun_at=None), figures(outcomes(0, 100)), LIMITS, LAST) is None


def test_a_trial_is_asked_for_by_its_share_and_by_nothing_else() -> None:
    """It is off by default: nothing changes for whoever asks for nothing."""
    assert trial_plan(Settings()) is None
    assert trial_plan(Settings(trial={"minutes": 5})) is None
    assert trial_plan(Settings(trial={"percent": 10})) == TrialPlan(10, 1800, 20, 86_400)


def green_on_trial(ledger: Ledger) -> Deployment:
    switched(ledger, "r-1")
    green = make_ready(ledger, "r-2", trial=PLAN)
    assert "begun" in (look_at_trial(ledger, LIMITS, NOW) or "")
    return green


def test_a_look_begins_the_trial_and_passes_it_at_its_end(ledger: Ledger) -> None:
    """With what was counted since it began, and nothing before."""
    assert look_at_trial(ledger, LIMITS, NOW) is None  # nothing to do
    switched(ledger, "r-1")
    green = make_ready(ledger, "r-2", upto="wanted", trial=PLAN)
    assert look_at_trial(ledger, LIMITS, NOW) is None  # it is not ready
    make_ready(ledger, "r-2", trial=PLAN)
    add_outcomes(ledger, {green.deployment_id: outcomes(0, 50)}, NOW - timedelta(minutes=1))
    look_at_trial(ledger, LIMITS, NOW)
    add_outcomes(ledger, {green.deployment_id: outcomes(20)}, NOW + timedelta(seconds=20))
    assert look_at_trial(ledger, LIMITS, GOING) is None
    words = trial_words(ledger, green.deployment_id, "r-2")
    assert words == "10 % of callers until 00:10 UTC and 20 requests: 20 requests of users, 0 failed"
    assert "passed" in (look_at_trial(ledger, LIMITS, OVER) or "")
    assert look_at_trial(ledger, LIMITS, LAST) is None
    wait_until_tried(ledger, green.deployment_id, 5)
    assert switch_live(ledger, green.deployment_id).state == "live"
    assert trial_words(ledger, green.deployment_id, "r-2") == "passed: 20 requests of users, 0 failed"


def test_a_look_fails_what_does_badly_and_whoever_waits_is_told_why(ledger: Ledger) -> None:
    """Blue stays live, and the step fails with the reason in words."""
    green = green_on_trial(ledger)
    add_outcomes(ledger, {green.deployment_id: outcomes(10, 10)}, NOW + timedelta(seconds=20))
    assert "10 of 20 requests failed" in (look_at_trial(ledger, LIMITS, GOING) or "")
    with pytest.raises(ServingError, match="ended on trial: 10 of 20 requests failed"):
        wait_until_tried(ledger, green.deployment_id, 5)
    assert live_of(ledger).release_id == "r-1"


def test_a_look_fails_one_whose_verdict_was_withdrawn(ledger: Ledger) -> None:
    """With the gate's own words."""
    green = green_on_trial(ledger)
    record_verdict(ledger, make_verdict("refuse", adapter_id="adapter of r-2"))
    look_at_trial(ledger, LIMITS, GOING)
    failed = deployment_of(ledger, green.deployment_id)
    assert (failed.state, "is refuse" in failed.detail) == ("failed", True)


def test_a_trial_is_not_judged_while_its_engine_is_away(ledger: Ledger) -> None:
    """It is being started again: neither passed nor failed for that, and begun anew afterwards."""
    green = green_on_trial(ledger)
    add_outcomes(ledger, {green.deployment_id: outcomes(0, 50)}, NOW + timedelta(seconds=20))
    interrupt_trial(ledger, green.deployment_id)
    assert trial_words(ledger, green.deployment_id, "r-2") == "begins when it is ready"
    look_at_trial(ledger, LIMITS, NOW + timedelta(seconds=60))
    assert trial_of(ledger, green.deployment_id).begun_at == NOW + timedelta(seconds=60)
    assert look_at_trial(ledger, LIMITS, NOW + timedelta(seconds=70)) is None


def test_whoever_waits_goes_on_at_once_when_nothing_is_live_any_more(ledger: Ledger) -> None:
    """A ready engine must not wait for its trial while users get no answer."""
    green = green_on_trial(ledger)
    blue = live_of(ledger)
    fail_deployment(ledger, blue.deployment_id, "a file changed")
    wait_until_tried(ledger, green.deployment_id, 60)
    assert switch_live(ledger, green.deployment_id).state == "live"


def test_whoever_waits_for_a_trial_that_nobody_begins_is_told_so(ledger: Ledger) -> None:
    """The supervisor may be away; a step that waits for ever tells nobody."""
    switched(ledger, "r-1")
    green = make_ready(ledger, "r-2", trial=PLAN)
    with pytest.raises(ServingError, match="Is the supervisor running"):
        wait_until_tried(ledger, green.deployment_id, 0.5)
    begin_trial(ledger, green.deployment_id, NOW)  # long ago, and never ended
    with pytest.raises(ServingError, match="neither begun nor ended"):
        wait_until_tried(ledger, green.deployment_id, 0.5)
