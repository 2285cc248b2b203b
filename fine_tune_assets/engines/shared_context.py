"""Log-probabilities of many endings of one text: the text is read once, and so is what the endings begin with.

Owns that sharing. A thousand numbers of which only the last three digits differ cost two hundred tokens instead of nine thousand.
"""

import copy
from collections.abc import Iterator, Sequence
from itertools import takewhile
from typing import Any

import torch
from transformers.tokenization_utils_base import PreTrainedTokenizerBase

Node = tuple[int, ...]
"""Tokens of an ending, from its first one on."""


def ending_log_probabilities(
    model: Any, tokenizer: PreTrainedTokenizerBase, context: str, endings: Sequence[str], rows_at_once: int
) -> list[float]:
    """Sum of the log-probabilities (nats) of each ending's tokens after `context`, but for tokens that all of them share: those
    add the same to each."""
    wholes = [tokenizer(context + ending, add_special_tokens=False)["input_ids"] for ending in endings]
    shared = _shared_length(wholes)
    tails = [tuple(whole[shared:]) for whole in wholes]
    values = _next_tokens(model, wholes[0][:shared], _branches(tails), rows_at_once)
    return [sum(values[tail[:at]][tail[at]] for at in range(len(tail))) for tail in tails]


def _shared_length(wholes: Sequence[Sequence[int]]) -> int:
    """Tokens that all begin with; at least one of each is left over."""
    together = takewhile(lambda tokens: len(set(tokens)) == 1, zip(*wholes, strict=False))
    return min(sum(1 for _ in together), min(map(len, wholes)) - 1)


def _branches(tails: Sequence[Node]) -> dict[Node, list[int]]:
    """What each beginning of an ending goes on with."""
    found: dict[Node, set[int]] = {}
    for tail in tails:
        for at, token in enumerate(tail):
            found.setdefault(tail[:at], set()).add(token)
    return {node: sorted(tokens) for node, tokens in found.items()}


def _next_tokens(
    model: Any, prefix: list[int], branches: dict[Node, list[int]], rows_at_once: int
) -> dict[Node, dict[int, float]]:
    """Log-probability of each token that a beginning goes on with."""
    with torch.inference_mode():
        first = model(input_ids=torch.tensor([prefix], device=model.device), use_cache=True)
        found: dict[Node, dict[int, float]] = {(): _chosen(first.logits[0, -1], branches[()])}
        for rows in _batches(_longest(branches), rows_at_once):
            logits = _after(model, prefix, first.past_key_values, rows)
            for row, of_row in zip(rows, logits, strict=True):
                for at in range(1, len(row) + 1):
                    if row[:at] not in found:
                        found[row[:at]] = _chosen(of_row[at - 1], branches[row[:at]])
    return found


def _after(model: Any, prefix: list[int], cache: Any, rows: Sequence[Node]) -> torch.Tensor:
    """Logits at each token of the rows behind the prefix: shape [rows, longest row, vocabulary]."""
    longest = max(map(len, rows))
    # Whatever pads on the right is seen by nothing that counts.
    padded = torch.tensor([[*row, *[0] * (longest - len(row))] for row in rows], device=model.device)
    own = copy.deepcopy(cache)
    own.batch_repeat_interleave(len(rows))
    mask = torch.ones((len(rows), len(prefix) + longest), dtype=torch.long, device=model.device)
    return model(input_ids=padded, attention_mask=mask, past_key_values=own, use_cache=True).logits


def _chosen(logits: torch.Tensor, tokens: Sequence[int]) -> dict[int, float]:
    values = torch.log_softmax(logits.float(), dim=-1)[torch.tensor(tokens, device=logits.device)]
    return dict(zip(tokens, values.tolist(), strict=True))


def _longest(branches: dict[Node, list[int]]) -> list[Node]:
    """Beginnings that no other one goes on from, in an order that keeps lengths together."""
    inner = {node[:-1] for node in branches if node}
    return sorted((node for node in branches if node and node not in inner), key=lambda node: (len(node), node))


def _batches(rows: Sequence[Node], size: int) -> Iterator[Sequence[Node]]:
    for start in range(0, len(rows), size):
        yield rows[start : start + size]
