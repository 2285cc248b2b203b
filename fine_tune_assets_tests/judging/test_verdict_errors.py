"""How often the gate is wrong, by simulation of candidates whose true effect is known."""

from dataclasses import replace

import numpy as np
import pytest

from fine_tune_assets.judging.statistics.paired_differences import DRAWS, compare_means, drawn_means, p_of_draws
from fine_tune_assets.judging.statistics.power import examples_needed
from fine_tune_assets.judging.verdicts.promotion_rule import decide
from fine_tune_assets_tests.judging.made import GATE, GOOD_TABLES, evidence, graded

CANDIDATES = 2000
SPREAD, SHARED = 2.2, 0.4
"""Of a difference of grades, and the share of its variance that a patient's examples have in common. The demo's own spread."""


def _differences(
    patients: int, effect: float, candidates: int, is_skewed: bool, seed: int
) -> tuple[np.ndarray, np.ndarray]:
    """Differences, a candidate a column, and the patient of each row: one to four examples a patient."""
    random = np.random.default_rng(seed)
    patient = np.repeat(np.arange(patients), random.integers(1, 5, size=patients))

    def noise(size: tuple[int, int]) -> np.ndarray:
        # Skewed: many small gains, few large losses, as of a model that now and then invents something.
        return 1 - random.exponential(size=size) if is_skewed else random.normal(size=size)

    shared, own = noise((patients, candidates))[patient], noise((len(patient), candidates))
    return effect + SPREAD * (np.sqrt(SHARED) * shared + np.sqrt(1 - SHARED) * own), patient


def _promoted_share(differences: np.ndarray, patient: np.ndarray) -> float:
    """Share of the candidates whose gain is shown, all at once: the rule of the target without its table."""
    sums = np.zeros((patient.max() + 1, differences.shape[1]))
    np.add.at(sums, patient, differences)
    counts, shown = np.bincount(patient).astype(float), 0
    for part in np.array_split(np.arange(differences.shape[1]), 8):
        drawn = drawn_means(sums[:, part], counts)
        at_or_below = (drawn <= 0).sum(axis=0) + DRAWS - len(drawn)
        shown += int(np.sum(p_of_draws(at_or_below, len(counts)) <= 0.025))
    return shown / differences.shape[1]


def test_the_shares_below_are_of_the_rule_that_decides() -> None:
    """The same candidates one by one, through the table of grades and the gate."""
    differences, patient = _differences(25, 0.8, 24, False, 1)
    names = {f"e{i:03}": f"p{who:03}" for i, who in enumerate(patient)}
    one_by_one = []
    for column in differences.T:
        rows = {name: (5.5 + d / 2, 5.5 - d / 2) for name, d in zip(names, column, strict=True)}
        made = evidence(replace(GOOD_TABLES, judge_scores=graded(rows, names)))
        one_by_one.append(decide(made, GATE).decision == "promote")
    assert 0.2 < np.mean(one_by_one) < 0.9
    assert np.mean(one_by_one) == _promoted_share(differences, patient)


@pytest.mark.slow
@pytest.mark.parametrize("effect", [0.0, -0.3])
@pytest.mark.parametrize(("patients", "is_skewed"), [(8, True), (20, False), (20, True), (40, False), (40, True)])
def test_a_candidate_that_is_no_better_is_promoted_one_time_in_twenty_at_most(
    patients: int, is_skewed: bool, effect: float
) -> None:
    """2,000 candidates that are as good or worse; few patients with one to four examples each."""
    share = _promoted_share(*_differences(patients, effect, CANDIDATES, is_skewed, seed=patients))
    assert share <= 0.05


@pytest.mark.slow
@pytest.mark.parametrize(("effect", "is_skewed"), [(0.5, False), (1.0, False), (0.5, True), (1.0, True)])
def test_a_true_gain_is_found_four_times_in_five_with_the_number_that_is_called_enough(
    effect: float, is_skewed: bool
) -> None:
    """The number is taken from one test split, the candidates are others."""
    first, patient = _differences(4000, effect, 1, is_skewed, seed=3)
    means = compare_means(first[:, 0].tolist(), [f"p{who:04}" for who in patient])
    needed = examples_needed(means, effect)
    assert needed is not None
    patients = round(needed / len(patient) * 4000)
    found = _promoted_share(*_differences(patients, effect, CANDIDATES, is_skewed, seed=4))
    assert found >= 0.8
