"""A training that is killed goes on by itself and ends with the same weights, bit by bit."""

from dataclasses import replace
from typing import Any

import pytest

from fine_tune_assets_tests.training.forked_trainings import Trainings
from fine_tune_assets_tests.training.tiny import SETTINGS

pytestmark = pytest.mark.slow  # TRL takes 13 s to import


@pytest.mark.parametrize(
    "changed",
    [
        {"packing": "never", "evaluations_per_epoch": 2, "early_stopping_patience": 4},
        {"packing": "bfd", "gradient_accumulation": 2, "method": "dora"},
        {"packing": "never", "method": "qlora"},
    ],
)
def test_a_killed_training_ends_with_the_same_weights(trainings: Trainings, changed: dict[str, Any]) -> None:
    """Else a power cut would decide what is served. Dropout and the order of examples are by chance, and must be the same."""
    settings = replace(SETTINGS, epochs=3, dropout=0.1, checkpoint_minutes=0.0, **changed)
    name = "-".join(str(value) for value in changed.values())
    whole = trainings.run(f"{name}-whole", settings)
    assert whole is not None
    assert whole["resumed"] is None
    middle, later = whole["steps"] // 3, 2 * whole["steps"] // 3 + 1
    for step in (middle, later):
        trainings.run(f"{name}-killed", settings, kill_at=step)
    resumed = trainings.run(f"{name}-killed", settings)
    assert resumed is not None
    assert resumed["resumed"] >= later - 1
    assert {**resumed, "resumed": None} == whole
