"""Computes the log-probabilities of continuations of a text.

The shared prefix of continuations is evaluated once: a thousand numbers that differ in the last three digits cost 110 tokens
instead of nine thousand. Log-probabilities are computed at continuation tokens only: at every position of 16 texts of 500
tokens, with a vocabulary of 128,000, they would take 4 GB.
"""

import copy
import inspect
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import takewhile
from typing import Any

import torch
from transformers.tokenization_utils_base import PreTrainedTokenizerBase

from fine_tune_assets.engines.transformers_models import batched, require_context_fits

Node = tuple[int, ...]
"""The first tokens of an ending."""


def ending_log_probabilities(
    model: Any, tokenizer: PreTrainedTokenizerBase, context: str, endings: Sequence[str], max_nodes: int
) -> list[float]:
    """Sum of the log-probabilities (nats) of each ending's tokens after `context`, without the first tokens if all endings share
    them, because these add the same to each sum."""
    sequences = tokenizer([context + ending for ending in endings], add_special_tokens=False)["input_ids"]
    shared = _shared_length(sequences)
    tails = [tuple(sequence[shared:]) for sequence in sequences]
    values = _next_token_log_probabilities(model, sequences[0][:shared], _branches(tails), max_nodes)
    return [sum(values[tail[:at]][tail[at]] for at in range(len(tail))) for tail in tails]


def _shared_length(sequences: Sequence[Sequence[int]]) -> int:
    """Length of the common prefix, at most one token less than the shortest sequence."""
    common = takewhile(lambda tokens: len(set(tokens)) == 1, zip(*sequences, strict=False))
    return min(sum(1 for _ in common), min(map(len, sequences)) - 1)


def _branches(tails: Sequence[Node]) -> dict[Node, list[int]]:
    """Prefix of an ending → the tokens that can follow it."""
    found: dict[Node, set[int]] = {}
    for tail in tails:
        for at, token in enumerate(tail):
            found.setdefault(tail[:at], set()).add(token)
    return {node: sorted(tokens) for node, tokens in found.items()}


def _next_token_log_probabilities(
    model: Any, prefix: list[int], branches: dict[Node, list[int]], max_nodes: int
) -> dict[Node, dict[int, float]]:
    """Log-probability of each token that can follow a prefix."""
    with torch.inference_mode():
        first = model(input_ids=torch.tensor([prefix], device=model.device), use_cache=True)
        found: dict[Node, dict[int, float]] = {(): _select_log_probabilities(first.logits[0, -1], branches[()])}
        for nodes in batched(_leaf_nodes(branches), max_nodes):
            tree = sorted({node[:at] for node in nodes for at in range(1, len(node) + 1)})
            for node, logits in zip(tree, _node_logits(model, len(prefix), first.past_key_values, tree), strict=True):
                found[node] = _select_log_probabilities(logits, branches[node])
    return found


def _node_logits(model: Any, prefix_length: int, cache: Any, tree: Sequence[Node]) -> torch.Tensor:
    """Logits at the last token of each node: shape [nodes, vocabulary]. One row holds all nodes; each attends to the
    `prefix_length` cached tokens, to its ancestors and to itself. `tree` must contain the ancestors of its nodes."""
    position = {node: number for number, node in enumerate(tree)}
    mask = torch.full((len(tree), prefix_length + len(tree)), torch.finfo(model.dtype).min, dtype=model.dtype)
    mask[:, :prefix_length] = 0
    for node, number in position.items():
        mask[number, [prefix_length + position[node[:at]] for at in range(1, len(node) + 1)]] = 0
    return model(
        input_ids=torch.tensor([[node[-1] for node in tree]], device=model.device),
        attention_mask=mask[None, None].to(model.device),
        position_ids=torch.tensor([[prefix_length + len(node) - 1 for node in tree]], device=model.device),
        past_key_values=copy.deepcopy(cache),
        use_cache=True,
    ).logits[0]


def _select_log_probabilities(logits: torch.Tensor, tokens: Sequence[int]) -> dict[int, float]:
    values = torch.log_softmax(logits.float(), dim=-1)[torch.tensor(tokens, device=logits.device)]
    return dict(zip(tokens, values.tolist(), strict=True))


def _leaf_nodes(branches: dict[Node, list[int]]) -> list[Node]:
    """Prefixes that no other prefix extends, sorted by length."""
    inner = {node[:-1] for node in branches if node}
    return sorted((node for node in branches if node and node not in inner), key=lambda node: (len(node), node))


@dataclass(frozen=True)
class _Row:
    index: int
    """Index among all pairs."""
    tokens: list[int]
    start: int
    """Position of the continuation's first token."""


@dataclass(frozen=True)
class _PrefixGroup:
    """Rows that begin with the same tokens."""

    prefix: list[int]
    """Stops one token before the first continuation: the logits of that token are needed."""
    rows: tuple[_Row, ...]


def continuation_log_probabilities(
    model: Any, tokenizer: PreTrainedTokenizerBase, pairs: Sequence[tuple[str, str]], batch_size: int
) -> list[float]:
    """Sum of the log-probabilities (nats) of each continuation after its context, for (context, continuation) pairs. A context
    that pairs share is evaluated once. Raises ContextLengthError if a pair exceeds the model's context."""
    rows = [_tokenize_pair(tokenizer, index, *pair) for index, pair in enumerate(pairs)]
    require_context_fits(model, [len(row.tokens) for row in rows])
    by_context: dict[str, list[_Row]] = {}
    for (context, _), row in zip(pairs, rows, strict=True):
        by_context.setdefault(context, []).append(row)
    sums = [0.0] * len(rows)
    for batch in _batch_groups(map(_group_by_prefix, by_context.values()), batch_size):
        for row, value in _score_batch(model, tokenizer, batch):
            sums[row.index] = value
    return sums


def _tokenize_pair(tokenizer: PreTrainedTokenizerBase, index: int, context: str, continuation: str) -> _Row:
    context_tokens = tokenizer(context, add_special_tokens=False)["input_ids"]
    tokens = tokenizer(context + continuation, add_special_tokens=False)["input_ids"]
    return _Row(index, tokens, max(1, min(len(context_tokens), len(tokens) - 1)))


def _group_by_prefix(rows: Sequence[_Row]) -> _PrefixGroup:
    common = takewhile(lambda tokens: len(set(tokens)) == 1, zip(*(row.tokens for row in rows), strict=False))
    shared = [tokens[0] for tokens in common]
    return _PrefixGroup(shared[: max(0, min(row.start for row in rows) - 1)], tuple(rows))


def _batch_groups(groups: Iterable[_PrefixGroup], size: int) -> Iterator[list[_PrefixGroup]]:
    """Batches of similar length, to limit padding. Groups without a shared prefix get separate batches."""
    batch: list[_PrefixGroup] = []
    for group in sorted(groups, key=lambda f: (len(f.prefix), max(len(row.tokens) for row in f.rows), f.rows[0].index)):
        is_full = sum(len(f.rows) for f in (*batch, group)) > size
        if batch and (is_full or bool(batch[-1].prefix) != bool(group.prefix)):
            yield batch
            batch = []
        batch.append(group)
    if batch:
        yield batch


def _score_batch(
    model: Any, tokenizer: PreTrainedTokenizerBase, groups: Sequence[_PrefixGroup]
) -> list[tuple[_Row, float]]:
    suffixes = [(row, row.tokens[len(group.prefix) :], len(group.prefix)) for group in groups for row in group.rows]
    prefill = {} if not groups[0].prefix else _prefill(model, tokenizer, groups)
    batch = tokenizer.pad(
        {"input_ids": [suffix for _, suffix, _ in suffixes]}, return_tensors="pt", padding_side="right"
    )
    batch = batch.to(model.device)
    offsets = torch.tensor([[shared] for _, _, shared in suffixes], device=model.device)
    positions = offsets + torch.arange(batch["input_ids"].shape[1], device=model.device)
    if prefill:
        prefill["attention_mask"] = torch.cat([prefill["attention_mask"], batch["attention_mask"]], dim=1)
    with torch.inference_mode():
        logits = model(**{**batch, **prefill}, position_ids=positions, use_cache=bool(prefill)).logits
    scored = []
    for number, (row, suffix, shared) in enumerate(suffixes):
        first = row.start - shared
        scores = torch.log_softmax(logits[number, first - 1 : len(suffix) - 1].float(), dim=-1)
        chosen = torch.tensor(suffix[first:], device=scores.device)
        scored.append((row, float(scores.gather(1, chosen[:, None]).sum())))
    return scored


def _prefill(model: Any, tokenizer: PreTrainedTokenizerBase, groups: Sequence[_PrefixGroup]) -> dict[str, Any]:
    """The KV cache of each group's prefix, repeated for each of its rows, and the attention mask of the padded prefixes."""
    batch = tokenizer.pad({"input_ids": [f.prefix for f in groups]}, return_tensors="pt", padding_side="left")
    batch = batch.to(model.device)
    mask = batch["attention_mask"]
    positions = (mask.cumsum(1) - 1).clamp(min=0)
    options = {"logits_to_keep": 1} if _has_logits_to_keep(model) else {}
    with torch.inference_mode():
        cache = model(**batch, position_ids=positions, use_cache=True, **options).past_key_values
    group_of_row = torch.tensor([i for i, group in enumerate(groups) for _ in group.rows], device=model.device)
    cache.batch_select_indices(group_of_row)
    return {"past_key_values": cache, "attention_mask": mask[group_of_row]}


def _has_logits_to_keep(model: Any) -> bool:
    base = model.get_base_model() if hasattr(model, "get_base_model") else model
    return "logits_to_keep" in inspect.signature(base.forward).parameters
