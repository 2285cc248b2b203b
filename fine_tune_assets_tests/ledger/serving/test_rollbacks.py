"""Rollbacks: one transaction, behind the gate, and never to a deployment left because of a fault."""

import contextlib
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import HealthCheck, settings
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule
from hypothesis.strategies import sampled_from

from fine_tune_assets.core.errors import GateClosedError
from fine_tune_assets.ledger.audit import audit_log as audit
from fine_tune_assets.ledger.database import Ledger
from fine_tune_assets.ledger.ledger_errors import LedgerError, TransitionError
from fine_tune_assets.ledger.ledger_tables import releases
from fine_tune_assets.ledger.notification_log import automatic_rollbacks
from fine_tune_assets.ledger.serving.canary_records import (
    fail_canary,
    find_open_canary,
    interrupt_canary,
    pass_canary,
    start_canary,
)
from fine_tune_assets.ledger.serving.canary_rows import CanaryPlan, find_canary
from fine_tune_assets.ledger.serving.deployments import (
    MANUAL,
    clear_engine,
    find_live_deployment,
    list_current_deployments,
    list_deployments,
    record_state,
    request_deployment,
    switch_traffic,
)
from fine_tune_assets.ledger.serving.release_records import list_recorded_releases
from fine_tune_assets.ledger.serving.release_removal import list_releases_in_use, mark_removed
from fine_tune_assets.ledger.serving.rollbacks import (
    fail_deployment,
    find_rollback_target,
    list_rollback_targets,
    roll_back,
)
from fine_tune_assets.ledger.serving.routing_targets import find_targets
from fine_tune_assets.ledger.serving.switch_log import find_production_adapter
from fine_tune_assets.ledger.serving.verdicts import record_verdict
from fine_tune_assets_tests.ledger.ledger_rows import deployment_of, live_of, make_verdict, record_promoted
from fine_tune_assets_tests.ledger.new_ledgers import fresh_ledger
from fine_tune_assets_tests.serving.tiny_releases import make_ready, report_ready, switched

LATER = datetime.now(UTC) + timedelta(hours=1)


def test_rollback_and_return_are_one_step_each(ledger: Ledger) -> None:
    """The old release was compared with an older one; serving it again needs no new comparison."""
    first = switched(ledger, "r-1")
    second = switched(ledger, "r-2", LATER)
    record_state(ledger, first.deployment_id, "standby")
    back = roll_back(ledger, "operator", standby_until=LATER)
    assert (back.deployment_id, back.state, back.standby_until) == (first.deployment_id, "live", None)
    assert find_production_adapter(ledger) == "adapter of r-1"
    left = deployment_of(ledger, second.deployment_id)
    assert (left.state, left.standby_until, left.rollback_reason) == ("draining", LATER, MANUAL)
    assert automatic_rollbacks(ledger, second.requested_at) == []  # a person did this, so no one is notified
    assert [(line.actor, line.action) for line in audit.list_entries(ledger)][-2:] == [
        ("operator", "switched to blue"),
        ("operator", "rolled back"),
    ]
    assert roll_back(ledger, "operator").release_id == "r-2"  # while it is still draining


def test_gate_applies_to_rollbacks(ledger: Ledger) -> None:
    """A verdict withdrawn meanwhile blocks the rollback, and nothing changes."""
    switched(ledger, "r-1")
    live = switched(ledger, "r-2", LATER)
    record_verdict(ledger, make_verdict("refuse", adapter_id="adapter of r-1"))
    with pytest.raises(GateClosedError):
        roll_back(ledger, "operator")
    assert find_live_deployment(ledger) == live


def test_deployment_left_for_a_fault_is_never_a_target(ledger: Ledger) -> None:
    """Neither for a person's command nor for single requests."""
    switched(ledger, "r-1")
    bad = switched(ledger, "r-2", LATER)
    roll_back(ledger, "watch", expected_live_id=bad.deployment_id, reason="9 of 10 requests failed")
    left = deployment_of(ledger, bad.deployment_id)
    assert (left.rollback_reason, left.standby_until) == ("9 of 10 requests failed", None)
    assert find_rollback_target(ledger) is None
    assert [target.release_id for target in find_targets(ledger)] == ["r-1"]
    with pytest.raises(TransitionError):
        roll_back(ledger, "operator")


def test_deployment_that_a_person_left_is_a_target_only_for_people(ledger: Ledger) -> None:
    """Neither for single requests nor for automatic rollbacks: the person may know what no metric shows."""
    switched(ledger, "r-1")
    bad = switched(ledger, "r-2", LATER)
    live = roll_back(ledger, "operator", standby_until=LATER)
    record_state(ledger, bad.deployment_id, "standby")
    assert [target.release_id for target in find_targets(ledger)] == ["r-1"]
    assert find_rollback_target(ledger, is_automatic=True) is None
    with pytest.raises(TransitionError):
        roll_back(ledger, "watch", expected_live_id=live.deployment_id, reason="9 of 10 requests failed")
    forth = roll_back(ledger, "operator", standby_until=LATER)
    assert (forth.deployment_id, forth.rollback_reason) == (bad.deployment_id, None)
    assert [target.release_id for target in find_targets(ledger)] == ["r-2"]


def test_deployment_left_for_one_that_had_to_start_is_a_target_only_for_people(ledger: Ledger) -> None:
    """Also if the rollback needed an engine start, and if the release was already in flight."""
    first = switched(ledger, "r-1")
    switched(ledger, "r-2", LATER)
    record_state(ledger, first.deployment_id, "stopped")
    wanted = request_deployment(ledger, "r-1", is_rollback=True)
    report_ready(ledger, wanted.deployment_id)
    switch_traffic(ledger, wanted.deployment_id, standby_until=LATER)
    assert [target.release_id for target in find_targets(ledger)] == ["r-1"]
    assert find_rollback_target(ledger, is_automatic=True) is None
    back = find_rollback_target(ledger)
    assert back is not None
    assert (back.deployment.release_id, back.is_running) == ("r-2", True)


def test_release_in_flight_becomes_a_rollback_when_a_person_requests_it(ledger: Ledger) -> None:
    pending = request_deployment(ledger, record_promoted(ledger, "r-1").release_id)
    assert not pending.is_rollback
    again = request_deployment(ledger, "r-1", is_rollback=True)
    assert (again.deployment_id, again.is_rollback) == (pending.deployment_id, True)


def test_rollback_from_a_deployment_that_is_no_longer_live_changes_nothing(ledger: Ledger) -> None:
    """Another person switched between the check and the rollback."""
    first = switched(ledger, "r-1")
    switched(ledger, "r-2", LATER)
    with pytest.raises(TransitionError, match=first.deployment_id):
        roll_back(ledger, "watch", expected_live_id=first.deployment_id, reason="late")
    assert find_production_adapter(ledger) == "adapter of r-2"


def test_stopped_deployment_can_be_requested_again(ledger: Ledger) -> None:
    """It needs a start, and its verdict need not beat the model that users leave."""
    first = switched(ledger, "r-1")
    switched(ledger, "r-2")
    record_state(ledger, first.deployment_id, "stopped")
    back = find_rollback_target(ledger)
    assert back is not None
    assert (back.deployment.release_id, back.is_running) == ("r-1", False)
    with pytest.raises(GateClosedError, match="promotion_verdicts"):
        request_deployment(ledger, "r-1")
    wanted = request_deployment(ledger, "r-1", is_rollback=True)
    report_ready(ledger, wanted.deployment_id)
    assert switch_traffic(ledger, wanted.deployment_id).release_id == "r-1"


def test_next_release_replaces_the_standby_deployment(ledger: Ledger) -> None:
    """The machine has room for two engines, not always for three."""
    first = switched(ledger, "r-1")
    switched(ledger, "r-2", LATER)
    record_state(ledger, first.deployment_id, "standby")
    make_ready(ledger, "r-3")
    stopped = deployment_of(ledger, first.deployment_id)
    assert (stopped.state, stopped.detail) == ("stopped", "made room for release r-3")


def test_draining_deployment_finishes_but_gets_no_standby_when_the_next_release_starts(ledger: Ledger) -> None:
    """Its requests are not cut off, but its place is needed."""
    first = switched(ledger, "r-1")
    switched(ledger, "r-2", LATER)
    since = deployment_of(ledger, first.deployment_id)
    make_ready(ledger, "r-3", upto="requested")
    old = deployment_of(ledger, first.deployment_id)
    assert (old.state, old.standby_until, old.engine_url) == ("draining", None, "unix:/x")
    assert old.changed_at == since.changed_at


def test_standby_deployment_stays_while_no_other_engine_serves(ledger: Ledger) -> None:
    """The live engine is restarting, so every request goes to the standby one."""
    first = switched(ledger, "r-1")
    live = switched(ledger, "r-2", LATER)
    record_state(ledger, first.deployment_id, "standby")
    clear_engine(ledger, live.deployment_id)
    make_ready(ledger, "r-3", upto="requested")
    assert [target.release_id for target in find_targets(ledger)] == ["r-2", "r-1"]


def test_failing_live_deployment_is_rolled_back_in_the_same_step(ledger: Ledger) -> None:
    """There is always a live deployment if one can answer."""
    first = switched(ledger, "r-1")
    live = switched(ledger, "r-2", LATER)
    back = fail_deployment(ledger, live.deployment_id, "a file changed")
    assert back is not None
    assert (back.deployment_id, back.state) == (first.deployment_id, "live")
    failed = deployment_of(ledger, live.deployment_id)
    assert (failed.state, failed.rollback_reason, failed.detail) == ("failed", "failed", "a file changed")
    assert failed.engine_url is None
    assert fail_deployment(ledger, first.deployment_id, "a file changed") is None
    assert (find_live_deployment(ledger), find_rollback_target(ledger)) == (None, None)


@pytest.mark.parametrize("why", ["rolled back manually", "the gate is closed", "not up"])
def test_failing_live_deployment_is_not_rolled_back_to_a_disallowed_one(ledger: Ledger, why: str) -> None:
    """A failure neither opens a gate nor overrides a person."""
    first = switched(ledger, "r-1")
    live = switched(ledger, "r-2", LATER)
    if why == "rolled back manually":
        live = roll_back(ledger, "operator", standby_until=LATER)
    elif why == "not up":
        clear_engine(ledger, first.deployment_id)
    else:
        record_verdict(ledger, make_verdict("refuse", adapter_id="adapter of r-1"))
    assert fail_deployment(ledger, live.deployment_id, "a file changed") is None
    assert find_live_deployment(ledger) is None
    assert deployment_of(ledger, live.deployment_id).state == "failed"


def test_release_counts_by_the_last_time_that_it_served(ledger: Ledger) -> None:
    """It served well once, returned, and was rolled back because of a fault: the first time no longer counts."""
    first = switched(ledger, "r-1")
    switched(ledger, "r-2")
    record_state(ledger, first.deployment_id, "stopped")
    again = request_deployment(ledger, "r-1", is_rollback=True)
    report_ready(ledger, again.deployment_id)
    switch_traffic(ledger, again.deployment_id, standby_until=LATER)
    roll_back(ledger, "operator")
    roll_back(ledger, "operator", standby_until=LATER)
    with pytest.raises(TransitionError):
        roll_back(ledger, "watch", expected_live_id=again.deployment_id, reason="failed")
    fail_deployment(ledger, again.deployment_id, "a file changed")
    assert "r-1" not in _ways_back(ledger)


def test_rollback_target_is_retained_and_a_removed_release_is_not_a_target(
    ledger: Ledger,
) -> None:
    """Faulty releases are rolled back in turn, and r-1 stays the rollback target of r-2."""
    first = switched(ledger, "r-1")
    second = switched(ledger, "r-2")
    record_state(ledger, first.deployment_id, "stopped")
    for number in (3, 4):
        bad = switched(ledger, f"r-{number}", LATER)
        roll_back(ledger, "watch", expected_live_id=bad.deployment_id, reason="9 of 10 requests failed")
        record_state(ledger, bad.deployment_id, "stopped")
    assert live_of(ledger).release_id == second.release_id
    assert _ways_back(ledger) == ["r-1"]
    assert list_releases_in_use(ledger)["r-1"] == "kept for rollback"
    with pytest.raises(GateClosedError), ledger.begin() as connection:
        mark_removed(connection, "r-1", "a test")
    with ledger.begin() as connection:
        connection.execute(releases.update().where(releases.c.release_id == "r-1").values(removed_at=LATER))
    assert find_rollback_target(ledger) is None


def _ways_back(ledger: Ledger) -> list[str]:
    with ledger.read() as connection:
        return [back.deployment.release_id for back in list_rollback_targets(connection)]


class Switching(RuleBasedStateMachine):
    """In any order of operations and crashes, users have exactly one deployment that the gate allowed."""

    def __init__(self) -> None:
        super().__init__()
        import tempfile

        self._folder = tempfile.TemporaryDirectory()
        self.ledger = fresh_ledger(f"sqlite:///{self._folder.name}/ledger.db")
        self.count, self.has_served = 0, False

    def teardown(self) -> None:
        self.ledger.close()
        self._folder.cleanup()

    @rule(trial=sampled_from([None, CanaryPlan(10, 60, 5, 600)]))
    def request(self, trial: CanaryPlan | None) -> None:
        self.count += 1
        make_ready(self.ledger, f"r-{self.count}", upto="requested", trial=trial)

    @rule(end=sampled_from(["begin", "pass", "fail", "interrupt"]))
    def advance_canary(self, end: str) -> None:
        found = find_open_canary(self.ledger)
        if found is not None:
            name = found[0].deployment_id
            if end == "begin":
                start_canary(self.ledger, name, datetime.now(UTC))
            elif end == "interrupt":
                interrupt_canary(self.ledger, name)
            else:
                (pass_canary if end == "pass" else fail_canary)(self.ledger, name, "a test")

    @rule(state=sampled_from(["starting", "ready", "standby", "stopped"]), place=sampled_from([0, 1, 2, -1]))
    def report(self, state: str, place: int) -> None:
        known = [d for d in list_current_deployments(self.ledger) if d.state != "live"]
        if known:
            url = "unix:/x" if state == "ready" else None
            name = known[place % len(known)].deployment_id
            _try(lambda: record_state(self.ledger, name, state, engine_url=url, engine_key=b"k"))  # type: ignore[arg-type]

    @rule(place=sampled_from([0, 1, -1]))
    def engine_dies(self, place: int) -> None:
        known = list_current_deployments(self.ledger)
        if known:
            clear_engine(self.ledger, known[place % len(known)].deployment_id)

    @rule()
    def switch(self) -> None:
        for deployment in list_current_deployments(self.ledger):
            if deployment.state == "ready":
                _try(lambda name=deployment.deployment_id: switch_traffic(self.ledger, name, standby_until=LATER))  # type: ignore[misc]

    @rule(reason=sampled_from([None, "failed"]))
    def roll_back(self, reason: str | None) -> None:
        _try(lambda: roll_back(self.ledger, "operator", reason=reason, standby_until=LATER))

    @rule(place=sampled_from([0, 1, -1]))
    def fail(self, place: int) -> None:
        known = list_current_deployments(self.ledger)
        if known:
            _try(lambda: fail_deployment(self.ledger, known[place % len(known)].deployment_id, "a test"))

    @rule(place=sampled_from([0, 1, 2]))
    def remove(self, place: int) -> None:
        known = [r.release.release_id for r in list_recorded_releases(self.ledger) if r.removed_at is None]
        if known:
            with self.ledger.begin() as connection:
                _try(lambda: mark_removed(connection, known[place % len(known)], "a test"))

    @invariant()
    def rollback_target_is_retained(self) -> None:
        back = find_rollback_target(self.ledger)
        assert back is None or back.deployment.release_id in list_releases_in_use(self.ledger)

    @invariant()
    def required_canary_passed_before_live(self) -> None:
        live = find_live_deployment(self.ledger)
        trial = None if live is None else find_canary(self.ledger, live.deployment_id)
        assert trial is None or trial.is_cleared

    @invariant()
    def exactly_one_is_live_after_the_first(self) -> None:
        known = list_deployments(self.ledger)
        live = [d for d in known if d.state == "live"]
        back = find_rollback_target(self.ledger, is_automatic=True)
        has_no_target = any(d.state == "failed" for d in known) and (back is None or not back.is_running)
        self.has_served |= bool(live)
        assert len(live) == int(self.has_served) or (has_no_target and not live)
        assert all(d.live_since is not None and d.rollback_reason is None for d in live) or not live
        assert len([d for d in known if d.state in ("requested", "starting", "ready")]) <= 1
        assert not live or find_production_adapter(self.ledger) == f"adapter of {live[0].release_id}"


def _try(step: object) -> None:
    with contextlib.suppress(LedgerError, GateClosedError):
        step()  # type: ignore[operator]


TestSwitching = Switching.TestCase
TestSwitching.settings = settings(
    max_examples=25, stateful_step_count=25, deadline=None, suppress_health_check=list(HealthCheck)
)
