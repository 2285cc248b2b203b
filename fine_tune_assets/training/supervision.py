"""Which tokens of a conversation the model learns: the assistant's last turn and its stop token, nothing else.

Owns turning conversations into token ids and labels, and the proof that a training prompt and an inference prompt are
the same tokens. Works with any chat template: the boundary comes from rendering, not from marks in the template.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from fine_tune_assets.core.chat import Message, render
from fine_tune_assets.core.errors import FineTuneError

IGNORED = -100
"""Label of a token that has no part in the loss, as in PyTorch's cross entropy."""


class PromptContractError(FineTuneError):
    """Training and inference would not see the same prompt."""


@dataclass(frozen=True)
class SupervisedRow:
    example_id: str
    input_ids: list[int]
    labels: list[int]

    @property
    def supervised(self) -> int:
        return sum(label != IGNORED for label in self.labels)


def supervise(tokenizer: Any, example_id: str, messages: Sequence[Message]) -> SupervisedRow:
    """Tokens and labels of one conversation. Raises PromptContractError with the example's id."""
    prompt = render(tokenizer, messages[:-1], add_generation_prompt=True)
    whole = render(tokenizer, messages, add_generation_prompt=False)
    if not whole.startswith(prompt):
        raise PromptContractError(
            f"Example {example_id}: the chat template renders the prompt differently with an answer."
        )
    prompt_ids = tokenizer(prompt, add_special_tokens=False)["input_ids"]
    ids = tokenizer(whole, add_special_tokens=False)["input_ids"]
    if ids[: len(prompt_ids)] != prompt_ids:
        raise PromptContractError(f"Example {example_id}: prompt and answer share a token, so inference would differ.")
    stop = _last_index(ids, tokenizer.eos_token_id)
    if stop < len(prompt_ids):
        raise PromptContractError(f"Example {example_id}: the answer has no stop token {tokenizer.eos_token}.")
    ids = ids[: stop + 1]
    return SupervisedRow(example_id, ids, [IGNORED] * len(prompt_ids) + ids[len(prompt_ids) :])


def _last_index(items: list[int], wanted: int) -> int:
    return len(items) - 1 - items[::-1].index(wanted) if wanted in items else -1


@dataclass(frozen=True)
class SupervisedRows:
    kept: tuple[SupervisedRow, ...]
    too_long: tuple[str, ...]
    """Ids of examples that are longer than the limit: left out whole, since a cut answer teaches to stop anywhere."""


def supervise_all(tokenizer: Any, examples: Iterable[tuple[str, Sequence[Message]]], max_length: int) -> SupervisedRows:
    """Every example is kept whole or named in `too_long`."""
    rows = [supervise(tokenizer, example_id, messages) for example_id, messages in examples]
    return SupervisedRows(
        kept=tuple(row for row in rows if len(row.input_ids) <= max_length),
        too_long=tuple(row.example_id for row in rows if len(row.input_ids) > max_length),
    )
