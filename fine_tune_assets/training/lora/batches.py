"""In which order examples are learned, and which of them share a batch or a row.

Owns the order, which seed and epoch decide alone, so that a training that was killed goes on exactly where it was; and the
choice between batches of nearly equal lengths and packed rows.
"""

import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from torch.utils.data import Sampler

POOL_STEPS = 50
"""Steps whose examples are sorted by length together: more means less padding and less chance in what meets what."""
PASS_TOKENS = 64
"""What one pass through the model costs beside its tokens, in tokens: reading the weights, and calls. Measured with
`make bench-train` on two cores; on a GPU it is more, which speaks for fewer and longer rows."""


class LengthBatches(Sampler[int]):
    """Indices of rows; each `step_rows` in a row are one optimiser step, and are nearly of one length.

    The step with the longest row comes first: what does not fit into memory fails at once, not at night.
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
        steps = [step for pool in cut(order, POOL_STEPS * self._step_rows) for step in self._steps_of(pool)]
        full, rest = [s for s in steps if len(s) == self._step_rows], [s for s in steps if len(s) < self._step_rows]
        chance.shuffle(full)
        if full:
            longest = max(range(len(full)), key=lambda i: self._lengths[full[i][0]])
            full[0], full[longest] = full[longest], full[0]
        return iter([index for step in (*full, *rest) for index in step])

    def _steps_of(self, pool: list[int]) -> list[list[int]]:
        return cut(sorted(pool, key=lambda i: (-self._lengths[i], i)), self._step_rows)


class FilledSteps(Sampler[int]):
    """An order for several ranks: each `step_rows` rows are a step, filled up with the `blank` row to whole passes.

    A pass is what all ranks compute at once: none of them may have fewer rows than another.
    """

    def __init__(self, order: Any, step_rows: int, pass_rows: int, blank: int) -> None:
        self._order, self._step_rows, self._pass_rows, self._blank = order, step_rows, pass_rows, blank

    def set_epoch(self, epoch: int) -> None:
        if isinstance(self._order, LengthBatches):
            self._order.set_epoch(epoch)

    def __len__(self) -> int:
        full, rest = divmod(len(self._order), self._step_rows)
        return full * self._filled(self._step_rows) + self._filled(rest)

    def __iter__(self) -> Iterator[int]:
        for step in cut(list(self._order), self._step_rows):
            yield from (*step, *[self._blank] * (self._filled(len(step)) - len(step)))

    def _filled(self, rows: int) -> int:
        return -(-rows // self._pass_rows) * self._pass_rows


def cut(items: list[int], size: int) -> list[list[int]]:
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


def share_out(batching: Batching, ranks: int) -> Batching:
    """How each of several ranks takes its part of a step: in as few passes as the memory of one pass allows."""
    rows = batching.rows_per_step
    passes = -(-rows // (batching.rows_per_pass * ranks))
    return Batching(batching.strategy, -(-rows // (passes * ranks)), passes)


def evaluation_rows(batching: Batching, batch_size: int, lengths: Sequence[int], row_tokens: int) -> int:
    """Rows of the validation set that are measured in one pass: no more tokens at once than a packed row has, since memory was
    planned for that. `lengths`: tokens of each of them."""
    return batch_size if batching.strategy == "never" else max(1, min(batch_size, row_tokens // max(lengths)))


def choose_batching(
    setting: Literal["auto", "never", "bfd"],
    lengths: Sequence[int],
    packed_rows: Sequence[int],
    batch_size: int,
    gradient_accumulation: int,
    attention_share: float,
) -> Batching:
    """What computes less, counted from lengths alone: the same on every machine, as the weights must be.

    `lengths`: tokens of each example; `packed_rows`: tokens of each packed row. `attention_share`: what attending to one
    more token costs, as a share of all else that a token costs. A step learns from as many examples either way, on average.
    """
    apart = Batching("never", batch_size, gradient_accumulation)
    per_row = len(lengths) / len(packed_rows)
    packed = Batching("bfd", 1, max(1, round(apart.rows_per_step / per_row)))
    if setting != "auto":
        return packed if setting == "bfd" else apart
    batches = cut(sorted(lengths, reverse=True), batch_size)
    of_apart = sum(_cost(len(batch), batch[0], attention_share) for batch in batches)
    of_packed = sum(_cost(1, tokens, attention_share) for tokens in packed_rows)
    return packed if of_packed < of_apart else apart


def _cost(rows: int, tokens: int, attention_share: float) -> float:
    """Of one pass, in tokens: every row is as long as the longest, and every token attends to all of its row."""
    return PASS_TOKENS + rows * tokens * (1 + attention_share * tokens)


def pack(dataset: Any, row_tokens: int) -> Any:
    """A datasets.Dataset in rows of at most `row_tokens`, filled by best fit decreasing (Ding et al. 2024).

    `seq_lengths` says where an example ends.
    """
    from trl import pack_dataset  # 13 s

    return pack_dataset(dataset, row_tokens, "bfd", map_kwargs={"batch_size": len(dataset)})


def attention_share(hidden_size: int, layers: int, parameters: int) -> float:
    """Attention's multiplications per token and attended token (scores and values: 4 x hidden size x layers), by the 2 per
    parameter of all else (Kaplan et al. 2020, section 2.1)."""
    return 4 * hidden_size * layers / (2 * parameters)


def evaluation_steps(steps_per_epoch: int, epochs: int, per_epoch: int) -> list[int]:
    """Optimiser steps after which the validation loss is measured: evenly spread, the last of each epoch among them."""
    within = sorted({max(1, round(steps_per_epoch * n / per_epoch)) for n in range(1, per_epoch + 1)})
    return [epoch * steps_per_epoch + step for epoch in range(epochs) for step in within]
