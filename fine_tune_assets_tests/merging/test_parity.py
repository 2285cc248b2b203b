"""Each limit of a hop closes by itself, and every context counts once. No model is loaded."""

from dataclasses import replace
from typing import Any

import pytest
import torch

from fine_tune_assets.merging.parity import Parity, Reading, Reply, parity_of, why_not
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


def _reading(texts: list[list[int]], flipped: dict[int, list[int]] | None = None) -> Reading:
    """From a vocabulary of two tokens. `flipped`: the positions in each text where the first choice is the other one."""
    found = []
    for number, ids in enumerate(texts):
        logits = torch.tensor([[1.0, 0.0]] * len(ids))
        for place in (flipped or {}).get(number, []):
            logits[place] = logits[place].flip(0)
        found.append(torch.log_softmax(logits, dim=-1))
    return Reading(tuple(found), (Reply("yes", 1, 1),))


SHARED_PROMPT = [[0, 0, 0, 1, 0, 0], [0, 0, 0, 1, 1, 0], [0, 0, 0, 0, 0, 0]]
"""Six tokens; the second text shares four of them with the first, the third three."""
ANSWERS = [(ids, 5) for ids in SHARED_PROMPT]


def test_a_difference_in_a_prompt_that_all_texts_share_counts_once() -> None:
    """Otherwise one near tie in the prompt would be as many differences as there are texts, and close the gate by chance."""
    flipped = {0: [1], 1: [1], 2: [1]}
    parity = parity_of(_reading(SHARED_PROMPT), _reading(SHARED_PROMPT, flipped), ANSWERS)
    assert parity.tokens == 6 + 2 + 3
    assert parity.top1_agreement == pytest.approx(10 / 11)


def test_a_difference_after_the_texts_part_counts_in_each() -> None:
    """The same place after other tokens is another context."""
    flipped = {0: [5], 1: [5], 2: [5]}
    parity = parity_of(_reading(SHARED_PROMPT), _reading(SHARED_PROMPT, flipped), ANSWERS)
    assert parity.top1_agreement == pytest.approx(8 / 11)
    assert parity.mean_kl > 0


def test_a_text_that_comes_twice_counts_once() -> None:
    texts = [[0, 1], [0, 1]]
    parity = parity_of(_reading(texts), _reading(texts, {1: [0, 1]}), [(ids, 1) for ids in texts])
    assert (parity.tokens, parity.top1_agreement, parity.mean_kl) == (2, 1.0, 0.0)
