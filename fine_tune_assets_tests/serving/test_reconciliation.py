"""The supervisor's rules, without a single process."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from fine_tune_assets.ledger.serving.deployments import BY_HAND, Deployment
from fine_tune_assets.serving.reconciliation import Action, EngineView, Pace, next_actions

NOW = datetime(2026, 1, 1, tzinfo=UTC)
PACE = Pace(startup_seconds=60, drain_minimum_seconds=3, drain_maximum_seconds=100)


def _deployment(state: str, name: str = "d", age_seconds: float = 0) -> Deployment:
    changed_at = NOW - timedelta(seconds=age_seconds)
    return Deployment(name, "r-1", "a-line", "blue", state, None, None, "", NOW, changed_at)  # type: ignore[arg-type]


def _engine(age_seconds: float = 1, **changes: Any) -> EngineView:
    values: dict[str, Any] = {
        "is_alive": True, "is_healthy": True, "is_warm": True, "started_at": NOW - timedelta(seconds=age_seconds),
        "retry_at": NOW, "connections": 0, "silent_looks": 0,
    }  # fmt: skip
    return EngineView(**(values | changes))


COLD: dict[str, Any] = {"is_healthy": False, "is_warm": False}
DEAD: dict[str, Any] = {"is_alive": False, **COLD}
LATER = NOW + timedelta(seconds=5)


@pytest.mark.parametrize(
    ("state", "engine", "kind"),
    [
        ("wanted", None, "start"),
        ("starting", None, "start"),  # the supervisor was killed meanwhile
        ("starting", _engine(**COLD), None),
        ("starting", _engine(is_warm=False), "warm"),
        ("starting", _engine(**DEAD), "fail"),
        ("starting", _engine(age_seconds=61, **COLD), "fail"),
        ("ready", _engine(), None),
        ("ready", None, "start"),
        ("ready", _engine(**DEAD), "start"),
        ("live", _engine(), None),
        ("live", _engine(silent_looks=PACE.silent_looks - 1), None),
        ("live", _engine(silent_looks=PACE.silent_looks), "stop"),  # it hangs
        ("live", None, "start"),
        ("live", _engine(**DEAD), "start"),
        ("live", _engine(**(DEAD | {"retry_at": LATER})), None),  # back-off
        ("live", _engine(is_warm=False), "warm"),
        ("live", _engine(age_seconds=61, **COLD), "stop"),
        ("stopped", _engine(), "stop"),
        ("failed", _engine(), "stop"),
        ("stopped", None, None),
    ],
)
def test_each_state_has_one_next_step(state: str, engine: EngineView | None, kind: str | None) -> None:
    """Every row is a way in which a night can go."""
    actions = next_actions([_deployment(state)], {} if engine is None else {"d": engine}, NOW, PACE)
    assert [action.kind for action in actions] == ([] if kind is None else [kind])


@pytest.mark.parametrize(
    ("age_seconds", "connections", "is_retired"),
    [(1, 0, False), (4, 0, True), (4, 2, False), (99, 1, False), (101, 1, True)],
)
def test_draining_ends_when_the_last_answer_is_out(age_seconds: float, connections: int, is_retired: bool) -> None:
    """A switch must cut off nobody, and a client that never hangs up must not keep the old engine for ever."""
    deployments = [_deployment("draining", age_seconds=age_seconds), _deployment("live", "l")]
    actions = next_actions(deployments, {"d": _engine(connections=connections), "l": _engine()}, NOW, PACE)
    assert actions == ([Action("retire", "d")] if is_retired else [])


@pytest.mark.parametrize(
    ("state", "engine", "until", "kind"),
    [
        ("draining", _engine(), LATER, "keep"),
        ("draining", _engine(connections=1), LATER, None),
        ("draining", _engine(), NOW, "retire"),
        ("draining", _engine(**DEAD), LATER, "retire"),
        ("kept", _engine(), LATER, None),
        ("kept", _engine(), NOW, "dismiss"),
        ("kept", _engine(connections=1), NOW, "dismiss"),  # it ends when that answer is out
        ("kept", _engine(**DEAD), LATER, "retire"),
        ("kept", None, LATER, "retire"),
        ("kept", _engine(silent_looks=PACE.silent_looks), LATER, "retire"),  # it hangs: nobody can go back to it
        ("kept", _engine(connections=1), LATER, None),  # a request came over while the live one failed
    ],
)
def test_what_served_before_is_kept_until_its_time_is_up(
    state: str, engine: EngineView | None, until: datetime, kind: str | None
) -> None:
    """A rollback takes no start in that time; after it the memory is free."""
    deployment = replace(_deployment(state, age_seconds=4), keep_until=until)
    engines = {"l": _engine()} | ({} if engine is None else {"d": engine})
    actions = next_actions([deployment, _deployment("live", "l")], engines, NOW, PACE)
    assert [action.kind for action in actions] == ([] if kind is None else [kind])


@pytest.mark.parametrize("live", [None, _engine(**DEAD), _engine(is_warm=False), _engine(silent_looks=1)])
@pytest.mark.parametrize(
    ("state", "until", "reason", "kind"),
    [
        ("kept", NOW, None, None),
        ("kept", NOW, BY_HAND, None),
        ("kept", NOW, "failed", "dismiss"),  # it answers nobody
        ("draining", NOW, None, None),
        ("draining", None, None, None),
        ("draining", LATER, None, "keep"),
    ],
)
def test_the_last_engine_that_can_answer_is_not_ended(
    live: EngineView | None, state: str, until: datetime | None, reason: str | None, kind: str | None
) -> None:
    """While the live one is started again, requests go to what served before, whatever the clock says."""
    old = replace(_deployment(state, age_seconds=101), keep_until=until, rollback_reason=reason)
    engines = {"d": _engine()} | ({} if live is None else {"l": live})
    actions = next_actions([old, _deployment("live", "l")], engines, NOW, PACE)
    assert [a.kind for a in actions if a.deployment_id == "d"] == ([] if kind is None else [kind])


def test_the_next_release_waits_for_the_memory_of_what_drains() -> None:
    """Two engines fit, three may not. Where the live one does not answer, it does not wait for one that may not go."""
    old, live, new = _deployment("draining", "old"), _deployment("live", "l"), _deployment("wanted", "new")
    engines = {"old": _engine(connections=1), "l": _engine()}
    assert next_actions([old, live, new], engines, NOW, PACE) == []
    assert next_actions([replace(old, keep_until=LATER), live, new], engines, NOW, PACE) == [Action("start", "new")]
    assert next_actions([old, live, new], engines | {"old": _engine(**DEAD)}, NOW, PACE)[-1] == Action("start", "new")
    assert Action("start", "new") in next_actions([old, live, new], engines | {"l": _engine(**DEAD)}, NOW, PACE)


def test_a_draining_deployment_without_an_engine_is_over() -> None:
    """The supervisor was stopped in between."""
    assert next_actions([_deployment("draining")], {}, NOW, PACE) == [Action("retire", "d")]


def test_an_engine_that_nobody_wants_is_stopped() -> None:
    """Left over from a deployment that was given up."""
    assert next_actions([], {"gone": _engine()}, NOW, PACE) == [Action("stop", "gone")]


@pytest.mark.parametrize(
    ("engine", "is_stopped"),
    [
        (_engine(connections=1, unwanted_since=NOW - timedelta(seconds=99)), False),
        (_engine(connections=1, unwanted_since=NOW - timedelta(seconds=100)), True),
        (_engine(connections=0, unwanted_since=NOW), True),
        (_engine(connections=1, unwanted_since=NOW, **DEAD), True),
    ],
)
def test_who_is_answered_by_one_whose_trial_ended_is_answered_to_the_end(engine: EngineView, is_stopped: bool) -> None:
    """Ending a trial must cut off nobody; and until it is gone no third engine is started beside it."""
    engines = {"tried": engine, "l": _engine()}
    actions = next_actions([_deployment("live", "l"), _deployment("wanted", "w")], engines, NOW, PACE)
    assert actions == ([Action("stop", "tried"), Action("start", "w")] if is_stopped else [])


def test_the_live_one_comes_first() -> None:
    """Starting it again must not wait for a new release to be verified."""
    deployments = [_deployment("wanted", "new"), _deployment("live", "old")]
    assert [a.deployment_id for a in next_actions(deployments, {}, NOW, PACE)] == ["old", "new"]
