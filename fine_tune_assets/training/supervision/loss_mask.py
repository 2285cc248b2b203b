"""Which tokens of a conversation the model learns: the assistant's words and the stop token behind them, nothing else.

Owns turning conversations into token ids and labels, and the proof that a training prompt and an inference prompt are the same
tokens. Where a training template marks the assistant's words, every turn is learned; else the last one, found by rendering the
prompt alone. For the last turn both ways have to agree.
"""

from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from fine_tune_assets.core.errors import GateClosedError, ModelFolderError
from fine_tune_assets.core.prompts.chat import Message, control_tokens, plain_messages, render
from fine_tune_assets.core.prompts.prompt_contract import PromptContractError
from fine_tune_assets.training.supervision.training_templates import TrainingTemplate, training_template

IGNORED = -100
"""Label of a token that has no part in the loss, as in PyTorch's cross entropy."""
NAMED_AT_MOST = 20
"""Ids in an error message; all of them are in the table of lengths."""


class TooLongError(GateClosedError):
    """Examples are longer than the recipe's max_length, and the recipe does not say to leave them out."""


@dataclass(frozen=True)
class SupervisedRow:
    example_id: str
    input_ids: list[int]
    labels: list[int]
    turns: int = 1
    """Of the assistant."""
    learned_turns: int = 1
    """Of these, those that would be asked with the prompt that stands before them here."""

    @property
    def supervised(self) -> int:
        return sum(label != IGNORED for label in self.labels)


def supervise(
    tokenizer: Any, example_id: str, messages: Sequence[Message], stop_ids: Collection[int] | None = None
) -> SupervisedRow:
    """Tokens and labels of one conversation. Raises PromptContractError with the example's id.

    `tokenizer` is the trainer's or a FolderTokenizer. `stop_ids` are the contract's; without them, its end-of-text token.
    """
    from jinja2 import TemplateError

    stops = frozenset(stop_ids or (tokenizer.eos_token_id,))
    try:
        return _supervised(tokenizer, example_id, messages, stops)
    except _Broken as broken:
        reason = str(broken)
    except (ModelFolderError, TemplateError):  # what the template says may quote the conversation
        reason = "the chat template refuses the conversation."
    raise PromptContractError(f"Example {example_id}: {reason}", reason)


class _Broken(Exception):
    """What is wrong with a conversation, without its id."""


def _supervised(tokenizer: Any, example_id: str, messages: Sequence[Message], stops: frozenset[int]) -> SupervisedRow:
    turns = [number for number, message in enumerate(messages) if message["role"] == "assistant"]
    if not turns or turns[-1] != len(messages) - 1:
        raise _Broken("the conversation does not end with an answer.")
    if any(stops.intersection(_ids(tokenizer, messages[turn]["content"])) for turn in turns):
        raise _Broken("a stop token stands within an answer, which would teach to stop there.")
    messages = plain_messages(messages, control_tokens(tokenizer.added_tokens_decoder, tokenizer.chat_template))
    template = training_template(tokenizer.chat_template, tokenizer.special_tokens_map)
    prompt, whole = render(tokenizer, messages[:-1], True), render(tokenizer, messages, False)
    if template is None:
        ids, spans = _by_prompt(tokenizer, prompt, whole, stops)
    else:
        ids, spans = _by_marks(tokenizer, template, messages, turns, stops)
        _require_agreement(tokenizer, template, prompt, whole, stops, (ids, spans[-1]))
    ids = ids[: spans[-1][1]]
    labels = [IGNORED] * len(ids)
    for start, end in spans:
        labels[start:end] = ids[start:end]
    return SupervisedRow(example_id, ids, labels, len(turns), len(spans))


Turn = tuple[int, int]
"""First token of an answer, and the one behind its stop token."""


def _by_prompt(tokenizer: Any, prompt: str, whole: str, stops: frozenset[int]) -> tuple[list[int], list[Turn]]:
    """The last turn: it begins where the prompt ends."""
    if not whole.startswith(prompt):
        raise _Broken("the chat template renders the prompt differently with an answer.")
    ids = _ids(tokenizer, whole)
    return ids, [_to_stop(ids, _length_of_prefix(tokenizer, ids, prompt), len(ids), stops)]


def _by_marks(
    tokenizer: Any, template: TrainingTemplate, messages: Sequence[Message], turns: Sequence[int], stops: frozenset[int]
) -> tuple[list[int], list[Turn]]:
    """Every turn that the template marks, and that would be asked with exactly what stands before it."""
    marked = template.template.render(messages, False)
    if len(marked.marked) != len(turns):
        raise _Broken(f"the training template marks {len(marked.marked)} of {len(turns)} answers.")
    ids, spans = _ids(tokenizer, marked.text), []
    for turn, (first, last) in zip(turns, marked.marked, strict=True):
        if marked.text[:first] == render(tokenizer, messages[:turn], True):
            start, end = (_length_of_prefix(tokenizer, ids, marked.text[:place]) for place in (first, last))
            spans.append(_to_stop(ids, start, end, stops))
        elif turn == turns[-1]:
            raise _Broken("the training template renders another prompt than the model's own.")
    return ids, spans


def _require_agreement(
    tokenizer: Any,
    template: TrainingTemplate,
    prompt: str,
    whole: str,
    stops: frozenset[int],
    found: tuple[list[int], Turn],
) -> None:
    """Where the model's own template keeps the prompt as it is, the way without marks has to find the same last turn."""
    if not whole.startswith(prompt):
        return
    ids, (turn,) = _by_prompt(tokenizer, prompt, whole, stops)
    if (ids, turn) != found:
        raise _Broken(f"the training template ({template.name}) and the model's own one do not give the same tokens.")


def _to_stop(ids: Sequence[int], start: int, end: int, stops: frozenset[int]) -> Turn:
    found = next((place for place in range(start, end) if ids[place] in stops), None)
    if found is None:
        raise _Broken("the answer has no stop token behind it.")
    return start, found + 1


def _length_of_prefix(tokenizer: Any, ids: Sequence[int], text: str) -> int:
    """Tokens of the text's beginning. No token may lie across the place where it ends."""
    prefix = _ids(tokenizer, text)
    if list(ids[: len(prefix)]) != prefix:
        raise _Broken("prompt and answer share a token, so inference would differ. Does the answer begin with a space?")
    return len(prefix)


def _ids(tokenizer: Any, text: str) -> list[int]:
    return list(tokenizer(text, add_special_tokens=False)["input_ids"])


@dataclass(frozen=True)
class SupervisedRows:
    kept: tuple[SupervisedRow, ...]
    too_long: tuple[str, ...]
    """Ids of examples that are longer than the limit: left out whole, since a cut answer teaches to stop anywhere."""


def supervise_all(
    tokenizer: Any,
    examples: Iterable[tuple[str, Sequence[Message]]],
    max_length: int,
    stop_ids: Collection[int] | None = None,
) -> SupervisedRows:
    """Every example is kept whole or named in `too_long`."""
    rows = [supervise(tokenizer, example_id, messages, stop_ids) for example_id, messages in examples]
    return SupervisedRows(
        kept=tuple(row for row in rows if len(row.input_ids) <= max_length),
        too_long=tuple(row.example_id for row in rows if len(row.input_ids) > max_length),
    )


def require_rows_fit(too_long: Sequence[str], rule: str, max_length: int) -> None:
    """Rows in = rows trained, unless the recipe's owner wrote down that long ones are left out. Raises TooLongError."""
    if not too_long or rule == "leave_out":
        return
    more = f" and {len(too_long) - NAMED_AT_MOST} more" if len(too_long) > NAMED_AT_MOST else ""
    raise TooLongError(
        f"{len(too_long)} examples are longer than training.max_length ({max_length} tokens): "
        f"{', '.join(too_long[:NAMED_AT_MOST])}{more}. Raise max_length, shorten or reject them, or set "
        "training.too_long: leave_out in the recipe."
    )
