"""When users are taken back by themselves: counts in, a reason or none out."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fine_tune_assets.core.settings import RollbackSettings
from fine_tune_assets.ledger.database import Ledger
from fine_tune_assets.ledger.schema import deployment_outcomes
from fine_tune_assets.ledger.serving.outcomes import (
    FAILED,
    STEPS_SECONDS,
    Outcomes,
    add_outcomes,
    answered_after,
    outcomes_since,
    percentile_at_least,
)
from fine_tune_assets.serving.rollback_rules import Figures, look_and_roll_back, reason_to_roll_back
from fine_tune_assets_tests.ledger.made import live_of
from fine_tune_assets_tests.serving.tiny import make_ready, switched

LIMITS = RollbackSettings(
    window_minutes=30, minimum_requests=20, error_percent=20, p95_seconds=10, identifiers=1, corrections_percent=25
)
OFF = RollbackSettings(window_minutes=30, minimum_requests=0, error_percent=0, on_death=False)


def _figures(answered: int = 0, failed: int = 0, seconds: float = 0.3, **changes: object) -> Figures:
    outcomes = sum([answered_after(seconds)] * answered + [FAILED] * failed, Outcomes())
    return replace(Figures(timedelta(minutes=1), True, outcomes, 0), **changes)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("figures", "word"),
    [
        (_figures(100), None),
        (_figures(80, 20), "20 of 100 requests failed"),
        (_figures(81, 19), None),
        (_figures(1, 18), None),  # fewer than the minimum
        (_figures(100, seconds=11), "10 s or more"),
        (_figures(100, seconds=9), None),
        (_figures(100, corrections=25), "25 corrections of 100"),
        (_figures(100, corrections=24), None),
        (_figures(0, is_answering=False), "ended or hung"),
        (_figures(0, outcomes=Outcomes(identifiers=1)), "1 identifiers"),
        (_figures(100, outcomes=Outcomes(identifiers=0)), None),
        (_figures(0, 100, age=timedelta(minutes=30)), None),  # the window is over
    ],
)
def test_each_limit_takes_users_back_and_just_below_it_none_does(figures: Figures, word: str | None) -> None:
    """A limit that can't be met is no limit; one that is met too early costs a good release."""
    reason = reason_to_roll_back(figures, LIMITS)
    assert (reason is None) == (word is None)
    assert word is None or word in (reason or "")


@given(st.integers(0, 500), st.integers(0, 500), st.floats(0, 2000), st.integers(0, 500), st.booleans())
def test_what_is_off_never_takes_users_back(
    answered: int, failed: int, seconds: float, corrections: int, alive: bool
) -> None:
    """Whoever turned it off decides by themselves."""
    figures = _figures(answered, failed, seconds, corrections=corrections, is_answering=alive)
    assert reason_to_roll_back(figures, OFF) is None


@given(st.integers(0, 200), st.integers(0, 200), st.integers(1, 50))
def test_more_failures_never_help(answered: int, failed: int, more: int) -> None:
    """Otherwise the worst release would stay."""
    before = reason_to_roll_back(_figures(answered, failed), LIMITS)
    after = reason_to_roll_back(_figures(answered, failed + more), LIMITS)
    assert before is None or after is not None


@given(st.lists(st.floats(0, 2000), min_size=1, max_size=200))
def test_a_percentile_is_never_above_the_true_one(seconds: list[float]) -> None:
    """It takes users back only for what is sure."""
    counted = sum((answered_after(value) for value in seconds), Outcomes()).durations
    found = percentile_at_least(counted, 0.95)
    true = sorted(seconds)[max(0, -(-95 * len(seconds) // 100) - 1)]
    assert found is not None
    assert found <= true
    assert percentile_at_least([0] * (len(STEPS_SECONDS) + 1), 0.95) is None


def test_counts_of_several_gateway_processes_add_up(ledger: Ledger) -> None:
    """Each hands over its own, in the same ten seconds or not; where one looked for identifiers, that counts."""
    name, now = make_ready(ledger, "r-1").deployment_id, datetime(2026, 1, 1, 0, 0, 5, tzinfo=UTC)
    add_outcomes(ledger, {name: answered_after(0.3) + FAILED}, now)
    add_outcomes(ledger, {name: answered_after(7.0, identifiers=2)}, now + timedelta(seconds=1))
    add_outcomes(ledger, {name: answered_after(0.3)}, now + timedelta(seconds=20))
    found = outcomes_since(ledger, name, now)
    assert (found.answered, found.failed, found.identifiers, sum(found.durations)) == (3, 1, 2, 3)
    assert outcomes_since(ledger, name, now + timedelta(seconds=15)).answered == 1
    add_outcomes(ledger, {name: FAILED}, now + timedelta(days=8))
    assert outcomes_since(ledger, name, now) == replace(FAILED)  # what is older than a week is gone


def test_old_counts_are_looked_for_only_when_a_new_slot_begins(ledger: Ledger) -> None:
    """Several gateway processes hand over every second: each would search the table each time."""
    name, now = make_ready(ledger, "r-1").deployment_id, datetime(2026, 1, 9, 0, 0, 1, tzinfo=UTC)
    add_outcomes(ledger, {name: FAILED}, now)
    old = now - timedelta(days=8)
    with ledger.begin() as connection:
        row = {"deployment_id": name, "slot": old, "answered": 0, "failed": 1, "durations": "[]"}
        connection.execute(deployment_outcomes.insert().values(**row))

    def slots() -> int:
        with ledger.read() as connection:
            return len(connection.execute(deployment_outcomes.select()).all())

    add_outcomes(ledger, {name: FAILED}, now + timedelta(seconds=2))
    assert slots() == 2
    add_outcomes(ledger, {name: FAILED}, now + timedelta(seconds=12))
    assert slots() == 2  # a new one, and the old one gone


def test_a_look_takes_users_back_only_to_what_is_still_up(ledger: Ledger, tmp_path: Path) -> None:
    """An engine without a process counts as dead; with nothing to go back to, restarting it is all there is."""
    switched(ledger, "r-1")
    now = datetime.now(UTC)
    assert look_and_roll_back(ledger, tmp_path, LIMITS, now) is None
    switched(ledger, "r-2")
    assert look_and_roll_back(ledger, tmp_path, LIMITS.model_copy(update={"window_minutes": 0}), now) is None
    assert look_and_roll_back(ledger, tmp_path, LIMITS, now) == "its engine ended or hung"
    live = live_of(ledger)
    assert live.release_id == "r-1"
    # Back and forth for ever would be worse than either.
    assert look_and_roll_back(ledger, tmp_path, LIMITS, now) is None
