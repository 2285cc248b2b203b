"""How far two models are from each other over the same probes, and whether that is near enough.

Owns the figures of a hop (adapter → merged weights → export) and the decision. Does not load or run a model.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import takewhile
from typing import Any

from fine_tune_assets.recipes.exports import ParityLimits

TASK_LOSS = "loss on held-out answers"


@dataclass(frozen=True)
class Reply:
    """A greedy answer to a frozen probe."""

    text: str
    prompt_tokens: int
    tokens: int
    """Without the one that ended it."""


@dataclass(frozen=True)
class Reading:
    """What a model says to the probes."""

    log_probabilities: tuple[Any, ...]
    """One tensor a text, of shape [tokens, vocabulary]."""
    replies: tuple[Reply, ...]


@dataclass(frozen=True)
class Parity:
    """How much two models differ over the same probes."""

    mean_kl: float
    """Mean over tokens of KL(first || second), in nats."""
    top1_agreement: float
    tokens: int
    """Tokens compared: those of a prefix that several texts share are counted once."""
    same_greedy: float
    """Share of probes that both answer with the same words."""
    replies: int
    loss_increase: float | None
    """Nats per token of held-out answers that the second one loses more than the first; None without such tokens."""


def parity_of(first: Reading, second: Reading, answers: Sequence[tuple[list[int], int]]) -> Parity:
    """`answers`: the token ids of each text, and the place from which on they are the held-out answer.

    KL and top-1 count each context once. The texts share a prompt: one near tie in it would count once for each of them.
    """
    kl, same, tokens = 0.0, 0, 0
    fresh = _first_new_tokens([ids for ids, _ in answers])
    for whole, other, start in zip(first.log_probabilities, second.log_probabilities, fresh, strict=True):
        a, b = whole[start:], other[start:]
        kl += float((a.exp() * (a - b)).sum(dim=-1).sum())
        same += int((a.argmax(dim=-1) == b.argmax(dim=-1)).sum())
        tokens += a.shape[0]
    alike = sum(a.text == b.text for a, b in zip(first.replies, second.replies, strict=True))
    before, after = (_loss(reading, answers) for reading in (first, second))
    rise = None if before is None or after is None else after - before
    return Parity(kl / tokens, same / tokens, tokens, alike / len(first.replies), len(first.replies), rise)


def _first_new_tokens(texts: Sequence[Sequence[int]]) -> Iterator[int]:
    """For each text, the number of its leading tokens that an earlier text starts with too."""
    for index, ids in enumerate(texts):
        yield max((common_prefix(ids, earlier) for earlier in texts[:index]), default=0)


def common_prefix(ids: Sequence[int], others: Sequence[int]) -> int:
    return sum(1 for _ in takewhile(lambda pair: pair[0] == pair[1], zip(ids, others, strict=False)))


def compared(
    first: Reading, second: Reading, answers: Sequence[tuple[list[int], int]], limits: ParityLimits
) -> tuple[Parity, list[str]]:
    """`parity_of` both, and `why_not` within the limits."""
    parity = parity_of(first, second, answers)
    return parity, why_not(parity, limits)


def _loss(reading: Reading, answers: Sequence[tuple[list[int], int]]) -> float | None:
    """Mean over the tokens of held-out answers of what the model loses on them, in nats."""
    losses = [
        -float(values[place - 1, ids[place]])
        for values, (ids, start) in zip(reading.log_probabilities, answers, strict=True)
        for place in range(max(1, start), len(ids))
    ]
    return sum(losses) / len(losses) if losses else None


def why_not(parity: Parity, limits: ParityLimits) -> list[str]:
    """What is outside of the limits, in plain words; nothing if the hop passes. A figure that is no number passes nothing."""
    faults = []
    if not parity.mean_kl <= limits.maximum_kl:
        faults.append(f"mean KL {parity.mean_kl:.5f} nats per token, limit {limits.maximum_kl:g}")
    if not parity.top1_agreement >= limits.minimum_top1:
        faults.append(f"same first choice on {parity.top1_agreement:.2%} of tokens, limit {limits.minimum_top1:.2%}")
    if not parity.same_greedy >= limits.minimum_same_greedy:
        faults.append(f"{parity.same_greedy:.0%} of answers the same, limit {limits.minimum_same_greedy:.0%}")
    if parity.loss_increase is None:
        faults.append(f"{TASK_LOSS} not measured: no test conversation has an answer")
    elif not parity.loss_increase <= limits.maximum_loss_increase:
        faults.append(
            f"{TASK_LOSS} up by {parity.loss_increase:.4f} nats per token, limit {limits.maximum_loss_increase:g}"
        )
    return faults
