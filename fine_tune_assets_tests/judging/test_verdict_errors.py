"""Error rates of the promotion rule, by simulation of candidates with a known true effect."""

from dataclasses import replace

import numpy as np
import pytest

from fine_tune_assets.judging.statistics.paired_differences import (
    compare_means,
    resample_means,
)
from fine_tune_assets.judging.statistics.power import examples_needed
from fine_tune_assets.judging.verdicts.promotion_rule import decide_promotion
from fine_tune_assets.recipes.error_levels import ALPHA, DRAWS, GAIN_DRAWS, gain_level
from fine_tune_assets_tests.judging.verdict_inputs import GATE, GOOD_TABLES, evidence, graded

CANDIDATES = 2000
SPREAD, SHARED = 2.2, 0.4
"""Standard deviation of the grade differences, and the share of its variance within a subject, as in the demo."""


def _differences(
    subjects: int, effect: float, candidates: int, is_skewed: bool, seed: int
) -> tuple[np.ndarray, np.ndarray]:
    """Differences (one column per candidate) and the subject of each row, with one to four examples per subject."""
    random = np.random.default_rng(seed)
    subject = np.repeat(np.arange(subjects), random.integers(1, 5, size=subjects))

    def noise(size: tuple[int, int]) -> np.ndarray:
        # Skewed: many small gains and few large losses, like a model that occasionally hallucinates.
        return 1 - random.exponential(size=size) if is_skewed else random.normal(size=size)

    shared, own = noise((subjects, candidates))[subject], noise((len(subject), candidates))
    return effect + SPREAD * (np.sqrt(SHARED) * shared + np.sqrt(1 - SHARED) * own), subject


def _promoted_share(differences: np.ndarray, subject: np.ndarray, level: float = ALPHA, draws: int = DRAWS) -> float:
    """Share of candidates with a significant gain: a vectorized version of the rule for the target."""
    sums = np.zeros((subject.max() + 1, differences.shape[1]))
    np.add.at(sums, subject, differences)
    counts, shown = np.bincount(subject).astype(float), 0
    for part in np.array_split(np.arange(differences.shape[1]), 8):
        drawn = resample_means(sums[:, part], counts, draws)
        at_or_below = (drawn <= 0).sum(axis=0) + draws - len(drawn)
        shown += int(np.sum((1 + at_or_below) / (draws + 1) <= gain_level(level, len(counts))))
    return shown / differences.shape[1]


def test_the_simulation_matches_the_promotion_rule() -> None:
    """The same candidates pass through the grade table and the rule one by one."""
    differences, subject = _differences(25, 1.3, 24, False, 1)
    names = {f"e{i:03}": f"p{who:03}" for i, who in enumerate(subject)}
    one_by_one = []
    for column in differences.T:
        rows = {name: (5.5 + d / 2, 5.5 - d / 2) for name, d in zip(names, column, strict=True)}
        made = evidence(replace(GOOD_TABLES, judge_scores=graded(rows, names)))
        one_by_one.append(decide_promotion(made, GATE).decision == "promote")
    assert 0.2 < np.mean(one_by_one) < 0.9
    assert np.mean(one_by_one) == _promoted_share(differences, subject, GATE.verdict_level, GAIN_DRAWS)


@pytest.mark.slow
@pytest.mark.parametrize("effect", [0.0, -0.3])
@pytest.mark.parametrize(("subjects", "is_skewed"), [(8, True), (20, False), (20, True), (40, False), (40, True)])
def test_a_candidate_without_a_gain_is_promoted_at_most_one_time_in_twenty(
    subjects: int, is_skewed: bool, effect: float
) -> None:
    """2,000 candidates that are equal or worse, with few subjects of one to four examples each."""
    share = _promoted_share(*_differences(subjects, effect, CANDIDATES, is_skewed, seed=subjects))
    assert share <= 0.05


@pytest.mark.slow
@pytest.mark.parametrize(("effect", "is_skewed"), [(0.5, False), (1.0, False), (0.5, True), (1.0, True)])
def test_a_true_gain_is_detected_with_power_080_at_the_needed_number(effect: float, is_skewed: bool) -> None:
    """The number comes from one test split and is applied to other candidates."""
    first, subject = _differences(4000, effect, 1, is_skewed, seed=3)
    means = compare_means(first[:, 0].tolist(), [f"p{who:04}" for who in subject])
    needed = examples_needed(means, effect)
    assert needed is not None
    subjects = round(needed / len(subject) * 4000)
    found = _promoted_share(*_differences(subjects, effect, CANDIDATES, is_skewed, seed=4))
    assert found >= 0.8
