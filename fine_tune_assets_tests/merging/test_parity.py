"""Each limit of a hop closes by itself. No model is loaded."""

from dataclasses import replace
from typing import Any

import pytest

from fine_tune_assets.merging.parity import Parity, why_not
from fine_tune_assets.recipes.exports import COMPRESSED_FORMATS, DEFAULT_LIMITS, GGUF_FORMATS, ParityLimits, limits_of

LIMITS = ParityLimits(maximum_kl=0.002, minimum_top1=0.995, minimum_same_greedy=0.75, maximum_loss_increase=0.01)
AT_THE_LIMIT = Parity(mean_kl=0.002, top1_agreement=0.995, tokens=1000, same_greedy=0.75, replies=8, loss_increase=0.01)


def test_a_hop_at_its_limits_passes() -> None:
    assert why_not(AT_THE_LIMIT, LIMITS) == []


@pytest.mark.parametrize(
    ("worse", "named"),
    [
        ({"mean_kl": 0.0021}, "mean KL 0.00210 nats per token, limit 0.002"),
        ({"mean_kl": float("nan")}, "mean KL nan"),
        ({"top1_agreement": 0.994}, "same first choice on 99.40% of tokens, limit 99.50%"),
        ({"top1_agreement": float("nan")}, "same first choice"),
        ({"same_greedy": 0.625}, "62% of answers the same, limit 75%"),
        ({"loss_increase": 0.011}, "up by 0.0110 nats per token, limit 0.01"),
        ({"loss_increase": float("nan")}, "up by nan"),
        ({"loss_increase": None}, "not measured"),
    ],
)
def test_one_figure_outside_of_its_limit_closes_the_hop(worse: dict[str, Any], named: str) -> None:
    """Weights that overflowed give figures that are no numbers, which are above nothing; a missing one is no 0."""
    (fault,) = why_not(replace(AT_THE_LIMIT, **worse), LIMITS)
    assert named in fault


def test_an_export_that_loses_less_than_what_it_was_made_from_passes() -> None:
    assert why_not(replace(AT_THE_LIMIT, loss_increase=-0.5), LIMITS) == []


def test_every_format_has_limits_and_a_recipe_may_name_others() -> None:
    assert set(DEFAULT_LIMITS) == {*GGUF_FORMATS, *COMPRESSED_FORMATS}
    assert limits_of({"q8_0": LIMITS}, "q8_0") == LIMITS
    assert limits_of({"q8_0": LIMITS}, "q4_k_m") == DEFAULT_LIMITS["q4_k_m"]
