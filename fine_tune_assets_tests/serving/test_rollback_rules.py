"""When a release is rolled back automatically, as a function of its counts."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fine_tune_assets.core.settings import RollbackSettings
from fine_tune_assets.ledger.commit_counter import CommitCounter
from fine_tune_assets.ledger.database import Ledger
from fine_tune_assets.ledger.ledger_tables import deployment_outcomes
from fine_tune_assets.ledger.serving.crash_suspects import CrashSuspect, record_suspects
from fine_tune_assets.ledger.serving.request_outcomes import (
    DURATION_BUCKETS_SECONDS,
    FAILED,
    RequestOutcomes,
    add_outcomes,
    make_answered_outcome,
    percentile_lower_bound,
    sum_outcomes_since,
)
from fine_tune_assets.serving.rollback_rules import (
    ENGINE_FAILED,
    REPORT_TIME,
    RESTART_TIME,
    DeploymentMetrics,
    RollbackWatch,
    find_rollback_reason,
)
from fine_tune_assets_tests.ledger.ledger_rows import live_of
from fine_tune_assets_tests.serving.tiny_releases import make_ready, switched

LIMITS = RollbackSettings(
    window_minutes=30, minimum_requests=20, error_percent=20, p95_seconds=10, identifier_count=1, corrections_percent=25
)
OFF = RollbackSettings(window_minutes=30, minimum_requests=0, error_percent=0, on_engine_failure=False)


def _figures(answered: int = 0, failed: int = 0, seconds: float = 0.3, **changes: object) -> DeploymentMetrics:
    outcomes = sum([make_answered_outcome(seconds)] * answered + [FAILED] * failed, RequestOutcomes())
    return replace(DeploymentMetrics(timedelta(minutes=1), True, False, outcomes, 0), **changes)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("figures", "word"),
    [
        (_figures(100), None),
        (_figures(80, 20), "20 of 100 requests failed"),
        (_figures(81, 19), None),
        (_figures(1, 18), None),  # fewer than the minimum
        (_figures(100, seconds=11), "10 s or more"),
        (_figures(100, seconds=9), None),
        (_figures(100, corrections=25), "25 corrections for 100"),
        (_figures(100, corrections=24), None),
        (_figures(0, is_answering=False), ENGINE_FAILED),
        (_figures(0, is_answering=False, is_crash_explained=True), None),
        (_figures(0, outcomes=RequestOutcomes(identifier_count=1)), "1 identifiers"),
        (_figures(100, outcomes=RequestOutcomes(identifier_count=0)), None),
        (_figures(0, 100, age=timedelta(minutes=30)), None),  # the window is over
    ],
)
def test_each_limit_triggers_a_rollback_and_values_just_below_do_not(
    figures: DeploymentMetrics, word: str | None
) -> None:
    """A limit must be reachable, and must not roll back a good release."""
    reason = find_rollback_reason(figures, LIMITS)
    assert (reason is None) == (word is None)
    assert word is None or word in (reason or "")


@given(st.integers(0, 500), st.integers(0, 500), st.floats(0, 2000), st.integers(0, 500), st.booleans())
def test_disabled_limits_never_trigger_a_rollback(
    answered: int, failed: int, seconds: float, corrections: int, alive: bool
) -> None:
    """An operator who disables them decides manually."""
    figures = _figures(answered, failed, seconds, corrections=corrections, is_answering=alive)
    assert find_rollback_reason(figures, OFF) is None


@given(st.integers(0, 200), st.integers(0, 200), st.integers(1, 50))
def test_more_failures_never_prevent_a_rollback(answered: int, failed: int, more: int) -> None:
    """Otherwise the worst release would stay."""
    before = find_rollback_reason(_figures(answered, failed), LIMITS)
    after = find_rollback_reason(_figures(answered, failed + more), LIMITS)
    assert before is None or after is not None


@given(st.lists(st.floats(0, 2000), min_size=1, max_size=200))
def test_a_percentile_is_never_above_the_true_one(seconds: list[float]) -> None:
    """A rollback needs certain evidence."""
    counted = sum((make_answered_outcome(value) for value in seconds), RequestOutcomes()).durations
    found = percentile_lower_bound(counted, 0.95)
    true = sorted(seconds)[max(0, -(-95 * len(seconds) // 100) - 1)]
    assert found is not None
    assert found <= true
    assert percentile_lower_bound([0] * (len(DURATION_BUCKETS_SECONDS) + 1), 0.95) is None


def test_counts_of_several_gateway_processes_add_up(ledger: Ledger) -> None:
    """Each process adds its own counts, in the same 10-second slot or another."""
    name, now = make_ready(ledger, "r-1").deployment_id, datetime(2026, 1, 1, 0, 0, 5, tzinfo=UTC)
    add_outcomes(ledger, {name: make_answered_outcome(0.3) + FAILED}, now)
    add_outcomes(ledger, {name: make_answered_outcome(7.0, identifiers=2)}, now + timedelta(seconds=1))
    add_outcomes(ledger, {name: make_answered_outcome(0.3)}, now + timedelta(seconds=20))
    found = sum_outcomes_since(ledger, name, now)
    assert (found.answered, found.failed, found.identifier_count, sum(found.durations)) == (3, 1, 2, 3)
    assert sum_outcomes_since(ledger, name, now + timedelta(seconds=15)).answered == 1
    add_outcomes(ledger, {name: FAILED}, now + timedelta(days=8))
    assert sum_outcomes_since(ledger, name, now) == replace(FAILED)  # counts older than a week are deleted


def test_old_counts_are_deleted_only_when_a_new_slot_starts(ledger: Ledger) -> None:
    """Gateway processes write every second and must not search the table each time."""
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
    assert slots() == 2  # one added, one deleted


def test_an_automatic_rollback_needs_a_running_previous_release(ledger: Ledger, tmp_path: Path) -> None:
    """An engine without a process counts as dead. Without a previous release, the engine can only be restarted."""
    switched(ledger, "r-1")
    now = datetime.now(UTC)
    watch = RollbackWatch(ledger, tmp_path, LIMITS)
    assert watch.roll_back_if_needed(now) is None
    switched(ledger, "r-2")
    off = RollbackWatch(ledger, tmp_path, LIMITS.model_copy(update={"window_minutes": 0}))
    assert off.roll_back_if_needed(now) is None
    assert watch.roll_back_if_needed(now) is None  # the gateway may still report requests
    assert watch.roll_back_if_needed(now + REPORT_TIME) == ENGINE_FAILED
    live = live_of(ledger)
    assert live.release_id == "r-1"
    # No rollback of a rollback: releases must not alternate.
    assert watch.roll_back_if_needed(now + 2 * REPORT_TIME) is None


def test_the_watch_rests_until_a_commit_makes_a_rollback_possible(ledger: Ledger, tmp_path: Path) -> None:
    """While it rests it does not read the ledger, so a commit must wake it."""
    commits, now = CommitCounter(str(ledger.engine.url)), datetime.now(UTC)
    watch = RollbackWatch(ledger, tmp_path, LIMITS)
    switched(ledger, "r-1")
    before = commits.read()
    assert not watch.is_needed(now)
    switched(ledger, "r-2")
    assert before is None or commits.read() != before  # None on PostgreSQL, where it does not rest
    assert watch.is_needed(now)
    assert not watch.is_needed(now + timedelta(minutes=LIMITS.window_minutes + 1))


Suspect = tuple[str, str, str]
"""Engine, request, caller."""


def _suspect(ledger: Ledger, *suspects: Suspect, at: datetime) -> None:
    name = live_of(ledger).deployment_id
    record_suspects(ledger, [CrashSuspect(name, engine, request, caller, at) for engine, request, caller in suspects])


@pytest.mark.parametrize(
    ("suspects", "is_rolled_back"),
    [
        ([("e1", "r1", "a")], False),
        ([("e1", "r1", "a"), ("e1", "r2", "b")], False),  # either can be the cause
        ([("e1", "r1", "a"), ("e1", "r2", "b"), ("e2", "r1", "a"), ("e2", "r3", "c")], False),  # r1 explains both
        ([("e1", "r1", "a"), ("e2", "r2", "a")], False),  # one caller sends variants
        ([("e1", "r1", "a"), ("e2", "r2", "b")], True),
        ([], True),
    ],
)
def test_an_engine_that_requests_stopped_is_rolled_back_only_if_no_single_cause_explains_it(
    ledger: Ledger, tmp_path: Path, suspects: list[Suspect], is_rolled_back: bool
) -> None:
    """Otherwise any caller could take back a good release."""
    switched(ledger, "r-1")
    switched(ledger, "r-2")
    now, watch = datetime.now(UTC), RollbackWatch(ledger, tmp_path, LIMITS)
    watch.roll_back_if_needed(now)
    _suspect(ledger, *suspects, at=now)
    assert watch.roll_back_if_needed(now + REPORT_TIME) == (ENGINE_FAILED if is_rolled_back else None)


@pytest.mark.parametrize("callers", [("a", "a"), ("a", "b")])
def test_failures_of_requests_that_stopped_the_engine_count_only_if_no_single_cause_explains_them(
    ledger: Ledger, tmp_path: Path, callers: tuple[str, str]
) -> None:
    """Otherwise one caller could take back a good release by its share of failed requests."""
    switched(ledger, "r-1")
    switched(ledger, "r-2")
    live, now = live_of(ledger), datetime.now(UTC)
    limits = LIMITS.model_copy(update={"minimum_requests": 2, "on_engine_failure": False})
    add_outcomes(ledger, {live.deployment_id: RequestOutcomes(failed=2)}, now)
    _suspect(ledger, *((f"e{n}", f"r{n}", caller) for n, caller in enumerate(callers)), at=now)
    reason = RollbackWatch(ledger, tmp_path, limits).roll_back_if_needed(now)
    assert reason == (None if len(set(callers)) == 1 else "2 of 2 requests failed")


def test_an_engine_that_does_not_return_is_at_fault_even_if_a_request_stopped_it(
    ledger: Ledger, tmp_path: Path
) -> None:
    """The previous release answers meanwhile, but not for ever."""
    switched(ledger, "r-1")
    switched(ledger, "r-2")
    now, watch = datetime.now(UTC), RollbackWatch(ledger, tmp_path, LIMITS)
    watch.roll_back_if_needed(now)
    _suspect(ledger, ("e1", "r1", "a"), at=now)
    assert watch.roll_back_if_needed(now + REPORT_TIME) is None
    assert watch.roll_back_if_needed(now + RESTART_TIME) == ENGINE_FAILED
