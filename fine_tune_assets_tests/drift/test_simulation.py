"""How often there is an alarm where nothing moved, and that there is one where something did: by simulation, on real texts."""

import csv
from collections.abc import Sequence
from datetime import UTC, datetime
from functools import reduce
from operator import add

import numpy as np
import pytest
from scipy.stats import binom

from fine_tune_assets.core.paths import PROJECT_DIR
from fine_tune_assets.drift.exchange_features import Exchange, features_of, sums_of, task_headings
from fine_tune_assets.drift.references import (
    Reference,
    as_json,
    from_json,
    highest_rate,
    make_reference,
    psi,
    psi_limit,
)
from fine_tune_assets.drift.windows import JUDGED, Window, figures_of
from fine_tune_assets.recipes.loader import load_recipe

DIALOGUES = PROJECT_DIR / "data/raw_reports/2026-02-dialogues/visits.csv"
HEADINGS = task_headings(load_recipe("demo_smollm2").tasks)
RATE = 0.05
LEVEL = RATE / len(JUDGED)
LEAST_PSI = 0.0001
"""Here chance alone is looked at, and no least size of a shift."""
NOW = datetime(2026, 5, 1, tzinfo=UTC)
GERMAN = (
    "Der Patient klagt seit drei Tagen über Husten und hat kein Fieber, die Lunge ist frei, und es geht ihm besser."
)
SHIFTS = {
    "language": lambda one: Exchange(GERMAN, one.answer, "stop"),
    "answer_words": lambda one: Exchange(one.prompt, f"{one.answer} " * 6, "stop"),
    "prompt_words": lambda one: Exchange(one.prompt[: len(one.prompt) // 6], one.answer, "stop"),
    "sections": lambda one: Exchange(f"DIALOGUE\n{one.prompt}", one.answer, "stop"),
    "refusal_rate": lambda one: Exchange(one.prompt, "I'm sorry, I can't help with that.", "stop"),
}


def _chance_limit(windows: int) -> int:
    """Alarms that a true rate of RATE passes once in a thousand runs of this test; seeds are fixed all the same."""
    return int(binom.ppf(0.999, windows, RATE))


@pytest.fixture(scope="module")
def texts() -> list[Exchange]:
    with DIALOGUES.open(encoding="utf-8", newline="") as file:
        rows = [list(row.values()) for row in csv.DictReader(file)][:160]
    longest = [sorted(map(str, row), key=len) for row in rows]
    return [Exchange(row[-1], row[-2], "stop") for row in longest]


def _window(chosen: Sequence[Exchange]) -> Window:
    return Window(NOW, NOW, reduce(add, (sums_of(features_of(one, HEADINGS)) for one in chosen)), {})


@pytest.fixture(scope="module")
def reference(texts: list[Exchange]) -> Reference:
    found = make_reference(texts, HEADINGS, level=LEVEL, seed=1)
    assert found is not None
    return found


def test_limits_of_distances_are_passed_as_seldom_as_asked_for() -> None:
    """The stated rate, where both sides are new samples of one source."""
    random, shares = np.random.default_rng(7), np.array([0.5, 0.3, 0.15, 0.05])
    alarms, trials, rate, size = 0, 40, 0.05, 50
    for trial in range(trials):
        drawn = [dict(zip("abcd", random.multinomial(of, shares).tolist(), strict=True)) for of in (200, size)]
        alarms += psi(drawn[1], drawn[0]) > psi_limit(drawn[0], size, rate, trial)
    assert alarms <= binom.ppf(0.999, trials, rate)


def test_a_rate_is_passed_as_seldom_as_asked_for() -> None:
    """Also where the training set has hardly any refusal: the limit knows that it does not know."""
    random, alarms, trials = np.random.default_rng(3), 0, 2000
    for _ in range(trials):
        truth = random.beta(0.5, 20)
        known, new = random.binomial(300, truth), random.binomial(100, truth)
        alarms += new / 100 > highest_rate(known, 300, 100, 0.02)
    assert alarms <= binom.ppf(0.999, trials, 0.02)


@pytest.mark.slow
def test_traffic_like_the_training_set_raises_no_more_alarms_than_stated(
    texts: list[Exchange], reference: Reference
) -> None:
    """Of a hundred quiet windows, over all features together: else people learn to look away."""
    random, windows = np.random.default_rng(11), 100
    alarms = 0
    for _ in range(windows):
        chosen = random.integers(len(texts), size=60)
        window = _window([texts[n] for n in chosen])
        alarms += any(figure.is_beyond for figure in figures_of([window], reference, LEAST_PSI, LEVEL))
    assert alarms <= _chance_limit(windows)


@pytest.mark.slow
@pytest.mark.parametrize("feature", SHIFTS)
def test_a_shift_of_half_of_the_requests_is_found(feature: str, texts: list[Exchange], reference: Reference) -> None:
    """In windows of 60 with the shipped recipe's limits: nine of ten, at least."""
    random, found = np.random.default_rng(5), 0
    level = load_recipe("demo_smollm2").drift.false_alarm_fraction / len(JUDGED)
    assert level < LEVEL  # the reference's own limits are then easier to pass than the shipped ones
    for _ in range(10):
        chosen = random.integers(len(texts), size=60)
        moved = [SHIFTS[feature](texts[n]) if place % 2 else texts[n] for place, n in enumerate(chosen)]
        figures = figures_of([_window(moved)], reference, 0.2, level)
        found += any(figure.is_beyond for figure in figures if figure.feature == feature)
    assert found >= 9


def test_a_reference_is_the_same_after_it_was_stored_and_of_few_examples_there_is_none() -> None:
    """It is kept as JSON; of fewer than fifty examples sums would say something of each."""
    few = [Exchange(f"The patient has had a cough for {n} days.", "Cough.", "stop") for n in range(60)]
    made = make_reference(few, HEADINGS, level=0.01, seed=1)
    assert made is not None
    stored = as_json(made)
    assert as_json(from_json(stored)) == stored
    assert "cough" not in stored.lower()
    assert made.limit("language", 24) is None
    assert made.limit("language", 25) is not None
    assert make_reference(few[:49], HEADINGS, level=0.01, seed=1) is None
