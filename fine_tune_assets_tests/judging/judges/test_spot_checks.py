"""Which answers experts rate: always the same ones, over the whole scale; and what is said of the judge by their ratings."""

from collections import Counter
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import spearmanr

from fine_tune_assets.judging.judges.spot_checks import (
    BANDS,
    FEWEST_ANSWERS,
    JudgedAnswer,
    band_of,
    compare,
    in_order_for,
    sample,
)


def answer(number: int, score: float | None, task: str = "plan", model: str = "m1") -> JudgedAnswer:
    return JudgedAnswer(f"id{number}", f"e{number}", task, model, f"a{number}", f"p{number}", score)


MOST_ARE_GOOD = [answer(n, 1 + 9 * min(1.0, 0.55 + n / 200)) for n in range(90)]
RARE = [answer(100 + n, 1.5 + 0.1 * n, "letter") for n in range(4)]


def test_the_whole_scale_and_every_task_are_seen_although_most_answers_are_good() -> None:
    """A judge that errs on the few bad answers would look faultless on a plain sample."""
    chosen = sample([*MOST_ARE_GOOD, *RARE], 12, "seed")
    counts = Counter((a.task, band_of(a.score or 0)) for a in chosen)
    assert counts == {("plan", 2): 3, ("plan", 3): 3, ("plan", 4): 3, ("letter", 0): 3}


@given(st.permutations([*MOST_ARE_GOOD[::9], *RARE]))
def test_the_order_of_the_rows_changes_nothing(rows: list[JudgedAnswer]) -> None:
    """Two raters, and the next day's page, are asked about the same answers."""
    assert sample(rows, 7, "seed") == sample(sorted(rows, key=lambda a: a.answer_id), 7, "seed")


def test_another_seed_asks_about_other_answers() -> None:
    assert sample(MOST_ARE_GOOD, 12, "one") != sample(MOST_ARE_GOOD, 12, "other")


def test_a_text_that_two_models_gave_is_asked_once_and_what_has_no_grade_never() -> None:
    """The same words need not be read twice; nothing could be compared with the rating of the other."""
    twice = [answer(1, 5.0, model="m1"), answer(1, 5.0, model="m2"), answer(2, None)]
    assert [a.answer_id for a in sample(twice, 9, "seed")] == ["id1"]
    assert sample([], 9, "seed") == []
    assert sample(MOST_ARE_GOOD, 0, "seed") == []


def test_a_longer_sample_begins_with_the_shorter_one() -> None:
    """Asking for more must not throw away what was rated."""
    assert sample([*MOST_ARE_GOOD, *RARE], 30, "s")[:12] == sample([*MOST_ARE_GOOD, *RARE], 12, "s")


def test_each_rater_is_asked_in_an_order_of_their_own_that_tells_nothing_of_the_grade() -> None:
    """The last answers are read with less care: not the same ones by everybody, nor all the good ones."""
    chosen = sample([*MOST_ARE_GOOD, *RARE], 40, "seed")
    one, two = in_order_for("One", chosen, "seed"), in_order_for("Two", chosen, "seed")
    assert one != two
    assert in_order_for(" ONE ", chosen, "seed") == one
    assert set(one) == set(chosen)
    places = list(range(len(one)))
    assert abs(spearmanr(places, [a.score or 0 for a in one]).statistic) < 0.5


def test_ratings_are_compared_with_the_grades_of_the_same_answers() -> None:
    """Several raters of one answer count as their mean; ratings of answers that are not there say nothing."""
    known = {a.answer_id: a for a in (answer(n, 1.0 + n) for n in range(8))}
    ratings = [(name, f"id{n}", n + 1) for n in range(8) for name in ("One", "Two")] + [("Three", "gone", 10)]
    found = compare(ratings, known)
    assert (found.answers, found.raters, found.reason) == (8, 2, "")
    assert found.spearman == pytest.approx(1.0, abs=1e-9)
    assert found.low is not None
    assert found.low < 1.0


def test_few_or_equal_ratings_are_no_evidence() -> None:
    """Absent with a reason, never 0 or 1."""
    known = {a.answer_id: a for a in (answer(n, 1.0 + n) for n in range(8))}
    few = compare([("One", f"id{n}", n + 1) for n in range(FEWEST_ANSWERS - 1)], known)
    alike = compare([("One", f"id{n}", 5) for n in range(8)], known)
    ungraded = compare([("One", a, 5) for a in known], {k: replace(a, score=None) for k, a in known.items()})
    assert [c.spearman for c in (few, alike, ungraded)] == [None, None, None]
    assert [bool(c.reason) for c in (few, alike, ungraded)] == [True, True, True]
    assert ungraded.answers == 0


@given(st.floats(1, 10))
def test_every_grade_is_in_a_band(score: float) -> None:
    assert 0 <= band_of(score) < BANDS
