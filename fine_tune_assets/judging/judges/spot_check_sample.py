"""Draws and orders the answers of a spot check, and compares the experts' ratings with the judge's grades.

The sample covers tasks and grades evenly, so that a judge that errs on few answers is noticed; its means are not means over all
answers. Handles ids, fingerprints and numbers, no text.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from math import atanh, sqrt, tanh

import numpy as np

from fine_tune_assets.core.fingerprints import fingerprint_text
from fine_tune_assets.core.people import person_key
from fine_tune_assets.judging.judges.grades import MAX_SCORE, MIN_SCORE
from fine_tune_assets.judging.statistics.association import spearman

SCORE_BANDS = 5
"""Bands of the judge's scale; the sample takes one answer of each in turn."""
MIN_ANSWERS = 5
"""Minimum for a rank correlation."""
_Z = 1.959964  # two-sided 95 %


@dataclass(frozen=True)
class JudgedAnswer:
    """An answer that the judge graded, without its text."""

    answer_id: str
    example_id: str
    task: str
    model_fingerprint: str
    answer_fingerprint: str
    subject_key: str
    score: float | None
    """The judge's grade, 1 to 10; None if missing."""


@dataclass(frozen=True)
class RatingComparison:
    """Experts' ratings compared with the judge's grades of the same answers."""

    answers: int
    raters: int
    spearman: float | None
    low: float | None
    high: float | None
    reason: str
    """Why the correlation is missing; empty otherwise."""


def draw_sample(answers: Iterable[JudgedAnswer], size: int, seed: str) -> list[JudgedAnswer]:
    """Draw at most `size` distinct answers, deterministic for the same answers and seed.

    Takes answers from each task and score band in turn. Answers without a grade are excluded.
    """
    # If two models gave the same answer, the last one in this order is kept.
    ordered = sorted(answers, key=lambda answer: (answer.answer_id, answer.model_fingerprint))
    distinct = {answer.answer_id: answer for answer in ordered}
    strata: dict[tuple[str, int], list[JudgedAnswer]] = {}
    for answer in sorted(distinct.values(), key=lambda answer: _sort_key(seed, answer.answer_id)):
        if answer.score is not None:
            strata.setdefault((answer.task, score_band(answer.score)), []).append(answer)
    turns = sorted(strata, key=lambda stratum: _sort_key(seed, str(stratum)))
    chosen: list[JudgedAnswer] = []
    for depth in range(max(map(len, strata.values()), default=0)):
        chosen += [strata[turn][depth] for turn in turns if depth < len(strata[turn])]
        if len(chosen) >= size:
            break
    return chosen[:size]


def score_band(score: float) -> int:
    """The index of the grade's band, of SCORE_BANDS equal bands.

    >>> [score_band(score) for score in (1.0, 2.9, 5.5, 10.0)]
    [0, 1, 2, 4]
    """
    part = int((score - MIN_SCORE) / (MAX_SCORE - MIN_SCORE) * SCORE_BANDS)
    return min(max(part, 0), SCORE_BANDS - 1)


def order_for_rater(rater: str, answers: Iterable[JudgedAnswer], seed: str) -> list[JudgedAnswer]:
    """Shuffle for each rater differently, so that fatigue and learning affect different answers."""
    return sorted(answers, key=lambda answer: _sort_key(f"{seed} {person_key(rater)}", answer.answer_id))


def compare_ratings(ratings: Iterable[tuple[str, str, int]], answers: Mapping[str, JudgedAnswer]) -> RatingComparison:
    """Compare ratings, (rater, answer id, 1 to 10), with grades. Several ratings of an answer are averaged."""
    grades = {answer_id: answer.score for answer_id, answer in answers.items() if answer.score is not None}
    by_answer: dict[str, list[int]] = {}
    raters: set[str] = set()
    for rater, answer_id, score in ratings:
        if answer_id in grades:
            by_answer.setdefault(answer_id, []).append(score)
            raters.add(person_key(rater))
    experts = [sum(scores) / len(scores) for scores in by_answer.values()]
    judge = [grades[answer_id] for answer_id in by_answer]
    counted = (len(by_answer), len(raters))
    if len(by_answer) < MIN_ANSWERS:
        return RatingComparison(*counted, None, None, None, f"fewer than {MIN_ANSWERS} answers")
    if len(set(experts)) == 1 or len(set(judge)) == 1:
        return RatingComparison(*counted, None, None, None, "all ratings or all grades are equal")
    value = spearman(np.array(experts), np.array(judge))
    return RatingComparison(*counted, value, *_interval(value, len(by_answer)), "")


def _interval(value: float, answers: int) -> tuple[float, float]:
    """95 % interval by Fisher's z with the standard error of Bonett and Wright (2000), Psychometrika 65, 23-28."""
    limited = min(max(value, -0.999999), 0.999999)
    half = _Z * sqrt((1 + limited**2 / 2) / (answers - 3))
    return tanh(atanh(limited) - half), tanh(atanh(limited) + half)


def _sort_key(seed: str, name: str) -> str:
    return fingerprint_text(f"{seed} {name}")
