"""How likely a model finds each of several continuations of a text.

What the continuations of one text share is read once: a thousand numbers of which only the last three digits differ cost 110
tokens instead of nine thousand. The vocabulary is scored only where they stand: scores at every place of 16 texts of 500 tokens
would be 4 GB with 128,000 words.
"""

import copy
import inspect
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import takewhile
from typing import Any

import torch
from transformers.tokenization_utils_base import PreTrainedTokenizerBase

from fine_tune_assets.engines.transformers_models import batches, require_fits

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
