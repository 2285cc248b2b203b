"""False-alarm and detection rates of drift, simulated on real texts."""

import csv
from collections.abc import Sequence
from datetime import UTC, datetime
from functools import reduce
from operator import add

import numpy as np
import pytest
from scipy.stats import binom

from fine_tune_assets.core.paths import PROJECT_DIR
from fine_tune_assets.drift.drift_metrics import TESTED_FEATURES, Window, measure_drift
from fine_tune_assets.drift.drift_reference import (
    Reference,
    build_reference,
    max_expected_rate,
    psi,
    psi_limit,
    reference_from_json,
    reference_to_json,
)
from fine_tune_assets.drift.exchange_features import Exchange, extract_features, sum_features, task_headings
from fine_tune_assets.recipes.loader import load_recipe

DIALOGUES = PROJECT_DIR / "data/raw_reports/2026-02-dialogues/visits.csv"
HEADINGS = task_headings(load_recipe("demo_smollm2").tasks)
RATE = 0.05
LEVEL = RATE / len(TESTED_FEATURES)
LEAST_PSI = 0.0001
"""No minimum shift here: only chance is tested."""
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
    """Number of alarms that a true rate of RATE exceeds once in a thousand runs; the seeds are fixed anyway."""
    return int(binom.ppf(0.999, windows, RATE))


@pytest.fixture(scope="module")
def texts() -> list[Exchange]:
    with DIALOGUES.open(encoding="utf-8", newline="") as file:
        rows = [list(row.values()) for row in csv.DictReader(file)][:160]
    longest = [sorted(map(str, row), key=len) for row in rows]
    return [Exchange(row[-1], row[-2], "stop") for row in longest]


def _window(chosen: Sequence[Exchange]) -> Window:
    return Window(NOW, NOW, reduce(add, (sum_features(extract_features(one, HEADINGS)) for one in chosen)), {})


@pytest.fixture(scope="module")
def reference(texts: list[Exchange]) -> Reference:
    built = build_reference(texts, HEADINGS, level=LEVEL, seed=1)
    assert built is not None
    return built


def test_psi_limits_meet_the_requested_false_alarm_rate() -> None:
    """Both sides are new samples of the same source."""
    random, shares = np.random.default_rng(7), np.array([0.5, 0.3, 0.15, 0.05])
    alarms, trials, rate, size = 0, 40, 0.05, 50
    for trial in range(trials):
        drawn = [dict(zip("abcd", random.multinomial(of, shares).tolist(), strict=True)) for of in (200, size)]
        alarms += psi(drawn[1], drawn[0]) > psi_limit(drawn[0], size, rate, trial)
    assert alarms <= binom.ppf(0.999, trials, rate)


def test_rate_limits_meet_the_requested_false_alarm_rate() -> None:
    """Also with hardly any refusals in the training set: the limit accounts for the uncertainty."""
    random, alarms, trials = np.random.default_rng(3), 0, 2000
    for _ in range(trials):
        truth = random.beta(0.5, 20)
        known, new = random.binomial(300, truth), random.binomial(100, truth)
        alarms += new / 100 > max_expected_rate(known, 300, 100, 0.02)
    assert alarms <= binom.ppf(0.999, trials, 0.02)


@pytest.mark.slow
def test_traffic_like_the_training_set_raises_no_more_alarms_than_stated(
    texts: list[Exchange], reference: Reference
) -> None:
    """Over all features of a hundred quiet windows; frequent false alarms get ignored."""
    random, windows = np.random.default_rng(11), 100
    alarms = 0
    for _ in range(windows):
        chosen = random.integers(len(texts), size=60)
        window = _window([texts[n] for n in chosen])
        alarms += any(figure.exceeds_threshold for figure in measure_drift([window], reference, LEAST_PSI, LEVEL))
    assert alarms <= _chance_limit(windows)


@pytest.mark.slow
@pytest.mark.parametrize("feature", SHIFTS)
def test_a_shift_of_half_the_requests_is_detected(feature: str, texts: list[Exchange], reference: Reference) -> None:
    """In at least nine of ten windows of 60 requests, with the sample recipe's limits."""
    random, detected = np.random.default_rng(5), 0
    level = load_recipe("demo_smollm2").drift.false_alarm_rate / len(TESTED_FEATURES)
    assert level < LEVEL  # so the reference's limits are lower than the sample recipe's
    for _ in range(10):
        chosen = random.integers(len(texts), size=60)
        moved = [SHIFTS[feature](texts[n]) if place % 2 else texts[n] for place, n in enumerate(chosen)]
        figures = measure_drift([_window(moved)], reference, 0.2, level)
        detected += any(figure.exceeds_threshold for figure in figures if figure.feature == feature)
    assert detected >= 9


def test_a_reference_survives_json_and_requires_enough_examples() -> None:
    """Sums over fewer than fifty examples could reveal a single one."""
    few = [Exchange(f"The patient has had a cough for {n} days.", "Cough.", "stop") for n in range(60)]
    made = build_reference(few, HEADINGS, level=0.01, seed=1)
    assert made is not None
    stored = reference_to_json(made)
    assert reference_to_json(reference_from_json(stored)) == stored
    assert "cough" not in stored.lower()
    assert made.limit("language", 24) is None
    assert made.limit("language", 25) is not None
    assert build_reference(few[:49], HEADINGS, level=0.01, seed=1) is None
