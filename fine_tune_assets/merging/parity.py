"""Measures how far two models differ on the same probes, and checks the limits of a hop.

Pure: loads and runs no model.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import takewhile
from typing import Any

from fine_tune_assets.recipes.export_settings import ParityLimits

TASK_LOSS = "loss on held-out answers"


@dataclass(frozen=True)
class ProbeAnswer:
    text: str
    prompt_tokens: int
    tokens: int
    """Without the stop token."""


@dataclass(frozen=True)
class ProbeOutputs:
    """A model's outputs for the probes."""

    log_probabilities: tuple[Any, ...]
    """One tensor per text, of shape [tokens, vocabulary]."""
    answers: tuple[ProbeAnswer, ...]


@dataclass(frozen=True)
class Parity:
    """Differences between two models on the same probes."""

    mean_kl: float
    """Mean over tokens of KL(first || second), in nats."""
    top1_agreement: float
    tokens: int
    """Tokens compared; a prefix shared by several texts is counted once."""
    greedy_agreement: float
    """Share of probes with identical greedy answers."""
    answers: int
    loss_increase: float | None
    """Nats per token of held-out answers by which the second model's loss is higher; None without such tokens."""


def measure_parity(first: ProbeOutputs, second: ProbeOutputs, answers: Sequence[tuple[list[int], int]]) -> Parity:
    """`answers`: each text's token ids and the position at which its held-out answer starts.

    KL and top-1 count each context once: texts share a prompt, and a near tie in it would otherwise count for every text.
    """
    kl, same, tokens = 0.0, 0, 0
    fresh = _shared_prefix_lengths([ids for ids, _ in answers])
    for one, other, start in zip(first.log_probabilities, second.log_probabilities, fresh, strict=True):
        a, b = one[start:], other[start:]
        kl += float((a.exp() * (a - b)).sum(dim=-1).sum())
        same += int((a.argmax(dim=-1) == b.argmax(dim=-1)).sum())
        tokens += a.shape[0]
    alike = sum(a.text == b.text for a, b in zip(first.answers, second.answers, strict=True))
    before, after = (_answer_loss(reading, answers) for reading in (first, second))
    rise = None if before is None or after is None else after - before
    return Parity(kl / tokens, same / tokens, tokens, alike / len(first.answers), len(first.answers), rise)


def _shared_prefix_lengths(texts: Sequence[Sequence[int]]) -> Iterator[int]:
    """For each text, the length of the longest prefix shared with an earlier text."""
    for index, ids in enumerate(texts):
        yield max((common_prefix_length(ids, earlier) for earlier in texts[:index]), default=0)


def common_prefix_length(ids: Sequence[int], others: Sequence[int]) -> int:
    return sum(1 for _ in takewhile(lambda pair: pair[0] == pair[1], zip(ids, others, strict=False)))


def compare(
    first: ProbeOutputs, second: ProbeOutputs, answers: Sequence[tuple[list[int], int]], limits: ParityLimits
) -> tuple[Parity, list[str]]:
    """Measure parity and return it with the exceeded limits."""
    parity = measure_parity(first, second, answers)
    return parity, exceeded_limits(parity, limits)


def _answer_loss(reading: ProbeOutputs, answers: Sequence[tuple[list[int], int]]) -> float | None:
    """Mean loss over the tokens of held-out answers, in nats."""
    losses = [
        -float(values[place - 1, ids[place]])
        for values, (ids, start) in zip(reading.log_probabilities, answers, strict=True)
        for place in range(max(1, start), len(ids))
    ]
    return sum(losses) / len(losses) if losses else None


def exceeded_limits(parity: Parity, limits: ParityLimits) -> list[str]:
    """Describe each exceeded limit; empty if the hop passes. NaN exceeds every limit."""
    exceeded = []
    if not parity.mean_kl <= limits.maximum_kl:
        exceeded.append(f"mean KL {parity.mean_kl:.5f} nats per token, limit {limits.maximum_kl:g}")
    if not parity.top1_agreement >= limits.minimum_top1:
        exceeded.append(
            f"same top-1 token at {parity.top1_agreement:.2%} of positions, limit {limits.minimum_top1:.2%}"
        )
    if not parity.greedy_agreement >= limits.minimum_greedy_agreement:
        exceeded.append(f"{parity.greedy_agreement:.0%} identical answers, limit {limits.minimum_greedy_agreement:.0%}")
    if parity.loss_increase is None:
        exceeded.append(f"{TASK_LOSS} not measured: no test conversation has an answer")
    elif not parity.loss_increase <= limits.maximum_loss_increase:
        exceeded.append(
            f"{TASK_LOSS} up by {parity.loss_increase:.4f} nats per token, limit {limits.maximum_loss_increase:g}"
        )
    return exceeded
