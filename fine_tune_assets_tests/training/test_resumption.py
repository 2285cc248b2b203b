"""A killed training resumes and ends with the same weights, bit for bit."""

from dataclasses import replace
from typing import Any

import pytest

from fine_tune_assets_tests.training.forked_trainings import Trainings
from fine_tune_assets_tests.training.tiny_training import SETTINGS

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
    """A power failure must not change the served model. Dropout and the order of examples are random but reproducible."""
    settings = replace(SETTINGS, epochs=3, dropout=0.1, checkpoint_minutes=0.0, **changed)
    name = "-".join(str(value) for value in changed.values())
    uninterrupted = trainings.run(f"{name}-whole", settings)
    assert uninterrupted is not None
    assert uninterrupted["resumed"] is None
    middle, later = uninterrupted["steps"] // 3, 2 * uninterrupted["steps"] // 3 + 1
    for step in (middle, later):
        trainings.run(f"{name}-killed", settings, kill_at=step)
    resumed = trainings.run(f"{name}-killed", settings)
    assert resumed is not None
    assert resumed["resumed"] >= later - 1
    assert {**resumed, "resumed": None} == uninterrupted
