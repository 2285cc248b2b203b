"""Determines the order of examples and which of them share a batch or a packed row.

Seed and epoch alone determine the order, so that a killed training resumes exactly. Chooses between batches of nearly equal
lengths and packed rows.
"""

import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from torch.utils.data import Sampler

POOL_STEPS = 50
"""Steps whose examples are sorted by length together: more means less padding, but less randomness in the batches."""
PASS_OVERHEAD_TOKENS = 64
"""Cost of a forward pass besides its tokens, in tokens: reading weights, and calls. Measured with `make bench-train` on two
cores; it is higher on a GPU, which favours fewer and longer rows."""


class LengthSampler(Sampler[int]):
    """Row indices; each `step_rows` consecutive rows are one optimizer step and have nearly equal lengths.

    The step with the longest row comes first, so that out of memory occurs at once.
    """

    def __init__(self, lengths: Sequence[int], step_rows: int, seed: int) -> None:
        self._lengths, self._step_rows, self._seed, self._epoch = lengths, step_rows, seed, 0

    def set_epoch(self, epoch: int) -> None:
        self._epoch = epoch

    def __len__(self) -> int:
        return len(self._lengths)

    def __iter__(self) -> Iterator[int]:
        chance = random.Random(f"{self._seed} {self._epoch}")
        order = list(range(len(self._lengths)))
        chance.shuffle(order)
        steps = [step for pool in chunked(order, POOL_STEPS * self._step_rows) for step in self._group_into_steps(pool)]
        full, rest = [s for s in steps if len(s) == self._step_rows], [s for s in steps if len(s) < self._step_rows]
        chance.shuffle(full)
        if full:
            longest = max(range(len(full)), key=lambda i: self._lengths[full[i][0]])
            full[0], full[longest] = full[longest], full[0]
        return iter([index for step in (*full, *rest) for index in step])

    def _group_into_steps(self, pool: list[int]) -> list[list[int]]:
        return chunked(sorted(pool, key=lambda i: (-self._lengths[i], i)), self._step_rows)


class PaddedStepSampler(Sampler[int]):
    """An order for several ranks: each `step_rows` rows are a step, padded to full passes with the row `blank_row`.

    A pass is what all ranks compute at once, so all need the same number of rows.
    """

    def __init__(self, order: Any, step_rows: int, pass_rows: int, blank_row: int) -> None:
        self._order, self._step_rows, self._pass_rows, self._blank = order, step_rows, pass_rows, blank_row

    def set_epoch(self, epoch: int) -> None:
        if isinstance(self._order, LengthSampler):
            self._order.set_epoch(epoch)

    def __len__(self) -> int:
        full, rest = divmod(len(self._order), self._step_rows)
        return full * self._padded_rows(self._step_rows) + self._padded_rows(rest)

    def __iter__(self) -> Iterator[int]:
        for step in chunked(list(self._order), self._step_rows):
            yield from (*step, *[self._blank] * (self._padded_rows(len(step)) - len(step)))

    def _padded_rows(self, rows: int) -> int:
        return -(-rows // self._pass_rows) * self._pass_rows


def chunked(items: list[int], size: int) -> list[list[int]]:
    return [items[start : start + size] for start in range(0, len(items), size)]


@dataclass(frozen=True)
class Batching:
    """How rows reach the model."""

    strategy: Literal["bfd", "never"]
    rows_per_pass: int
    passes_per_step: int
    """Gradient accumulation."""

    @property
    def rows_per_step(self) -> int:
        return self.rows_per_pass * self.passes_per_step


def distribute_batching(batching: Batching, ranks: int) -> Batching:
    """Each rank's share of a step, in as few passes as the memory of one pass allows."""
    rows = batching.rows_per_step
    passes = -(-rows // (batching.rows_per_pass * ranks))
    return Batching(batching.strategy, -(-rows // (passes * ranks)), passes)


def evaluation_batch_size(batching: Batching, batch_size: int, lengths: Sequence[int], row_tokens: int) -> int:
    """Validation rows per pass, limited to the tokens of a packed row, for which memory was planned. `lengths`: tokens of each
    row."""
    return batch_size if batching.strategy == "never" else max(1, min(batch_size, row_tokens // max(lengths)))


def choose_batching(
    packing: Literal["auto", "never", "bfd"],
    lengths: Sequence[int],
    packed_lengths: Sequence[int],
    batch_size: int,
    gradient_accumulation: int,
    attention_share: float,
) -> Batching:
    """The strategy with less computation, derived from lengths alone so that every machine trains the same weights.

    `lengths`: tokens of each example; `packed_lengths`: tokens of each packed row. `attention_share`: cost of attending to one
    more token, relative to the other cost of a token. With both, a step has the same number of examples on average.
    """
    unpacked = Batching("never", batch_size, gradient_accumulation)
    per_row = len(lengths) / len(packed_lengths)
    packed = Batching("bfd", 1, max(1, round(unpacked.rows_per_step / per_row)))
    if packing != "auto":
        return packed if packing == "bfd" else unpacked
    batches = chunked(sorted(lengths, reverse=True), batch_size)
    unpacked_cost = sum(_pass_cost(len(batch), batch[0], attention_share) for batch in batches)
    packed_cost = sum(_pass_cost(1, tokens, attention_share) for tokens in packed_lengths)
    return packed if packed_cost < unpacked_cost else unpacked


def _pass_cost(rows: int, tokens: int, attention_share: float) -> float:
    """Cost of one pass in tokens: each row is padded to the longest, and each token attends to its entire row."""
    return PASS_OVERHEAD_TOKENS + rows * tokens * (1 + attention_share * tokens)


def pack_rows(dataset: Any, row_tokens: int) -> Any:
    """A datasets.Dataset in rows of at most `row_tokens`, packed by best fit decreasing (Ding et al. 2024).

    `seq_lengths` contains the lengths of the examples in each row.
    """
    from trl import pack_dataset  # 13 s

    return pack_dataset(dataset, row_tokens, "bfd", map_kwargs={"batch_size": len(dataset)})


def attention_share(hidden_size: int, layers: int, parameters: int) -> float:
    """Attention's multiplications per token and attended token (scores and values: 4 x hidden size x layers), divided by the
    others, 2 per parameter (Kaplan et al. 2020, section 2.1)."""
    return 4 * hidden_size * layers / (2 * parameters)


def evaluation_steps(steps_per_epoch: int, epochs: int, per_epoch: int) -> list[int]:
    """Optimizer steps after which the validation loss is measured: evenly spaced, including the last of each epoch."""
    within = sorted({max(1, round(steps_per_epoch * n / per_epoch)) for n in range(1, per_epoch + 1)})
    return [epoch * steps_per_epoch + step for epoch in range(epochs) for step in within]
