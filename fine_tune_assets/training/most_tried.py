"""The settings that a training is planned with: a sweep's are those of the trial that holds most.

Owns that choice, which the stored plan and `fine-tune plan` both take. Does not plan.
"""

from dataclasses import replace
from typing import Any

from fine_tune_assets.recipes.schema import Recipe, TrainingSettings
from fine_tune_assets.recipes.sweep import SweptField, numbers_of

_HOLD_MORE: tuple[SweptField, ...] = ("rank", "batch_size")
"""Settings of a trial with which it holds more."""


def most_that_is_tried(recipe: Recipe) -> TrainingSettings:
    """The recipe's settings; in a sweep with the largest rank and batch of any trial, which hold most."""
    parameters = recipe.sweep.parameters if recipe.sweep else {}
    largest: dict[str, Any] = {
        name: int(max(numbers_of(parameters[name]))) for name in _HOLD_MORE if name in parameters
    }
    return replace(recipe.training, **largest)
