"""How likely a model finds each of several continuations of a text.

Owns the batches. What the continuations of one text share is read once, and the vocabulary is scored only where they stand:
scores at every place of 16 texts of 500 tokens would be 4 GB with 128,000 words.
"""

import inspect
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import takewhile
from typing import Any

import torch
from transformers.tokenization_utils_base import PreTrainedTokenizerBase

from fine_tune_assets.engines.transformers_models import require_fits


@dataclass(frozen=True)
class _Row:
    place: int
    """Among all pairs."""
    tokens: list[int]
    start: int
    """First token of the continuation."""


@dataclass(frozen=True)
class _Fork:
    """Rows that begin with the same tokens."""

    shared: list[int]
    """Ends before the last token that all continuations have before them, since what follows that one is asked for."""
    rows: tuple[_Row, ...]


def continuation_log_probabilities(
    model: Any, tokenizer: PreTrainedTokenizerBase, pairs: Sequence[tuple[str, str]], batch_size: int
) -> list[float]:
    """Sum of the log-probabilities (nats) of each continuation after its context. (context, continuation) pairs with the same
    context cost that context once. Raises TooLongForModelError if a pair is longer than the model's context."""
    rows = [_row(tokenizer, place, *pair) for place, pair in enumerate(pairs)]
    require_fits(model, [len(row.tokens) for row in rows])
    by_context: dict[str, list[_Row]] = {}
    for (context, _), row in zip(pairs, rows, strict=True):
        by_context.setdefault(context, []).append(row)
    sums = [0.0] * len(rows)
    for batch in _batches(map(_fork, by_context.values()), batch_size):
        for row, value in _scored(model, tokenizer, batch):
            sums[row.place] = value
    return sums


def _row(tokenizer: PreTrainedTokenizerBase, place: int, context: str, continuation: str) -> _Row:
    before = tokenizer(context, add_special_tokens=False)["input_ids"]
    whole = tokenizer(context + continuation, add_special_tokens=False)["input_ids"]
    return _Row(place, whole, max(1, min(len(before), len(whole) - 1)))


def _fork(rows: Sequence[_Row]) -> _Fork:
    same = takewhile(lambda tokens: len(set(tokens)) == 1, zip(*(row.tokens for row in rows), strict=False))
    shared = [tokens[0] for tokens in same]
    return _Fork(shared[: max(0, min(row.start for row in rows) - 1)], tuple(rows))


def _batches(forks: Iterable[_Fork], size: int) -> Iterator[list[_Fork]]:
    """Of about the same length, so that little is padded. Those that share nothing go by themselves."""
    batch: list[_Fork] = []
    for fork in sorted(forks, key=lambda f: (len(f.shared), max(len(row.tokens) for row in f.rows), f.rows[0].place)):
        is_full = sum(len(f.rows) for f in (*batch, fork)) > size
        if batch and (is_full or bool(batch[-1].shared) != bool(fork.shared)):
            yield batch
            batch = []
        batch.append(fork)
    if batch:
        yield batch


def _scored(model: Any, tokenizer: PreTrainedTokenizerBase, forks: Sequence[_Fork]) -> list[tuple[_Row, float]]:
    ends = [(row, row.tokens[len(fork.shared) :], len(fork.shared)) for fork in forks for row in fork.rows]
    read = {} if not forks[0].shared else _read(model, tokenizer, forks)
    batch = tokenizer.pad({"input_ids": [rest for _, rest, _ in ends]}, return_tensors="pt", padding_side="right")
    batch = batch.to(model.device)
    before = torch.tensor([[shared] for _, _, shared in ends], device=model.device)
    places = before + torch.arange(batch["input_ids"].shape[1], device=model.device)
    if read:
        read["attention_mask"] = torch.cat([read["attention_mask"], batch["attention_mask"]], dim=1)
    with torch.inference_mode():
        logits = model(**{**batch, **read}, position_ids=places, use_cache=bool(read)).logits
    scored = []
    for number, (row, rest, shared) in enumerate(ends):
        first = row.start - shared
        scores = torch.log_softmax(logits[number, first - 1 : len(rest) - 1].float(), dim=-1)
        chosen = torch.tensor(rest[first:], device=scores.device)
        scored.append((row, float(scores.gather(1, chosen[:, None]).sum())))
    return scored


def _read(model: Any, tokenizer: PreTrainedTokenizerBase, forks: Sequence[_Fork]) -> dict[str, Any]:
    """What the model keeps of each shared beginning, once for each of its rows, and which places of it are padding."""
    batch = tokenizer.pad({"input_ids": [f.shared for f in forks]}, return_tensors="pt", padding_side="left")
    batch = batch.to(model.device)
    mask = batch["attention_mask"]
    places = (mask.cumsum(1) - 1).clamp(min=0)
    fewer = {"logits_to_keep": 1} if _can_keep_fewer(model) else {}
    with torch.inference_mode():
        kept = model(**batch, position_ids=places, use_cache=True, **fewer).past_key_values
    of_row = torch.tensor([i for i, fork in enumerate(forks) for _ in fork.rows], device=model.device)
    kept.batch_select_indices(of_row)
    return {"past_key_values": kept, "attention_mask": mask[of_row]}


def _can_keep_fewer(model: Any) -> bool:
    whole = model.get_base_model() if hasattr(model, "get_base_model") else model
    return "logits_to_keep" in inspect.signature(whole.forward).parameters
