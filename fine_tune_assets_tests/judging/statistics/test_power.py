"""How many examples would be enough."""

import math

import numpy as np
import pytest

from fine_tune_assets.judging.statistics.binary_pairs import BinaryPairs, interval
from fine_tune_assets.judging.statistics.paired_differences import compare_means
from fine_tune_assets.judging.statistics.power import examples_needed, intra_patient_correlation, items_needed, power_of


def _means(patients: int, a_patient: int, shared: float, seed: int = 5) -> "object":
    random = np.random.default_rng(seed)
    values = [
        shared * of_patient + math.sqrt(1 - shared**2) * random.normal()
        for of_patient in random.normal(size=patients)
        for _ in range(a_patient)
    ]
    return compare_means(values, [f"p{i // a_patient}" for i in range(patients * a_patient)])


def test_twice_the_spread_needs_four_times_the_examples() -> None:
    """The number is what an installation plans its test split by."""
    narrow = compare_means([1.0, -1.0] * 100, [f"p{i}" for i in range(200)])
    wide = compare_means([2.0, -2.0] * 100, [f"p{i}" for i in range(200)])
    few, many = examples_needed(narrow, 0.25), examples_needed(wide, 0.25)
    assert few is not None
    assert many is not None
    # (1.96 + 1.13)² / 0.25² = 152.5, and a little for not knowing the spread.
    assert 153 <= few <= 157
    assert many == pytest.approx(4 * few, abs=12)


def test_examples_of_the_same_patients_say_less() -> None:
    """Their differences hang together: the correlation is shown, and more examples are needed."""
    apart, together = _means(400, 1, 0.7), _means(100, 4, 0.7)
    needed = [examples_needed(means, 0.3) for means in (apart, together)]  # type: ignore[arg-type]
    assert needed[0] is not None
    assert needed[1] is not None
    assert needed[1] > 1.6 * needed[0]
    assert intra_patient_correlation(together) == pytest.approx(0.49, abs=0.12)  # type: ignore[arg-type]
    assert intra_patient_correlation(apart) is None  # type: ignore[arg-type]


def test_the_detectable_gain_is_the_one_that_the_present_number_is_enough_for() -> None:
    means = _means(60, 2, 0.5)
    power = power_of(means, 0.5, 0.1)  # type: ignore[arg-type]
    assert power.detectable is not None
    assert examples_needed(means, power.detectable - 0.1) == pytest.approx(120, abs=2)  # type: ignore[arg-type]


def test_without_a_spread_there_is_no_number() -> None:
    """One patient, or no comparison at all: nothing is invented."""
    assert power_of(None, 0.5, 0.0).needed is None
    assert power_of(compare_means([1.0], ["p"]), 0.5, 0.0).needed is None


def test_enough_items_show_that_nothing_is_lost() -> None:
    """Also where no pair differed: the interval of none has a width."""
    for pairs in (BinaryPairs(25, 0, 0), BinaryPairs(100, 5, 5)):
        items = items_needed(pairs, 0.1)
        assert items is not None
        share = (pairs.worse + pairs.better) / 2 / pairs.items
        assert interval(BinaryPairs(items, share * items, share * items))[0] > -0.1
    assert items_needed(BinaryPairs(25, 0, 0), 0.0) is None
