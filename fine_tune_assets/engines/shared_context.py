"""Log-probabilities of many endings of one text: the text is read once, and so is what the endings begin with.

Owns that sharing. A thousand numbers of which only the last three digits differ cost 110 tokens instead of nine thousand.
"""

import copy
from collections.abc import Sequence
from itertools import takewhile
from typing import Any

import torch
from transformers.tokenization_utils_base import PreTrainedTokenizerBase

from fine_tune_assets.engines.transformers_models import batches

Node = tuple[int, ...]
"""Tokens of an ending, from its first one on."""


def ending_log_probabilities(
    model: Any, tokenizer: PreTrainedTokenizerBase, context: str, endings: Sequence[str], nodes_at_once: int
) -> list[float]:
    """Sum of the log-probabilities (nats) of each ending's tokens after `context`, but for tokens that all of them share: those
    add the same to each."""
    wholes = tokenizer([context + ending for ending in endings], add_special_tokens=False)["input_ids"]
    shared = _shared_length(wholes)
    tails = [tuple(whole[shared:]) for whole in wholes]
    values = _next_tokens(model, wholes[0][:shared], _branches(tails), nodes_at_once)
    return [sum(values[tail[:at]][tail[at]] for at in range(len(tail))) for tail in tails]


def _shared_length(wholes: Sequence[Sequence[int]]) -> int:
    """Length of the common prefix, short enough to leave at least one token of each."""
    together = takewhile(lambda tokens: len(set(tokens)) == 1, zip(*wholes, strict=False))
    return min(sum(1 for _ in together), min(map(len, wholes)) - 1)


def _branches(tails: Sequence[Node]) -> dict[Node, list[int]]:
    """Prefix of an ending → the tokens that can follow it."""
    found: dict[Node, set[int]] = {}
    for tail in tails:
        for at, token in enumerate(tail):
            found.setdefault(tail[:at], set()).add(token)
    return {node: sorted(tokens) for node, tokens in found.items()}


def _next_tokens(
    model: Any, prefix: list[int], branches: dict[Node, list[int]], nodes_at_once: int
) -> dict[Node, dict[int, float]]:
    """Log-probability of each token that can follow a prefix."""
    with torch.inference_mode():
        first = model(input_ids=torch.tensor([prefix], device=model.device), use_cache=True)
        found: dict[Node, dict[int, float]] = {(): _chosen(first.logits[0, -1], branches[()])}
        for nodes in batches(_longest(branches), nodes_at_once):
            tree = sorted({node[:at] for node in nodes for at in range(1, len(node) + 1)})
            for node, logits in zip(tree, _after(model, len(prefix), first.past_key_values, tree), strict=True):
                found[node] = _chosen(logits, branches[node])
    return found


def _after(model: Any, before: int, cache: Any, tree: Sequence[Node]) -> torch.Tensor:
    """Logits at the last token of each node: shape [nodes, vocabulary]. One row holds all nodes; each attends to the `before`
    cached tokens, to its ancestors and to itself. `tree` must contain the ancestors of its nodes."""
    place = {node: number for number, node in enumerate(tree)}
    mask = torch.full((len(tree), before + len(tree)), torch.finfo(model.dtype).min, dtype=model.dtype)
    mask[:, :before] = 0
    for node, number in place.items():
        mask[number, [before + place[node[:at]] for at in range(1, len(node) + 1)]] = 0
    return model(
        input_ids=torch.tensor([[node[-1] for node in tree]], device=model.device),
        attention_mask=mask[None, None].to(model.device),
        position_ids=torch.tensor([[before + len(node) - 1 for node in tree]], device=model.device),
        past_key_values=copy.deepcopy(cache),
        use_cache=True,
    ).logits[0]


def _chosen(logits: torch.Tensor, tokens: Sequence[int]) -> dict[int, float]:
    values = torch.log_softmax(logits.float(), dim=-1)[torch.tensor(tokens, device=logits.device)]
    return dict(zip(tokens, values.tolist(), strict=True))


def _longest(branches: dict[Node, list[int]]) -> list[Node]:
    """Prefixes that no other prefix extends, sorted by length."""
    inner = {node[:-1] for node in branches if node}
    return sorted((node for node in branches if node and node not in inner), key=lambda node: (len(node), node))
