"""When a canary release passes and when it fails, as a function of its counts."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fine_tune_assets.core.settings import CanarySettings, RollbackSettings, Settings
from fine_tune_assets.ledger.audit.request_log import RequestEntry, record_requests
from fine_tune_assets.ledger.database import Ledger
from fine_tune_assets.ledger.people.api_keys import create_key, revoke_key
from fine_tune_assets.ledger.serving.canary_records import interrupt_canary, start_canary
from fine_tune_assets.ledger.serving.canary_rows import CanaryPlan, CanaryRelease
from fine_tune_assets.ledger.serving.deployments import Deployment, switch_traffic
from fine_tune_assets.ledger.serving.request_outcomes import (
    FAILED,
    RequestOutcomes,
    add_outcomes,
    make_answered_outcome,
)
from fine_tune_assets.ledger.serving.rollbacks import fail_deployment
from fine_tune_assets.ledger.serving.verdicts import record_verdict
from fine_tune_assets.serving.canary_releases import (
    CanaryMetrics,
    advance_canary,
    build_canary_plan,
    decide_canary,
    describe_canary,
)
from fine_tune_assets.serving.rollout import ServingError, wait_for_canary
from fine_tune_assets_tests.ledger.ledger_rows import deployment_of, live_of, make_verdict, owned_key, trial_of
from fine_tune_assets_tests.serving.tiny_releases import make_ready, switched

NOW = datetime(2026, 1, 1, tzinfo=UTC)
PLAN = CanaryPlan(traffic_percent=10, duration_seconds=600, minimum_requests=20, maximum_seconds=3600)
# Window 0 disables the automatic rollback; canary releases are decided anyway.
LIMITS = RollbackSettings(
    window_minutes=0, minimum_requests=20, error_percent=20, p95_seconds=10, identifier_count=1, corrections_percent=25
)
SETTINGS = Settings(rollback=LIMITS.model_dump() | {"identifier_count": 0})
OFF = RollbackSettings(window_minutes=0, minimum_requests=0, error_percent=0, on_engine_failure=False)
GOING, OVER, LAST = NOW + timedelta(seconds=599), NOW + timedelta(seconds=600), NOW + timedelta(seconds=3600)
TRIAL = CanaryRelease("d", PLAN, NOW, None, None, "")


def outcomes(answered: int, failed: int = 0, seconds: float = 0.3) -> RequestOutcomes:
    return sum([make_answered_outcome(seconds)] * answered + [FAILED] * failed, RequestOutcomes())


def figures(users: RequestOutcomes, corrections: int = 0) -> CanaryMetrics:
    return CanaryMetrics(users, corrections)


@pytest.mark.parametrize(
    ("now", "found", "outcome", "word"),
    [
        (GOING, figures(outcomes(100)), None, ""),
        (OVER, figures(outcomes(20)), "passed", "20 user requests, 0 failed"),
        (OVER, figures(outcomes(19)), None, ""),  # too few requests: it continues
        (LAST, figures(outcomes(19)), "failed", "only 19 of 20 requests in 60 minutes"),
        (LAST, figures(outcomes(0)), "failed", "only 0 of 20"),
        (GOING, figures(outcomes(16, 4)), "failed", "4 of 20 requests failed"),
        (GOING, figures(outcomes(17, 3)), None, ""),
        (GOING, figures(outcomes(0, 19)), None, ""),  # too few requests for the limit, with time left
        (GOING, figures(outcomes(100, seconds=11)), "failed", "10 s or more"),
        (GOING, figures(RequestOutcomes(identifier_count=1)), "failed", "1 identifiers"),
        (GOING, figures(outcomes(40), corrections=10), "failed", "10 corrections for 40"),
    ],
)
def test_each_limit_fails_a_canary_release_and_too_few_requests_do_not_pass_it(
    now: datetime, found: CanaryMetrics, outcome: str | None, word: str
) -> None:
    """A gate without evidence stays closed, and a good release passes."""
    judged = decide_canary(TRIAL, found, LIMITS, now)
    assert (judged.outcome if judged else None) == outcome
    assert judged is None or word in judged.reason


@given(st.integers(0, 60), st.integers(0, 60), st.integers(1, 30), st.sampled_from([GOING, OVER, LAST]))
def test_more_failures_never_make_a_release_pass(answered: int, failed: int, more: int, now: datetime) -> None:
    """Even though each failure counts as another request."""
    before = decide_canary(TRIAL, figures(outcomes(answered, failed)), LIMITS, now)
    worse = figures(outcomes(answered, failed + more))
    after = decide_canary(TRIAL, worse, LIMITS, now)
    if after is not None and after.outcome == "passed":
        assert before is None or before.outcome == "passed" or "only" in before.reason
    share = 100 * worse.outcomes.failed >= LIMITS.error_percent * max(worse.outcomes.requests, 1)
    assert not (share and after is not None and after.outcome == "passed")


@given(st.integers(0, 100), st.integers(0, 100), st.integers(0, 500))
def test_with_every_limit_off_only_the_number_of_requests_counts(answered: int, failed: int, corrections: int) -> None:
    """An operator who disables the limits decides manually, as after a switch."""
    judged = decide_canary(TRIAL, figures(outcomes(answered, failed), corrections=corrections), OFF, OVER)
    assert (judged is not None) == (answered + failed >= 20)
    assert judged is None or judged.outcome == "passed"


def test_a_canary_release_that_has_not_started_is_not_decided() -> None:
    """It has neither counts nor a start time."""
    assert decide_canary(replace(TRIAL, started_at=None), figures(outcomes(0, 100)), LIMITS, LAST) is None


def test_only_the_percentage_enables_canary_releases() -> None:
    """They are off by default."""
    assert build_canary_plan(Settings()) is None
    assert build_canary_plan(Settings(canary={"minutes": 5})) is None
    assert build_canary_plan(Settings(canary={"percent": 10})) == CanaryPlan(10, 1800, 20, 86_400)


def start_green_canary(ledger: Ledger) -> Deployment:
    switched(ledger, "r-1")
    green = make_ready(ledger, "r-2", trial=PLAN)
    assert "started" in (advance_canary(ledger, SETTINGS, NOW) or "")
    return green


def test_a_canary_release_starts_and_passes_at_its_end(ledger: Ledger) -> None:
    """Only requests since its start count."""
    assert advance_canary(ledger, SETTINGS, NOW) is None  # nothing to do
    switched(ledger, "r-1")
    green = make_ready(ledger, "r-2", upto="requested", trial=PLAN)
    assert advance_canary(ledger, SETTINGS, NOW) is None  # it is not ready
    make_ready(ledger, "r-2", trial=PLAN)
    add_outcomes(ledger, {green.deployment_id: outcomes(0, 50)}, NOW - timedelta(minutes=1))
    advance_canary(ledger, SETTINGS, NOW)
    add_outcomes(ledger, {green.deployment_id: outcomes(20)}, NOW + timedelta(seconds=20))
    assert advance_canary(ledger, SETTINGS, GOING) is None
    words = describe_canary(ledger, green.deployment_id, "r-2")
    assert words == "10 % of callers until 00:10 UTC and 20 requests: 20 user requests, 0 failed"
    assert "passed" in (advance_canary(ledger, SETTINGS, OVER) or "")
    assert advance_canary(ledger, SETTINGS, LAST) is None
    wait_for_canary(ledger, green.deployment_id, 5)
    assert switch_traffic(ledger, green.deployment_id).state == "live"
    assert describe_canary(ledger, green.deployment_id, "r-2") == "passed: 20 user requests, 0 failed"


def _answer(ledger: Ledger, name: str, caller: str, requests: int) -> None:
    """Complete answers of the canary release, as the gateway records them."""
    at = NOW + timedelta(seconds=30)
    entry = RequestEntry(at, caller, "/v1/chat/completions", 200, None, "r-2", 1, 1, 300, None, None)
    record_requests(ledger, [entry] * requests, {}, at)
    add_outcomes(ledger, {name: outcomes(requests)}, at)


def test_one_key_does_not_reach_the_minimum_alone(ledger: Ledger) -> None:
    """Under whatever names it asks: a release would pass on what one caller chose to send."""
    first, second = (create_key(ledger, name, ["chat"]).key_id for name in ("first", "second"))
    green = start_green_canary(ledger)
    for person in range(50):
        _answer(ledger, green.deployment_id, f"key:{first} for Person {person}", 2)
    assert advance_canary(ledger, SETTINGS, OVER) is None
    _answer(ledger, green.deployment_id, f"key:{second}", 9)
    assert advance_canary(ledger, SETTINGS, OVER) is None
    _answer(ledger, green.deployment_id, f"key:{second} for Person 1", 1)
    assert "passed: 110 user requests" in (advance_canary(ledger, SETTINGS, OVER) or "")


def test_a_canary_release_of_one_key_fails_at_its_deadline(ledger: Ledger) -> None:
    """The reason says what was missing."""
    first, _ = (create_key(ledger, name, ["chat"]).key_id for name in ("first", "second"))
    green = start_green_canary(ledger)
    _answer(ledger, green.deployment_id, f"key:{first}", 50)
    assert "only 10 of 20 requests by 2 owners" in (advance_canary(ledger, SETTINGS, LAST) or "")


def test_two_keys_of_one_user_count_as_one(ledger: Ledger) -> None:
    owned = owned_key(ledger, "owner", ["chat"])
    mine = [owned.key_id, create_key(ledger, "second", ["chat"], owner="owner").key_id]
    create_key(ledger, "other", ["chat"])
    green = start_green_canary(ledger)
    for key_id in mine:
        _answer(ledger, green.deployment_id, f"key:{key_id}", 20)
    assert advance_canary(ledger, SETTINGS, OVER) is None


@pytest.mark.parametrize("minimum_keys", [1, 2])
def test_where_only_one_key_can_ask_its_requests_suffice(ledger: Ledger, minimum_keys: int) -> None:
    """Otherwise no release of a small installation could pass. Revoked keys, and those that can't ask, do not count."""
    only = create_key(ledger, "only", ["chat"]).key_id
    revoke_key(ledger, create_key(ledger, "revoked", ["chat"]).key_id)
    create_key(ledger, "metrics", ["metrics"])
    if minimum_keys == 1:
        create_key(ledger, "other", ["chat"])
    green = start_green_canary(ledger)
    _answer(ledger, green.deployment_id, f"key:{only}", 20)
    chosen = SETTINGS.model_copy(update={"canary": CanarySettings(minimum_keys=minimum_keys)})
    assert "passed" in (advance_canary(ledger, chosen, OVER) or "")


def test_a_failed_canary_release_ends_the_waiting_step_with_the_reason(ledger: Ledger) -> None:
    """The live release stays live."""
    green = start_green_canary(ledger)
    add_outcomes(ledger, {green.deployment_id: outcomes(10, 10)}, NOW + timedelta(seconds=20))
    assert "10 of 20 requests failed" in (advance_canary(ledger, SETTINGS, GOING) or "")
    with pytest.raises(ServingError, match=f"{green.deployment_id} .*10 of 20 requests failed"):
        wait_for_canary(ledger, green.deployment_id, 5)
    assert live_of(ledger).release_id == "r-1"


def test_a_canary_release_fails_when_its_verdict_is_withdrawn(ledger: Ledger) -> None:
    """The reason is the gate's message."""
    green = start_green_canary(ledger)
    record_verdict(ledger, make_verdict("refuse", adapter_id="adapter of r-2"))
    advance_canary(ledger, SETTINGS, GOING)
    failed = deployment_of(ledger, green.deployment_id)
    assert (failed.state, "is refuse" in failed.detail) == ("failed", True)


def test_a_canary_release_is_not_decided_while_its_engine_restarts(ledger: Ledger) -> None:
    """It neither passes nor fails, and starts again with the new engine."""
    green = start_green_canary(ledger)
    add_outcomes(ledger, {green.deployment_id: outcomes(0, 50)}, NOW + timedelta(seconds=20))
    interrupt_canary(ledger, green.deployment_id)
    assert describe_canary(ledger, green.deployment_id, "r-2") == "starts when the deployment is ready"
    advance_canary(ledger, SETTINGS, NOW + timedelta(seconds=60))
    assert trial_of(ledger, green.deployment_id).started_at == NOW + timedelta(seconds=60)
    assert advance_canary(ledger, SETTINGS, NOW + timedelta(seconds=70)) is None


def test_waiting_ends_at_once_when_no_release_is_live(ledger: Ledger) -> None:
    """A ready engine must not wait for its canary release while users get no answer."""
    green = start_green_canary(ledger)
    blue = live_of(ledger)
    fail_deployment(ledger, blue.deployment_id, "a file changed")
    wait_for_canary(ledger, green.deployment_id, 60)
    assert switch_traffic(ledger, green.deployment_id).state == "live"


def test_waiting_for_a_canary_release_times_out_if_it_never_starts_or_ends(ledger: Ledger) -> None:
    """The supervisor may be down, and a step that waits forever reports nothing."""
    switched(ledger, "r-1")
    green = make_ready(ledger, "r-2", trial=PLAN)
    with pytest.raises(ServingError, match=f"{green.deployment_id} .*`fine-tune status`"):
        wait_for_canary(ledger, green.deployment_id, 0.5)
    start_canary(ledger, green.deployment_id, NOW)  # started long ago, and never ended
    with pytest.raises(ServingError, match=f"{green.deployment_id} .*`fine-tune status`"):
        wait_for_canary(ledger, green.deployment_id, 0.5)
