"""Latency and speed of a release's answers, by week."""

from datetime import UTC, date, datetime, timedelta

import pytest

from fine_tune_assets.drift.answer_speed import Answer, summarize_traffic

MONDAY = datetime(2026, 11, 23, tzinfo=UTC)


def test_a_week_runs_from_monday_to_sunday() -> None:
    """Answers of the last second of a Sunday belong to the old week."""
    answers = [Answer(MONDAY - timedelta(seconds=1), 1000, 10), Answer(MONDAY, 2000, 40), Answer(MONDAY, 4000, 20)]
    weeks = summarize_traffic(answers)
    assert [(week.week, week.answers) for week in weeks] == [(date(2026, 11, 16), 1), (date(2026, 11, 23), 2)]
    assert (weeks[1].median_seconds, weeks[1].tokens_per_second) == (3.0, 10.0)


def test_answers_without_a_token_count_are_timed_only() -> None:
    """An engine that reports no usage must not look slow."""
    one, *_ = summarize_traffic([Answer(MONDAY, 500, None)])
    assert (one.median_seconds, one.p95_seconds, one.tokens_per_second) == (0.5, 0.5, None)
    one, *_ = summarize_traffic([Answer(MONDAY, 500, None), Answer(MONDAY, 500, 100)])
    assert one.tokens_per_second == 200.0


def test_the_95th_percentile_is_near_the_slowest() -> None:
    """19 of 20 answers are at most this slow."""
    (week,) = summarize_traffic([Answer(MONDAY, 100 * number, 1) for number in range(1, 21)])
    assert week.p95_seconds == pytest.approx(1.905)
    assert summarize_traffic([]) == []
