"""From measured figures to grades: weights, a map to people's scale, and where both come from.

Owns the file `offline_model.json` beside it, which `make fit-judge` writes (see fitting.py). Does not know texts.
"""

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fine_tune_assets.core.fingerprints import fingerprint_json
from fine_tune_assets.judging.calibration import Knots, calibrated
from fine_tune_assets.judging.features import FEATURES, MEANING, WORDS

MODEL_FILE = Path(__file__).with_name("offline_model.json")
Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Scale:
    """One grade, from the figures."""

    weights: Mapping[str, float]
    """Feature → weight, at least 0: better figures never lower a grade."""
    intercept: float
    knots: Knots
    """From the weighted sum to 1 to 10."""

    def grades(self, features: Floats, names: Sequence[str]) -> Floats:
        """`features`: (answers, names)."""
        weighed = features * np.array([self.weights.get(name, 0.0) for name in names])
        # Not a matrix product: its last digit depends on how many answers are graded at once.
        return calibrated(np.array([math.fsum([*row, self.intercept]) for row in weighed]), self.knots)


@dataclass(frozen=True)
class OfflineModel:
    overall: Scale
    criteria: Mapping[str, Scale]
    """Of the rubric, by name; those that can't be seen are absent."""
    preference_slope: float
    """The log-odds that people prefer the answer whose grade is one point higher."""
    fitted_on: frozenset[str]
    """Fingerprints of the dialogues whose summaries it was fitted on."""
    fingerprint: str

    @property
    def features(self) -> tuple[str, ...]:
        """What must be measured: words are cheap and give the reasons, meanings are only where they have a weight."""
        weighed = {name for scale in (self.overall, *self.criteria.values()) for name in scale.weights}
        return tuple(name for name in FEATURES if name in WORDS or name in weighed)

    @property
    def reads_meaning(self) -> bool:
        return not set(self.features).isdisjoint(MEANING)


def model_of(content: Mapping[str, Any]) -> OfflineModel:
    """`content`: as in the file."""
    return OfflineModel(
        overall=_scale(content["overall"]),
        criteria={name: _scale(scale) for name, scale in content["criteria"].items()},
        preference_slope=content["preference_slope"],
        fitted_on=frozenset(content["fitted_on"]),
        fingerprint=fingerprint_json(content),
    )


@cache
def shipped_model() -> OfflineModel:
    return model_of(json.loads(MODEL_FILE.read_text(encoding="utf-8")))


def _scale(content: Mapping[str, Any]) -> Scale:
    return Scale(content["weights"], content["intercept"], tuple((raw, grade) for raw, grade in content["knots"]))
