"""Which judged answers experts are asked to rate, in which order, and how what they say compares with the judge's grades.

Pure: ids, fingerprints and figures, no text. The sample covers tasks and the judge's whole scale alike, so that a judge which
errs on few answers is seen to err; what is found on it is no mean over all answers. Who is shown what is the desk's.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from math import atanh, sqrt, tanh

import numpy as np

from fine_tune_assets.core.fingerprints import fingerprint_text
from fine_tune_assets.core.people import person_key
from fine_tune_assets.judging.judges.grades import HIGHEST, LOWEST
from fine_tune_assets.judging.statistics.association import spearman

BANDS = 5
"""Parts of the judge's scale from which the sample is drawn in turn."""
FEWEST_ANSWERS = 5
"""Below which a rank correlation says nothing."""
_Z = 1.959964  # two-sided 95 %


@dataclass(frozen=True)
class JudgedAnswer:
    """One answer that the judge graded, without its text."""

    answer_id: str
    example_id: str
    task: str
    model_fingerprint: str
    answer_fingerprint: str
    patient_key: str
    score: float | None
    """The judge's grade, 1 to 10; None where there is none."""


@dataclass(frozen=True)
class Comparison:
    """Experts' ratings beside the judge's grades of the same answers."""

    answers: int
    raters: int
    spearman: float | None
    low: float | None
    high: float | None
    reason: str
    """Why there is no correlation; empty where there is one."""


def sample(answers: Iterable[JudgedAnswer], size: int, seed: str) -> list[JudgedAnswer]:
    """At most `size` answers, each text once, always the same ones for the same answers and seed.

    Drawn in turn from each task and part of the scale: as many of each, as far as there are any. Answers without a grade have
    nothing to be compared with and are left out.
    """
    # Of the same answer by two models the last one in this order stays.
    ordered = sorted(answers, key=lambda answer: (answer.answer_id, answer.model_fingerprint))
    distinct = {answer.answer_id: answer for answer in ordered}
    strata: dict[tuple[str, int], list[JudgedAnswer]] = {}
    for answer in sorted(distinct.values(), key=lambda answer: _place(seed, answer.answer_id)):
        if answer.score is not None:
            strata.setdefault((answer.task, band_of(answer.score)), []).append(answer)
    turns = sorted(strata, key=lambda stratum: _place(seed, str(stratum)))
    chosen: list[JudgedAnswer] = []
    for depth in range(max(map(len, strata.values()), default=0)):
        chosen += [strata[turn][depth] for turn in turns if depth < len(strata[turn])]
        if len(chosen) >= size:
            break
    return chosen[:size]


def band_of(score: float) -> int:
    """Which of BANDS equal parts of the scale a grade is in, from 0.

    >>> [band_of(score) for score in (1.0, 2.9, 5.5, 10.0)]
    [0, 1, 2, 4]
    """
    part = int((score - LOWEST) / (HIGHEST - LOWEST) * BANDS)
    return min(max(part, 0), BANDS - 1)


def in_order_for(rater: str, answers: Iterable[JudgedAnswer], seed: str) -> list[JudgedAnswer]:
    """Models, tasks and grades mixed, for each rater in another way: what tires or teaches does so on other answers."""
    return sorted(answers, key=lambda answer: _place(f"{seed} {person_key(rater)}", answer.answer_id))


def compare(ratings: Iterable[tuple[str, str, int]], answers: Mapping[str, JudgedAnswer]) -> Comparison:
    """Ratings as (rater, answer id, 1 to 10), of answers that are known and graded; the mean where several rated one."""
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
    if len(by_answer) < FEWEST_ANSWERS:
        return Comparison(*counted, None, None, None, f"fewer than {FEWEST_ANSWERS} answers")
    if len(set(experts)) == 1 or len(set(judge)) == 1:
        return Comparison(*counted, None, None, None, "all ratings or all grades are alike")
    value = spearman(np.array(experts), np.array(judge))
    return Comparison(*counted, value, *_interval(value, len(by_answer)), "")


def _interval(value: float, answers: int) -> tuple[float, float]:
    """95 %, by Fisher's z with the standard error of Bonett and Wright (2000), Psychometrika 65, 23-28."""
    limited = min(max(value, -0.999999), 0.999999)
    half = _Z * sqrt((1 + limited**2 / 2) / (answers - 3))
    return tanh(atanh(limited) - half), tanh(atanh(limited) + half)


def _place(seed: str, name: str) -> str:
    return fingerprint_text(f"{seed} {name}")
