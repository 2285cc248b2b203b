"""Canary releases: a deployment that requires one goes live only after it passed, and gets no traffic after it ended."""

from datetime import UTC, datetime, timedelta

import pytest

from fine_tune_assets.core.errors import GateClosedError
from fine_tune_assets.ledger.audit import audit_log as audit
from fine_tune_assets.ledger.database import Ledger
from fine_tune_assets.ledger.ledger_errors import TransitionError
from fine_tune_assets.ledger.reviews.correction_records import record_correction
from fine_tune_assets.ledger.reviews.feedback import record_feedback
from fine_tune_assets.ledger.serving.canary_records import (
    fail_canary,
    find_open_canary,
    find_routable_canary,
    interrupt_canary,
    pass_canary,
    start_canary,
)
from fine_tune_assets.ledger.serving.canary_rows import CanaryPlan, find_canary
from fine_tune_assets.ledger.serving.deployments import (
    Deployment,
    clear_engine,
    find_live_deployment,
    request_deployment,
    switch_traffic,
)
from fine_tune_assets.ledger.serving.request_outcomes import FAILED, add_outcomes, sum_outcomes_since
from fine_tune_assets.ledger.serving.rollbacks import fail_deployment
from fine_tune_assets.ledger.serving.routing_targets import find_targets
from fine_tune_assets.ledger.serving.verdicts import record_verdict
from fine_tune_assets_tests.ledger.ledger_rows import deployment_of, live_of, make_verdict, trial_of
from fine_tune_assets_tests.serving.tiny_releases import make_ready, switched

PLAN = CanaryPlan(traffic_percent=25, duration_seconds=60, minimum_requests=5, maximum_seconds=600)
NOW = datetime.now(UTC)


def start_running_canary(ledger: Ledger, release_id: str = "r-2") -> Deployment:
    """A running canary release on green, while r-1 is live on blue."""
    if find_live_deployment(ledger) is None:
        switched(ledger, "r-1")
    green = make_ready(ledger, release_id, trial=PLAN)
    start_canary(ledger, green.deployment_id, NOW)
    return green


def end_of(ledger: Ledger, deployment: Deployment) -> tuple[str | None, str]:
    canary = trial_of(ledger, deployment.deployment_id)
    return canary.outcome, canary.reason


def test_deployment_goes_live_only_after_its_canary_passed(ledger: Ledger) -> None:
    """The transaction that switches traffic checks it."""
    blue = switched(ledger, "r-1")
    green = make_ready(ledger, "r-2", trial=PLAN)
    with pytest.raises(TransitionError, match=green.deployment_id):
        switch_traffic(ledger, green.deployment_id)
    start_canary(ledger, green.deployment_id, NOW)
    with pytest.raises(TransitionError, match=green.deployment_id):
        switch_traffic(ledger, green.deployment_id)
    assert find_live_deployment(ledger) == blue
    pass_canary(ledger, green.deployment_id, "9 requests")
    assert switch_traffic(ledger, green.deployment_id).state == "live"
    actions = [
        line.action for line in audit.list_entries(ledger) if line.actor == "supervisor" and "canary" in line.action
    ]
    assert actions == ["started canary release", "passed canary release"]


def test_canary_that_has_not_started_can_neither_pass_nor_fail(ledger: Ledger) -> None:
    """A delayed check must not pass an untested deployment."""
    switched(ledger, "r-1")
    green = make_ready(ledger, "r-2", trial=PLAN)
    pass_canary(ledger, green.deployment_id, "9 requests")
    assert fail_canary(ledger, green.deployment_id, "late") is False
    assert trial_of(ledger, green.deployment_id).outcome is None


def test_failed_canary_ends_the_deployment_and_blue_stays(ledger: Ledger) -> None:
    """It gets no more traffic, and the live deployment is unchanged."""
    green = start_running_canary(ledger)
    blue = find_live_deployment(ledger)
    assert fail_canary(ledger, green.deployment_id, "5 of 9 requests failed") is True
    ended = deployment_of(ledger, green.deployment_id)
    assert (ended.state, ended.detail) == ("failed", "canary release failed: 5 of 9 requests failed")
    assert (ended.engine_url, ended.engine_key) == (None, None)
    assert [target.release_id for target in find_targets(ledger, include_canary=True)] == ["r-1"]
    assert find_live_deployment(ledger) == blue
    assert find_routable_canary(ledger, green.deployment_id, NOW) is None
    assert fail_canary(ledger, green.deployment_id, "again") is False
    with pytest.raises(TransitionError):
        switch_traffic(ledger, green.deployment_id)


def test_canary_is_a_target_with_its_share_after_the_live_one(ledger: Ledger) -> None:
    """Only if requested, and only while it is running."""
    green = start_running_canary(ledger)
    found = find_targets(ledger, include_canary=True)
    assert [(t.release_id, t.canary_percent, t.is_canary) for t in found] == [("r-1", None, False), ("r-2", 25, True)]
    assert [t.release_id for t in find_targets(ledger)] == ["r-1"]
    interrupt_canary(ledger, green.deployment_id)
    assert [t.release_id for t in find_targets(ledger, include_canary=True)] == ["r-1"]


def test_canary_starts_only_with_an_engine(ledger: Ledger) -> None:
    switched(ledger, "r-1")
    green = make_ready(ledger, "r-2", upto="requested", trial=PLAN)
    start_canary(ledger, green.deployment_id, NOW)
    assert trial_of(ledger, green.deployment_id).started_at is None
    make_ready(ledger, "r-2", trial=PLAN)
    clear_engine(ledger, green.deployment_id)
    start_canary(ledger, green.deployment_id, NOW)
    assert trial_of(ledger, green.deployment_id).started_at is None
    assert find_open_canary(ledger) is not None


def test_second_start_does_not_move_the_start_time(ledger: Ledger) -> None:
    """It would restart the clock and forget failures."""
    green = start_running_canary(ledger)
    start_canary(ledger, green.deployment_id, NOW + timedelta(minutes=5))
    assert trial_of(ledger, green.deployment_id).started_at == NOW


def test_canary_restarts_from_zero_after_its_engine_was_lost(ledger: Ledger) -> None:
    """After a power cut the new engine is tested, not the lost one."""
    green = start_running_canary(ledger)
    add_outcomes(
        ledger, {green.deployment_id: FAILED}, NOW + timedelta(minutes=5)
    )  # within the ten-second slot of the restart
    interrupt_canary(ledger, green.deployment_id)
    assert find_routable_canary(ledger, green.deployment_id, NOW) is None
    start_canary(ledger, green.deployment_id, NOW + timedelta(minutes=5))
    assert trial_of(ledger, green.deployment_id).started_at == NOW + timedelta(minutes=5)
    assert sum_outcomes_since(ledger, green.deployment_id, NOW).requests == 0


def test_ended_canary_is_not_interrupted(ledger: Ledger) -> None:
    """A passed canary release stays passed if the supervisor restarts before the switch."""
    green = start_running_canary(ledger)
    pass_canary(ledger, green.deployment_id, "9 requests")
    interrupt_canary(ledger, green.deployment_id)
    assert switch_traffic(ledger, green.deployment_id).state == "live"


def test_canary_is_waived_if_nothing_is_live(ledger: Ledger) -> None:
    """For the first release, and for one that is ready when the live one has failed."""
    first = make_ready(ledger, "r-1", trial=PLAN)
    assert find_canary(ledger, first.deployment_id) is None
    switch_traffic(ledger, first.deployment_id)
    green = start_running_canary(ledger)
    fail_deployment(ledger, first.deployment_id, "a file changed")
    assert switch_traffic(ledger, green.deployment_id).state == "live"
    assert end_of(ledger, green) == ("waived", "nothing else is live")


def test_canary_is_waived_while_no_other_engine_serves(ledger: Ledger) -> None:
    """Otherwise users would get no answers while it runs."""
    blue = switched(ledger, "r-1")
    green = make_ready(ledger, "r-2", trial=PLAN)
    clear_engine(ledger, blue.deployment_id)
    start_canary(ledger, green.deployment_id, NOW)
    assert trial_of(ledger, green.deployment_id).outcome == "waived"
    assert switch_traffic(ledger, green.deployment_id).state == "live"


def test_rollback_needs_no_canary(ledger: Ledger) -> None:
    """The release served before, and users must leave the current one. Also if it was already in flight."""
    switched(ledger, "r-1")
    switched(ledger, "r-2")
    green = request_deployment(ledger, "r-1", is_rollback=True, canary_plan=PLAN)
    assert find_canary(ledger, green.deployment_id) is None
    later = make_ready(ledger, "r-3", trial=PLAN)
    assert request_deployment(ledger, "r-3", is_rollback=True, canary_plan=PLAN).deployment_id == later.deployment_id
    assert trial_of(ledger, later.deployment_id).outcome == "waived"
    assert switch_traffic(ledger, later.deployment_id).state == "live"


def test_killed_run_resumes_its_canary_and_a_new_plan_restarts_it(ledger: Ledger) -> None:
    """New settings count from their own start."""
    green = start_running_canary(ledger)
    assert request_deployment(ledger, "r-2", canary_plan=PLAN).deployment_id == green.deployment_id
    assert trial_of(ledger, green.deployment_id).started_at == NOW
    longer = CanaryPlan(50, 120, 5, 600)
    request_deployment(ledger, "r-2", canary_plan=longer)
    assert (trial_of(ledger, green.deployment_id).plan, trial_of(ledger, green.deployment_id).started_at) == (
        longer,
        None,
    )
    request_deployment(ledger, "r-2")
    assert trial_of(ledger, green.deployment_id).outcome == "waived"


def test_next_release_supersedes_the_canary(ledger: Ledger) -> None:
    """There is at most one: a third engine would not fit."""
    green = start_running_canary(ledger)
    later = make_ready(ledger, "r-3", trial=PLAN)
    assert end_of(ledger, green) == ("superseded", "for release r-3")
    found = find_open_canary(ledger)
    assert found is not None
    assert found[0].deployment_id == later.deployment_id


def test_withdrawn_verdict_stops_canary_traffic(ledger: Ledger) -> None:
    """The gate applies throughout, also between the end of the canary release and the switch."""
    green = start_running_canary(ledger)
    assert find_routable_canary(ledger, green.deployment_id, NOW) is not None
    record_verdict(ledger, make_verdict("refuse", adapter_id="adapter of r-2"))
    assert find_routable_canary(ledger, green.deployment_id, NOW) is None
    pass_canary(ledger, green.deployment_id, "9 requests")
    with pytest.raises(GateClosedError):
        switch_traffic(ledger, green.deployment_id)
    assert live_of(ledger).release_id == "r-1"


@pytest.mark.parametrize(("seconds", "may_be_asked"), [(0, True), (599, True), (600, False)])
def test_canary_gets_no_traffic_after_its_deadline(ledger: Ledger, seconds: int, may_be_asked: bool) -> None:
    """The supervisor may be dead: a canary release without a judge must end."""
    green = start_running_canary(ledger)
    found = find_routable_canary(ledger, green.deployment_id, NOW + timedelta(seconds=seconds))
    assert (found is not None) == may_be_asked


def test_canary_without_an_engine_gets_no_traffic(ledger: Ledger) -> None:
    green = start_running_canary(ledger)
    clear_engine(ledger, green.deployment_id)
    assert find_routable_canary(ledger, green.deployment_id, NOW) is None
    assert [t.release_id for t in find_targets(ledger, include_canary=True)] == ["r-1"]


def test_failing_deployment_ends_its_canary(ledger: Ledger) -> None:
    """`fine-tune status` must not show a canary release without a deployment."""
    green = start_running_canary(ledger)
    fail_deployment(ledger, green.deployment_id, "a file changed")
    assert end_of(ledger, green) == ("failed", "a file changed")
    assert find_open_canary(ledger) is None


def test_canary_answers_can_be_corrected_and_rated(ledger: Ledger) -> None:
    """Users see its release id with the answer, and their feedback is the purpose of the canary release."""
    start_running_canary(ledger)
    texts = {"instruction": "i", "input": "", "answer": "a", "corrected_answer": "b"}
    assert record_correction(ledger, b"k" * 32, release_id="r-2", author="a", idempotency_key="1", **texts)
    assert record_feedback(ledger, release_id="r-2", author="a", idempotency_key="2", rating="down")
