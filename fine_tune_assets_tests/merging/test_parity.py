"""Each limit of a hop closes the gate, and every context counts once. Loads no model."""

import re
from dataclasses import replace
from typing import Any

import pytest
import torch

from fine_tune_assets.merging.parity import Parity, ProbeAnswer, ProbeOutputs, exceeded_limits, measure_parity
from fine_tune_assets.recipes.export_settings import (
    COMPRESSED_FORMATS,
    DEFAULT_LIMITS,
    GGUF_FORMATS,
    LORA_SAFETENSORS,
    ParityLimits,
    find_limits,
)

LIMITS = ParityLimits(maximum_kl=0.002, minimum_top1=0.995, minimum_greedy_agreement=0.75, maximum_loss_increase=0.01)
AT_THE_LIMIT = Parity(
    mean_kl=0.002, top1_agreement=0.995, tokens=1000, greedy_agreement=0.75, answers=8, loss_increase=0.01
)


def test_a_hop_at_its_limits_passes() -> None:
    assert exceeded_limits(AT_THE_LIMIT, LIMITS) == []


@pytest.mark.parametrize(
    ("worse", "pattern"),
    [
        ({"mean_kl": 0.0021}, r"KL 0\.00210 .*0\.002$"),
        ({"mean_kl": float("nan")}, "KL nan"),
        ({"top1_agreement": 0.994}, r"top-1 .*99\.40%.*99\.50%"),
        ({"top1_agreement": float("nan")}, "top-1 .*nan%"),
        ({"greedy_agreement": 0.625}, "62%.*75%"),
        ({"loss_increase": 0.011}, r"loss .*0\.0110 .*0\.01$"),
        ({"loss_increase": float("nan")}, "loss .*nan"),
        ({"loss_increase": None}, "loss .*not measured"),
    ],
)
def test_one_metric_outside_its_limit_closes_the_hop(worse: dict[str, Any], pattern: str) -> None:
    """Overflowing weights give NaN, which exceeds nothing; a missing metric is not 0."""
    (exceeded,) = exceeded_limits(replace(AT_THE_LIMIT, **worse), LIMITS)
    assert re.search(pattern, exceeded)


def test_an_export_with_a_lower_loss_passes() -> None:
    assert exceeded_limits(replace(AT_THE_LIMIT, loss_increase=-0.5), LIMITS) == []


def test_every_format_has_limits_that_a_recipe_can_override() -> None:
    assert set(DEFAULT_LIMITS) == {*GGUF_FORMATS, *COMPRESSED_FORMATS, LORA_SAFETENSORS}
    assert find_limits({"q8_0": LIMITS}, "q8_0") == LIMITS
    assert find_limits({"q8_0": LIMITS}, "q4_k_m") == DEFAULT_LIMITS["q4_k_m"]


def _reading(texts: list[list[int]], flipped: dict[int, list[int]] | None = None) -> ProbeOutputs:
    """Outputs over a vocabulary of two tokens. `flipped`: the positions per text at which the other token is first."""
    outputs = []
    for number, ids in enumerate(texts):
        logits = torch.tensor([[1.0, 0.0]] * len(ids))
        for place in (flipped or {}).get(number, []):
            logits[place] = logits[place].flip(0)
        outputs.append(torch.log_softmax(logits, dim=-1))
    return ProbeOutputs(tuple(outputs), (ProbeAnswer("yes", 1, 1),))


SHARED_PROMPT = [[0, 0, 0, 1, 0, 0], [0, 0, 0, 1, 1, 0], [0, 0, 0, 0, 0, 0]]
"""Six tokens each; the second text shares four of them with the first, the third shares three."""
ANSWERS = [(ids, 5) for ids in SHARED_PROMPT]


def test_a_difference_in_a_shared_prompt_counts_once() -> None:
    """Otherwise one near tie in the prompt would count once per text, and could close the gate by chance."""
    flipped = {0: [1], 1: [1], 2: [1]}
    parity = measure_parity(_reading(SHARED_PROMPT), _reading(SHARED_PROMPT, flipped), ANSWERS)
    assert parity.tokens == 6 + 2 + 3
    assert parity.top1_agreement == pytest.approx(10 / 11)


def test_a_difference_after_the_texts_diverge_counts_in_each() -> None:
    """The same position after other tokens is another context."""
    flipped = {0: [5], 1: [5], 2: [5]}
    parity = measure_parity(_reading(SHARED_PROMPT), _reading(SHARED_PROMPT, flipped), ANSWERS)
    assert parity.top1_agreement == pytest.approx(8 / 11)
    assert parity.mean_kl > 0


def test_a_repeated_text_counts_once() -> None:
    texts = [[0, 1], [0, 1]]
    parity = measure_parity(_reading(texts), _reading(texts, {1: [0, 1]}), [(ids, 1) for ids in texts])
    assert (parity.tokens, parity.top1_agreement, parity.mean_kl) == (2, 1.0, 0.0)
