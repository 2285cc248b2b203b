"""The supervisor's planning rules, without processes."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from fine_tune_assets.ledger.serving.deployments import MANUAL, Deployment
from fine_tune_assets.serving.reconciliation import Action, EngineStatus, SupervisorTimings, plan_actions

NOW = datetime(2026, 1, 1, tzinfo=UTC)
PACE = SupervisorTimings(startup_timeout_seconds=60, drain_minimum_seconds=3, drain_maximum_seconds=100)


def _deployment(state: str, name: str = "d", age_seconds: float = 0) -> Deployment:
    changed_at = NOW - timedelta(seconds=age_seconds)
    return Deployment(name, "r-1", "a-line", "blue", state, None, None, "", NOW, changed_at)  # type: ignore[arg-type]


def _engine(age_seconds: float = 1, **changes: Any) -> EngineStatus:
    values: dict[str, Any] = {
        "is_alive": True, "is_healthy": True, "is_warm": True, "started_at": NOW - timedelta(seconds=age_seconds),
        "retry_at": NOW, "connections": 0, "missed_health_checks": 0,
    }  # fmt: skip
    return EngineStatus(**(values | changes))


COLD: dict[str, Any] = {"is_healthy": False, "is_warm": False}
DEAD: dict[str, Any] = {"is_alive": False, **COLD}
LATER = NOW + timedelta(seconds=5)


@pytest.mark.parametrize(
    ("state", "engine", "kind"),
    [
        ("requested", None, "start"),
        ("starting", None, "start"),  # the supervisor was killed meanwhile
        ("starting", _engine(**COLD), None),
        ("starting", _engine(is_warm=False), "warm_up"),
        ("starting", _engine(**DEAD), "fail"),
        ("starting", _engine(age_seconds=61, **COLD), "fail"),
        ("ready", _engine(), None),
        ("ready", None, "start"),
        ("ready", _engine(**DEAD), "start"),
        ("live", _engine(), None),
        ("live", _engine(missed_health_checks=PACE.max_missed_health_checks - 1), None),
        ("live", _engine(missed_health_checks=PACE.max_missed_health_checks), "stop"),  # it hangs
        ("live", None, "start"),
        ("live", _engine(**DEAD), "start"),
        ("live", _engine(**(DEAD | {"retry_at": LATER})), None),  # back-off
        ("live", _engine(is_warm=False), "warm_up"),
        ("live", _engine(age_seconds=61, **COLD), "stop"),
        ("stopped", _engine(), "stop"),
        ("failed", _engine(), "stop"),
        ("stopped", None, None),
    ],
)
def test_each_state_has_one_next_step(state: str, engine: EngineStatus | None, kind: str | None) -> None:
    """Each row is one situation that the supervisor can meet."""
    actions = plan_actions([_deployment(state)], {} if engine is None else {"d": engine}, NOW, PACE)
    assert [action.kind for action in actions] == ([] if kind is None else [kind])


@pytest.mark.parametrize(
    ("age_seconds", "connections", "is_retired"),
    [(1, 0, False), (4, 0, True), (4, 2, False), (99, 1, False), (101, 1, True)],
)
def test_draining_ends_after_the_last_answer(age_seconds: float, connections: int, is_retired: bool) -> None:
    """A switch must cut off no answer, and a client that never disconnects must not keep the engine running forever."""
    deployments = [_deployment("draining", age_seconds=age_seconds), _deployment("live", "l")]
    actions = plan_actions(deployments, {"d": _engine(connections=connections), "l": _engine()}, NOW, PACE)
    assert actions == ([Action("retire", "d")] if is_retired else [])


@pytest.mark.parametrize(
    ("state", "engine", "until", "kind"),
    [
        ("draining", _engine(), LATER, "keep"),
        ("draining", _engine(connections=1), LATER, None),
        ("draining", _engine(), NOW, "retire"),
        ("draining", _engine(**DEAD), LATER, "retire"),
        ("standby", _engine(), LATER, None),
        ("standby", _engine(), NOW, "detach"),
        ("standby", _engine(connections=1), NOW, "detach"),  # it stops after that answer
        ("standby", _engine(**DEAD), LATER, "retire"),
        ("standby", None, LATER, "retire"),
        (
            "standby",
            _engine(missed_health_checks=PACE.max_missed_health_checks),
            LATER,
            "retire",
        ),  # it hangs, so no rollback to it is possible
        ("standby", _engine(connections=1), LATER, None),  # it answers a request that the live engine failed
    ],
)
def test_the_previous_release_is_kept_until_its_retention_ends(
    state: str, engine: EngineStatus | None, until: datetime, kind: str | None
) -> None:
    """Until then a rollback needs no engine start; afterwards the memory is free."""
    deployment = replace(_deployment(state, age_seconds=4), standby_until=until)
    engines = {"l": _engine()} | ({} if engine is None else {"d": engine})
    actions = plan_actions([deployment, _deployment("live", "l")], engines, NOW, PACE)
    assert [action.kind for action in actions] == ([] if kind is None else [kind])


@pytest.mark.parametrize("live", [None, _engine(**DEAD), _engine(is_warm=False), _engine(missed_health_checks=1)])
@pytest.mark.parametrize(
    ("state", "until", "reason", "kind"),
    [
        ("standby", NOW, None, None),
        ("standby", NOW, MANUAL, None),
        ("standby", NOW, "failed", "detach"),  # it gets no requests
        ("draining", NOW, None, None),
        ("draining", None, None, None),
        ("draining", LATER, None, "keep"),
    ],
)
def test_the_last_engine_that_can_answer_is_not_stopped(
    live: EngineStatus | None, state: str, until: datetime | None, reason: str | None, kind: str | None
) -> None:
    """While the live engine restarts, the previous one answers, even after its retention."""
    old = replace(_deployment(state, age_seconds=101), standby_until=until, rollback_reason=reason)
    engines = {"d": _engine()} | ({} if live is None else {"l": live})
    actions = plan_actions([old, _deployment("live", "l")], engines, NOW, PACE)
    assert [a.kind for a in actions if a.deployment_id == "d"] == ([] if kind is None else [kind])


def test_the_next_release_waits_for_the_memory_of_a_draining_one() -> None:
    """Two engines fit, three may not. If the live engine does not answer, the next release does not wait."""
    old, live, new = _deployment("draining", "old"), _deployment("live", "l"), _deployment("requested", "new")
    engines = {"old": _engine(connections=1), "l": _engine()}
    assert plan_actions([old, live, new], engines, NOW, PACE) == []
    assert plan_actions([replace(old, standby_until=LATER), live, new], engines, NOW, PACE) == [Action("start", "new")]
    assert plan_actions([old, live, new], engines | {"old": _engine(**DEAD)}, NOW, PACE)[-1] == Action("start", "new")
    assert Action("start", "new") in plan_actions([old, live, new], engines | {"l": _engine(**DEAD)}, NOW, PACE)


def test_a_draining_deployment_without_an_engine_is_retired() -> None:
    """The supervisor was stopped meanwhile."""
    assert plan_actions([_deployment("draining")], {}, NOW, PACE) == [Action("retire", "d")]


def test_an_unused_engine_is_stopped() -> None:
    """Its deployment has ended."""
    assert plan_actions([], {"gone": _engine()}, NOW, PACE) == [Action("stop", "gone")]


@pytest.mark.parametrize(
    ("engine", "is_stopped"),
    [
        (_engine(connections=1, unused_since=NOW - timedelta(seconds=99)), False),
        (_engine(connections=1, unused_since=NOW - timedelta(seconds=100)), True),
        (_engine(connections=0, unused_since=NOW), True),
        (_engine(connections=1, unused_since=NOW, **DEAD), True),
    ],
)
def test_an_ended_canary_release_completes_its_answers(engine: EngineStatus, is_stopped: bool) -> None:
    """No answer is cut off, and no third engine starts until this one has stopped."""
    engines = {"tried": engine, "l": _engine()}
    actions = plan_actions([_deployment("live", "l"), _deployment("requested", "w")], engines, NOW, PACE)
    assert actions == ([Action("stop", "tried"), Action("start", "w")] if is_stopped else [])


def test_the_live_deployment_comes_first() -> None:
    """Its restart must not wait for the verification of a new release."""
    deployments = [_deployment("requested", "new"), _deployment("live", "old")]
    assert [a.deployment_id for a in plan_actions(deployments, {}, NOW, PACE)] == ["old", "new"]
