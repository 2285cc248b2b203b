"""Spot checks: a stable sample over the whole scale, and the comparison of ratings with the judge's grades."""

from collections import Counter
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import spearmanr

from fine_tune_assets.judging.judges.spot_check_sample import (
    MIN_ANSWERS,
    SCORE_BANDS,
    JudgedAnswer,
    compare_ratings,
    draw_sample,
    order_for_rater,
    score_band,
)


def answer(number: int, score: float | None, task: str = "plan", model: str = "m1") -> JudgedAnswer:
    return JudgedAnswer(f"id{number}", f"e{number}", task, model, f"a{number}", f"p{number}", score)


MOST_ARE_GOOD = [answer(n, 1 + 9 * min(1.0, 0.55 + n / 200)) for n in range(90)]
RARE = [answer(100 + n, 1.5 + 0.1 * n, "letter") for n in range(4)]


def test_the_sample_covers_the_scale_and_every_task() -> None:
    """A random sample would hide errors on the few bad answers."""
    chosen = draw_sample([*MOST_ARE_GOOD, *RARE], 12, "seed")
    counts = Counter((a.task, score_band(a.score or 0)) for a in chosen)
    assert counts == {("plan", 2): 3, ("plan", 3): 3, ("plan", 4): 3, ("letter", 0): 3}


@given(st.permutations([*MOST_ARE_GOOD[::9], *RARE]))
def test_the_order_of_the_rows_changes_nothing(rows: list[JudgedAnswer]) -> None:
    """All raters see the same answers on every day."""
    assert draw_sample(rows, 7, "seed") == draw_sample(sorted(rows, key=lambda a: a.answer_id), 7, "seed")


def test_another_seed_draws_other_answers() -> None:
    assert draw_sample(MOST_ARE_GOOD, 12, "one") != draw_sample(MOST_ARE_GOOD, 12, "other")


def test_equal_answers_are_drawn_once_and_ungraded_ones_never() -> None:
    """A rating of an ungraded answer has nothing to be compared with."""
    twice = [answer(1, 5.0, model="m1"), answer(1, 5.0, model="m2"), answer(2, None)]
    assert [a.answer_id for a in draw_sample(twice, 9, "seed")] == ["id1"]
    assert draw_sample([], 9, "seed") == []
    assert draw_sample(MOST_ARE_GOOD, 0, "seed") == []


def test_a_longer_sample_begins_with_the_shorter_one() -> None:
    """A larger sample must not discard earlier ratings."""
    assert draw_sample([*MOST_ARE_GOOD, *RARE], 30, "s")[:12] == draw_sample([*MOST_ARE_GOOD, *RARE], 12, "s")


def test_each_rater_has_an_own_order_that_is_independent_of_the_grade() -> None:
    """Fatigue affects the last answers, so these must differ between raters and in grade."""
    chosen = draw_sample([*MOST_ARE_GOOD, *RARE], 40, "seed")
    one, two = order_for_rater("One", chosen, "seed"), order_for_rater("Two", chosen, "seed")
    assert one != two
    assert order_for_rater(" ONE ", chosen, "seed") == one
    assert set(one) == set(chosen)
    places = list(range(len(one)))
    assert abs(spearmanr(places, [a.score or 0 for a in one]).statistic) < 0.5


def test_ratings_are_compared_with_the_grades_of_the_same_answers() -> None:
    """Several ratings of one answer are averaged; ratings of unknown answers are ignored."""
    known = {a.answer_id: a for a in (answer(n, 1.0 + n) for n in range(8))}
    ratings = [(name, f"id{n}", n + 1) for n in range(8) for name in ("One", "Two")] + [("Three", "gone", 10)]
    found = compare_ratings(ratings, known)
    assert (found.answers, found.raters, found.reason) == (8, 2, "")
    assert found.spearman == pytest.approx(1.0, abs=1e-9)
    assert found.low is not None
    assert found.low < 1.0


def test_few_or_equal_ratings_give_no_correlation() -> None:
    """It is missing with a reason, never 0 or 1."""
    known = {a.answer_id: a for a in (answer(n, 1.0 + n) for n in range(8))}
    few = compare_ratings([("One", f"id{n}", n + 1) for n in range(MIN_ANSWERS - 1)], known)
    alike = compare_ratings([("One", f"id{n}", 5) for n in range(8)], known)
    ungraded = compare_ratings([("One", a, 5) for a in known], {k: replace(a, score=None) for k, a in known.items()})
    assert [c.spearman for c in (few, alike, ungraded)] == [None, None, None]
    assert [bool(c.reason) for c in (few, alike, ungraded)] == [True, True, True]
    assert ungraded.answers == 0


@given(st.floats(1, 10))
def test_every_grade_is_in_a_band(score: float) -> None:
    assert 0 <= score_band(score) < SCORE_BANDS
