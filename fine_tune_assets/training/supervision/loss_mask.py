"""Builds token ids and labels from conversations: only the assistant's answers and their stop tokens are supervised.

Verifies that training and inference prompts have the same tokens. If a training template marks the assistant's answers, every
turn is supervised; otherwise only the last one, which begins where the rendered prompt ends. Both methods must find the same last
turn.
"""

from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from fine_tune_assets.core.errors import GateClosedError, ModelFolderError
from fine_tune_assets.core.prompts.conversations import Message, escape_messages, find_control_tokens, render
from fine_tune_assets.core.prompts.prompt_contract import PromptContractError
from fine_tune_assets.training.supervision.training_templates import TrainingTemplate, find_training_template

IGNORE_INDEX = -100
"""Label of a token outside the loss, as in PyTorch's cross entropy."""
MAX_LISTED_IDS = 20
"""Maximum number of ids in an error message; the table of lengths has all of them."""


class TooLongError(GateClosedError):
    """Examples exceed the recipe's max_length, and the recipe does not exclude them."""


@dataclass(frozen=True)
class SupervisedRow:
    example_id: str
    input_ids: list[int]
    labels: list[int]
    turns: int = 1
    """Number of the assistant's turns."""
    supervised_turns: int = 1
    """Turns whose preceding text is exactly the inference prompt."""

    @property
    def supervised_tokens(self) -> int:
        return sum(label != IGNORE_INDEX for label in self.labels)


def supervise(
    tokenizer: Any, example_id: str, messages: Sequence[Message], stop_ids: Collection[int] | None = None
) -> SupervisedRow:
    """Tokens and labels of one conversation. Raises PromptContractError with the example's id.

    `tokenizer` is the trainer's or a FolderTokenizer. `stop_ids` come from the prompt contract; default: the EOS token.
    """
    from jinja2 import TemplateError

    stops = frozenset(stop_ids or (tokenizer.eos_token_id,))
    try:
        return _build_row(tokenizer, example_id, messages, stops)
    except _ConversationError as error:
        reason = str(error)
    except (ModelFolderError, TemplateError):  # the template's message may quote the conversation
        reason = "the chat template cannot render the conversation."
    raise PromptContractError(f"Example {example_id}: {reason}", reason)


class _ConversationError(Exception):
    """What is wrong with a conversation, without its id."""


def _build_row(tokenizer: Any, example_id: str, messages: Sequence[Message], stops: frozenset[int]) -> SupervisedRow:
    turns = [number for number, message in enumerate(messages) if message["role"] == "assistant"]
    if not turns or turns[-1] != len(messages) - 1:
        raise _ConversationError("the conversation does not end with an answer.")
    if any(stops.intersection(_token_ids(tokenizer, messages[turn]["content"])) for turn in turns):
        raise _ConversationError("an answer contains a stop token, so the model would learn to stop early.")
    messages = escape_messages(messages, find_control_tokens(tokenizer.added_tokens_decoder, tokenizer.chat_template))
    template = find_training_template(tokenizer.chat_template, tokenizer.special_tokens_map)
    prompt, conversation = render(tokenizer, messages[:-1], True), render(tokenizer, messages, False)
    if template is None:
        ids, spans = _last_turn(tokenizer, prompt, conversation, stops)
    else:
        ids, spans = _marked_turns(tokenizer, template, messages, turns, stops)
        _require_agreement(tokenizer, template, prompt, conversation, stops, (ids, spans[-1]))
    ids = ids[: spans[-1][1]]
    labels = [IGNORE_INDEX] * len(ids)
    for start, end in spans:
        labels[start:end] = ids[start:end]
    return SupervisedRow(example_id, ids, labels, len(turns), len(spans))


Turn = tuple[int, int]
"""Positions of an answer's first token, and of the token after its stop token."""


def _last_turn(tokenizer: Any, prompt: str, conversation: str, stops: frozenset[int]) -> tuple[list[int], list[Turn]]:
    """Tokens of the conversation, and its last turn, which begins where the prompt ends."""
    if not conversation.startswith(prompt):
        raise _ConversationError("the chat template renders the prompt differently when an answer follows.")
    ids = _token_ids(tokenizer, conversation)
    return ids, [_end_at_stop(ids, _prefix_length(tokenizer, ids, prompt), len(ids), stops)]


def _marked_turns(
    tokenizer: Any, template: TrainingTemplate, messages: Sequence[Message], turns: Sequence[int], stops: frozenset[int]
) -> tuple[list[int], list[Turn]]:
    """Every marked turn whose preceding text is exactly its inference prompt."""
    marked = template.template.render(messages, False)
    if len(marked.assistant_spans) != len(turns):
        raise _ConversationError(f"the training template marks {len(marked.assistant_spans)} of {len(turns)} answers.")
    ids, spans = _token_ids(tokenizer, marked.text), []
    for turn, (first, last) in zip(turns, marked.assistant_spans, strict=True):
        if marked.text[:first] == render(tokenizer, messages[:turn], True):
            start, end = (_prefix_length(tokenizer, ids, marked.text[:offset]) for offset in (first, last))
            spans.append(_end_at_stop(ids, start, end, stops))
        elif turn == turns[-1]:
            raise _ConversationError("the training template and the model's template render different prompts.")
    return ids, spans


def _require_agreement(
    tokenizer: Any,
    template: TrainingTemplate,
    prompt: str,
    conversation: str,
    stops: frozenset[int],
    found: tuple[list[int], Turn],
) -> None:
    """If the model's template keeps the prompt when an answer follows, both methods must find the same last turn."""
    if not conversation.startswith(prompt):
        return
    ids, (turn,) = _last_turn(tokenizer, prompt, conversation, stops)
    if (ids, turn) != found:
        raise _ConversationError(
            f"the training template ({template.name}) and the model's template give different tokens."
        )


def _end_at_stop(ids: Sequence[int], start: int, end: int, stops: frozenset[int]) -> Turn:
    found = next((position for position in range(start, end) if ids[position] in stops), None)
    if found is None:
        raise _ConversationError("no stop token follows the answer.")
    return start, found + 1


def _prefix_length(tokenizer: Any, ids: Sequence[int], text: str) -> int:
    """Number of tokens in `text`, a prefix of the conversation. Raises if a token crosses its end."""
    prefix = _token_ids(tokenizer, text)
    if list(ids[: len(prefix)]) != prefix:
        raise _ConversationError(
            "prompt and answer share a token, so inference would differ from training. Does the answer begin with a space?"
        )
    return len(prefix)


def _token_ids(tokenizer: Any, text: str) -> list[int]:
    return list(tokenizer(text, add_special_tokens=False)["input_ids"])


@dataclass(frozen=True)
class SupervisedRows:
    fitting: tuple[SupervisedRow, ...]
    too_long: tuple[str, ...]
    """Ids of examples longer than the limit. They are excluded entirely, because a truncated answer teaches to stop anywhere."""


def supervise_rows(
    tokenizer: Any,
    examples: Iterable[tuple[str, Sequence[Message]]],
    max_length: int,
    stop_ids: Collection[int] | None = None,
) -> SupervisedRows:
    """Each example is either kept in full or listed in `too_long`."""
    rows = [supervise(tokenizer, example_id, messages, stop_ids) for example_id, messages in examples]
    return SupervisedRows(
        fitting=tuple(row for row in rows if len(row.input_ids) <= max_length),
        too_long=tuple(row.example_id for row in rows if len(row.input_ids) > max_length),
    )


def require_rows_fit(too_long: Sequence[str], rule: str, max_length: int) -> None:
    """Raise TooLongError if examples are too long and the recipe's rule does not exclude them."""
    if not too_long or rule == "exclude":
        return
    more = f" and {len(too_long) - MAX_LISTED_IDS} more" if len(too_long) > MAX_LISTED_IDS else ""
    raise TooLongError(
        f"{len(too_long)} examples are longer than training.max_length ({max_length} tokens): "
        f"{', '.join(too_long[:MAX_LISTED_IDS])}{more}. Raise max_length, shorten or reject them, or set "
        "training.overlong_examples: exclude in the recipe."
    )
