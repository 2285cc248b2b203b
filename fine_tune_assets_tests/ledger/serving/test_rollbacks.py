"""Going back: one transaction, behind the gate, and never to what was left for a fault."""

import contextlib
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import HealthCheck, settings
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule
from hypothesis.strategies import sampled_from

from fine_tune_assets.core.errors import GateClosedError
from fine_tune_assets.ledger.audit import audit
from fine_tune_assets.ledger.database import Ledger
from fine_tune_assets.ledger.errors import LedgerError, TransitionError
from fine_tune_assets.ledger.notifications import left_by_themselves
from fine_tune_assets.ledger.schema import releases
from fine_tune_assets.ledger.serving.deployments import (
    BY_HAND,
    current_deployments,
    deployments,
    live_deployment,
    report_state,
    switch_live,
    want_release,
    withdraw_engine,
)
from fine_tune_assets.ledger.serving.release_removal import mark_removed, releases_in_use
from fine_tune_assets.ledger.serving.releases import recorded_releases
from fine_tune_assets.ledger.serving.rollbacks import fail_deployment, find_back, roll_back, ways_back_in
from fine_tune_assets.ledger.serving.switch_log import serving_adapter
from fine_tune_assets.ledger.serving.targets import find_targets
from fine_tune_assets.ledger.serving.trial_rows import TrialPlan, find_trial
from fine_tune_assets.ledger.serving.trials import begin_trial, fail_trial, interrupt_trial, open_trial, pass_trial
from fine_tune_assets.ledger.serving.verdicts import record_verdict
from fine_tune_assets_tests.ledger.fresh import fresh_ledger
from fine_tune_assets_tests.ledger.made import deployment_of, live_of, make_verdict, record_promoted
from fine_tune_assets_tests.serving.tiny import make_ready, report_ready, switched

LATER = datetime.now(UTC) + timedelta(hours=1)


def test_users_go_back_in_one_step_and_forth_again(ledger: Ledger) -> None:
    """The old release was compared with something older: that it serves again needs no new comparison."""
    first = switched(ledger, "r-1")
    second = switched(ledger, "r-2", LATER)
    report_state(ledger, first.deployment_id, "kept")
    back = roll_back(ledger, "operator", keep_until=LATER)
    assert (back.deployment_id, back.state, back.keep_until) == (first.deployment_id, "live", None)
    assert serving_adapter(ledger) == "adapter of r-1"
    left = deployment_of(ledger, second.deployment_id)
    assert (left.state, left.keep_until, left.rollback_reason) == ("draining", LATER, BY_HAND)
    assert left_by_themselves(ledger, second.wanted_at) == []  # nobody need be told of what somebody did
    assert [(line.who, line.what) for line in audit.lines(ledger)][-2:] == [
        ("operator", "switched to blue"),
        ("operator", "rolled back"),
    ]
    assert roll_back(ledger, "operator").release_id == "r-2"  # while it still drains


def test_the_gate_holds_on_the_way_back(ledger: Ledger) -> None:
    """A verdict that was taken back meanwhile closes it, and nothing changes."""
    switched(ledger, "r-1")
    live = switched(ledger, "r-2", LATER)
    record_verdict(ledger, make_verdict("refuse", adapter_id="adapter of r-1"))
    with pytest.raises(GateClosedError):
        roll_back(ledger, "operator")
    assert live_deployment(ledger) == live


def test_what_was_left_for_a_fault_is_not_gone_back_to(ledger: Ledger) -> None:
    """Neither by a person's command nor request by request."""
    switched(ledger, "r-1")
    bad = switched(ledger, "r-2", LATER)
    roll_back(ledger, "watch", leaving=bad.deployment_id, reason="9 of 10 requests failed")
    left = deployment_of(ledger, bad.deployment_id)
    assert (left.rollback_reason, left.keep_until) == ("9 of 10 requests failed", None)
    assert find_back(ledger) is None
    assert [target.release_id for target in find_targets(ledger)] == ["r-1"]
    with pytest.raises(TransitionError, match="still up"):
        roll_back(ledger, "operator")


def test_what_a_person_left_is_used_again_only_by_a_person(ledger: Ledger) -> None:
    """Neither request by request nor by the watch: the person may have seen what no count shows."""
    switched(ledger, "r-1")
    bad = switched(ledger, "r-2", LATER)
    live = roll_back(ledger, "operator", keep_until=LATER)
    report_state(ledger, bad.deployment_id, "kept")
    assert [target.release_id for target in find_targets(ledger)] == ["r-1"]
    assert find_back(ledger, by_itself=True) is None
    with pytest.raises(TransitionError, match="still up"):
        roll_back(ledger, "watch", leaving=live.deployment_id, reason="9 of 10 requests failed")
    forth = roll_back(ledger, "operator", keep_until=LATER)
    assert (forth.deployment_id, forth.rollback_reason) == (bad.deployment_id, None)
    assert [target.release_id for target in find_targets(ledger)] == ["r-2"]


def test_what_a_person_left_for_one_that_had_to_start_is_used_again_only_by_a_person(ledger: Ledger) -> None:
    """The same, where going back took a start; and where the release was on its way already."""
    first = switched(ledger, "r-1")
    switched(ledger, "r-2", LATER)
    report_state(ledger, first.deployment_id, "stopped")
    wanted = want_release(ledger, "r-1", is_rollback=True)
    report_ready(ledger, wanted.deployment_id)
    switch_live(ledger, wanted.deployment_id, keep_until=LATER)
    assert [target.release_id for target in find_targets(ledger)] == ["r-1"]
    assert find_back(ledger, by_itself=True) is None
    back = find_back(ledger)
    assert back is not None
    assert (back.deployment.release_id, back.is_up) == ("r-2", True)


def test_a_release_that_is_on_its_way_is_gone_back_to_when_a_person_says_so(ledger: Ledger) -> None:
    pending = want_release(ledger, record_promoted(ledger, "r-1").release_id)
    assert not pending.is_rollback
    again = want_release(ledger, "r-1", is_rollback=True)
    assert (again.deployment_id, again.is_rollback) == (pending.deployment_id, True)


def test_a_look_at_one_that_is_no_longer_live_changes_nothing(ledger: Ledger) -> None:
    """Between the look and the step somebody switched."""
    first = switched(ledger, "r-1")
    switched(ledger, "r-2", LATER)
    with pytest.raises(TransitionError, match="not live any more"):
        roll_back(ledger, "watch", leaving=first.deployment_id, reason="late")
    assert serving_adapter(ledger) == "adapter of r-2"


def test_one_that_is_not_up_any_more_is_wanted_again(ledger: Ledger) -> None:
    """It takes a start then, and its verdict must not be asked to beat what users leave."""
    first = switched(ledger, "r-1")
    switched(ledger, "r-2")
    report_state(ledger, first.deployment_id, "stopped")
    back = find_back(ledger)
    assert back is not None
    assert (back.deployment.release_id, back.is_up) == ("r-1", False)
    with pytest.raises(GateClosedError, match="serves now"):
        want_release(ledger, "r-1")
    wanted = want_release(ledger, "r-1", is_rollback=True)
    report_ready(ledger, wanted.deployment_id)
    assert switch_live(ledger, wanted.deployment_id).release_id == "r-1"


def test_the_next_release_takes_the_place_of_the_one_that_is_kept(ledger: Ledger) -> None:
    """Two engines fit, three may not."""
    first = switched(ledger, "r-1")
    switched(ledger, "r-2", LATER)
    report_state(ledger, first.deployment_id, "kept")
    make_ready(ledger, "r-3")
    gone = deployment_of(ledger, first.deployment_id)
    assert (gone.state, gone.detail) == ("stopped", "made room for release r-3")


def test_one_that_still_answers_when_the_next_release_comes_drains_to_its_end_and_is_not_kept(ledger: Ledger) -> None:
    """Its requests are not cut off; but its place is needed."""
    first = switched(ledger, "r-1")
    switched(ledger, "r-2", LATER)
    since = deployment_of(ledger, first.deployment_id)
    make_ready(ledger, "r-3", upto="wanted")
    old = deployment_of(ledger, first.deployment_id)
    assert (old.state, old.keep_until, old.engine_url) == ("draining", None, "unix:/x")
    assert old.changed_at == since.changed_at


def test_what_is_kept_makes_no_room_while_nothing_else_answers(ledger: Ledger) -> None:
    """The live engine is being started again: every request goes to the kept one."""
    first = switched(ledger, "r-1")
    live = switched(ledger, "r-2", LATER)
    report_state(ledger, first.deployment_id, "kept")
    withdraw_engine(ledger, live.deployment_id)
    make_ready(ledger, "r-3", upto="wanted")
    assert [target.release_id for target in find_targets(ledger)] == ["r-2", "r-1"]


def test_a_live_deployment_that_fails_is_left_in_the_same_step(ledger: Ledger) -> None:
    """There is no moment in which nothing is live though something could answer."""
    first = switched(ledger, "r-1")
    live = switched(ledger, "r-2", LATER)
    back = fail_deployment(ledger, live.deployment_id, "a file changed")
    assert back is not None
    assert (back.deployment_id, back.state) == (first.deployment_id, "live")
    failed = deployment_of(ledger, live.deployment_id)
    assert (failed.state, failed.rollback_reason, failed.detail) == ("failed", "failed", "a file changed")
    assert failed.engine_url is None
    assert fail_deployment(ledger, first.deployment_id, "a file changed") is None
    assert (live_deployment(ledger), find_back(ledger)) == (None, None)


@pytest.mark.parametrize("why", ["left by hand", "the gate is closed", "not up"])
def test_a_live_deployment_that_fails_is_not_left_for_what_may_not_serve(ledger: Ledger, why: str) -> None:
    """A failure opens no gate, and overrules no person."""
    first = switched(ledger, "r-1")
    live = switched(ledger, "r-2", LATER)
    if why == "left by hand":
        live = roll_back(ledger, "operator", keep_until=LATER)
    elif why == "not up":
        withdraw_engine(ledger, first.deployment_id)
    else:
        record_verdict(ledger, make_verdict("refuse", adapter_id="adapter of r-1"))
    assert fail_deployment(ledger, live.deployment_id, "a file changed") is None
    assert live_deployment(ledger) is None
    assert deployment_of(ledger, live.deployment_id).state == "failed"


def test_a_release_is_judged_by_the_last_time_that_it_served(ledger: Ledger) -> None:
    """It served well once, came back, and was left for a fault: the first time says nothing any more."""
    first = switched(ledger, "r-1")
    switched(ledger, "r-2")
    report_state(ledger, first.deployment_id, "stopped")
    again = want_release(ledger, "r-1", is_rollback=True)
    report_ready(ledger, again.deployment_id)
    switch_live(ledger, again.deployment_id, keep_until=LATER)
    roll_back(ledger, "operator")
    roll_back(ledger, "operator", keep_until=LATER)
    with pytest.raises(TransitionError):
        roll_back(ledger, "watch", leaving=again.deployment_id, reason="failed")
    fail_deployment(ledger, again.deployment_id, "a file changed")
    assert "r-1" not in _ways_back(ledger)


def test_what_a_rollback_goes_to_is_kept_by_the_rule_and_what_was_removed_is_gone_back_to_by_nobody(
    ledger: Ledger,
) -> None:
    """Each release after r-1 is left for a fault: users are sent from one to the next, and r-1 stays the way back from r-2."""
    first = switched(ledger, "r-1")
    second = switched(ledger, "r-2")
    report_state(ledger, first.deployment_id, "stopped")
    for number in (3, 4):
        bad = switched(ledger, f"r-{number}", LATER)
        roll_back(ledger, "watch", leaving=bad.deployment_id, reason="9 of 10 requests failed")
        report_state(ledger, bad.deployment_id, "stopped")
    assert live_of(ledger).release_id == second.release_id
    assert _ways_back(ledger) == ["r-1"]
    assert releases_in_use(ledger)["r-1"] == "kept for a rollback"
    with pytest.raises(GateClosedError), ledger.begin() as connection:
        mark_removed(connection, "r-1", "a test")
    with ledger.begin() as connection:
        connection.execute(releases.update().where(releases.c.release_id == "r-1").values(removed_at=LATER))
    assert find_back(ledger) is None


def _ways_back(ledger: Ledger) -> list[str]:
    with ledger.read() as connection:
        return [back.deployment.release_id for back in ways_back_in(connection)]


class Switching(RuleBasedStateMachine):
    """Whatever is done in whatever order, and wherever a process dies: users are with one deployment that was let through."""

    def __init__(self) -> None:
        super().__init__()
        import tempfile

        self._folder = tempfile.TemporaryDirectory()
        self.ledger = fresh_ledger(f"sqlite:///{self._folder.name}/ledger.db")
        self.count, self.has_served = 0, False

    def teardown(self) -> None:
        self.ledger.close()
        self._folder.cleanup()

    @rule(trial=sampled_from([None, TrialPlan(10, 60, 5, 600)]))
    def want(self, trial: TrialPlan | None) -> None:
        self.count += 1
        make_ready(self.ledger, f"r-{self.count}", upto="wanted", trial=trial)

    @rule(end=sampled_from(["begin", "pass", "fail", "interrupt"]))
    def go_on_with_the_trial(self, end: str) -> None:
        found = open_trial(self.ledger)
        if found is not None:
            name = found[0].deployment_id
            if end == "begin":
                begin_trial(self.ledger, name, datetime.now(UTC))
            elif end == "interrupt":
                interrupt_trial(self.ledger, name)
            else:
                (pass_trial if end == "pass" else fail_trial)(self.ledger, name, "a test")

    @rule(state=sampled_from(["starting", "ready", "kept", "stopped"]), place=sampled_from([0, 1, 2, -1]))
    def report(self, state: str, place: int) -> None:
        known = [d for d in current_deployments(self.ledger) if d.state != "live"]
        if known:
            url = "unix:/x" if state == "ready" else None
            name = known[place % len(known)].deployment_id
            _try(lambda: report_state(self.ledger, name, state, engine_url=url, engine_key=b"k"))  # type: ignore[arg-type]

    @rule(place=sampled_from([0, 1, -1]))
    def engine_dies(self, place: int) -> None:
        known = current_deployments(self.ledger)
        if known:
            withdraw_engine(self.ledger, known[place % len(known)].deployment_id)

    @rule()
    def switch(self) -> None:
        for deployment in current_deployments(self.ledger):
            if deployment.state == "ready":
                _try(lambda name=deployment.deployment_id: switch_live(self.ledger, name, keep_until=LATER))  # type: ignore[misc]

    @rule(reason=sampled_from([None, "failed"]))
    def go_back(self, reason: str | None) -> None:
        _try(lambda: roll_back(self.ledger, "somebody", reason=reason, keep_until=LATER))

    @rule(place=sampled_from([0, 1, -1]))
    def fail(self, place: int) -> None:
        known = current_deployments(self.ledger)
        if known:
            _try(lambda: fail_deployment(self.ledger, known[place % len(known)].deployment_id, "a test"))

    @rule(place=sampled_from([0, 1, 2]))
    def remove(self, place: int) -> None:
        known = [r.release.release_id for r in recorded_releases(self.ledger) if r.removed_at is None]
        if known:
            with self.ledger.begin() as connection:
                _try(lambda: mark_removed(connection, known[place % len(known)], "a test"))

    @invariant()
    def what_a_rollback_goes_to_stays(self) -> None:
        back = find_back(self.ledger)
        assert back is None or back.deployment.release_id in releases_in_use(self.ledger)

    @invariant()
    def what_was_to_be_tried_is_live_only_after_its_trial(self) -> None:
        live = live_deployment(self.ledger)
        trial = None if live is None else find_trial(self.ledger, live.deployment_id)
        assert trial is None or trial.lets_through

    @invariant()
    def one_is_live_once_any_was(self) -> None:
        known = deployments(self.ledger)
        live = [d for d in known if d.state == "live"]
        back = find_back(self.ledger, by_itself=True)
        is_left_alone = any(d.state == "failed" for d in known) and (back is None or not back.is_up)
        self.has_served |= bool(live)
        assert len(live) == int(self.has_served) or (is_left_alone and not live)
        assert all(d.live_since is not None and d.rollback_reason is None for d in live) or not live
        assert len([d for d in known if d.state in ("wanted", "starting", "ready")]) <= 1
        assert not live or serving_adapter(self.ledger) == f"adapter of {live[0].release_id}"


def _try(step: object) -> None:
    with contextlib.suppress(LedgerError, GateClosedError):
        step()  # type: ignore[operator]


TestSwitching = Switching.TestCase
TestSwitching.settings = settings(
    max_examples=25, stateful_step_count=25, deadline=None, suppress_health_check=list(HealthCheck)
)
