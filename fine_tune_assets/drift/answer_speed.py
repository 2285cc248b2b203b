"""Latency and speed of a release's answers, by week."""

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from statistics import median, quantiles


@dataclass(frozen=True)
class Answer:
    at: datetime
    milliseconds: int
    output_tokens: int | None


@dataclass(frozen=True)
class WeekOfTraffic:
    week: date
    """Its Monday."""
    answers: int
    median_seconds: float
    p95_seconds: float
    tokens_per_second: float | None
    """Output tokens per second of answering, over all answers with a token count; None if there are none."""


def summarize_traffic(answers: Sequence[Answer]) -> list[WeekOfTraffic]:
    """One row per week with answers, oldest first."""
    by_week = defaultdict[date, list[Answer]](list)
    for answer in answers:
        day = answer.at.date()
        by_week[day - timedelta(days=day.weekday())].append(answer)
    return [_summarize_week(week, by_week[week]) for week in sorted(by_week)]


def _summarize_week(week: date, answers: Sequence[Answer]) -> WeekOfTraffic:
    seconds = [answer.milliseconds / 1000 for answer in answers]
    counted = [answer for answer in answers if answer.output_tokens is not None and answer.milliseconds > 0]
    tokens = sum(answer.output_tokens or 0 for answer in counted)
    duration = sum(answer.milliseconds for answer in counted) / 1000
    return WeekOfTraffic(
        week,
        len(answers),
        median(seconds),
        quantiles(seconds, n=20, method="inclusive")[-1] if len(seconds) > 1 else seconds[0],
        tokens / duration if counted else None,
    )
