"""Builds token ids and labels from conversations: only the assistant's answers and their stop tokens are supervised.

The served template alone decides: an answer begins where its inference prompt ends, and ends with the first stop token. The last
answer must follow its prompt token for token and decode to the approved text. Earlier answers are supervised if they do, too.
"""

from collections.abc import Collection, Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any
from unicodedata import normalize

from fine_tune_assets.core.errors import GateClosedError, ModelFolderError
from fine_tune_assets.core.prompts.conversations import Message, escape_messages, find_control_tokens, render
from fine_tune_assets.core.prompts.prompt_contract import PromptContractError

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
    conversation = _render_answered(tokenizer, messages)
    ids = _token_ids(tokenizer, conversation)
    spans = [_find_answer(tokenizer, ids, conversation, messages, stops)]
    for turn in turns[:-1]:
        with suppress(_ConversationError):
            spans.append(_find_answer(tokenizer, ids, conversation, messages[: turn + 1], stops))
    ids = ids[: spans[0][1]]
    labels = [IGNORE_INDEX] * len(ids)
    for start, end in spans:
        labels[start:end] = ids[start:end]
    return SupervisedRow(example_id, ids, labels, len(turns), len(spans))


def _render_answered(tokenizer: Any, messages: Sequence[Message]) -> str:
    """The last prompt and its answer."""
    prompt, conversation = _render_turn(tokenizer, messages)
    if conversation.startswith(prompt):
        return conversation
    # Mistral's templates write the system prompt before the last question only, and omit it once an answer follows.
    bare_prompt, bare_conversation = _render_turn(tokenizer, [m for m in messages if m["role"] != "system"])
    if not bare_conversation.startswith(bare_prompt):
        raise _ConversationError("the chat template renders the prompt differently when an answer follows.")
    return prompt + bare_conversation[len(bare_prompt) :]


def _render_turn(tokenizer: Any, messages: Sequence[Message]) -> tuple[str, str]:
    return render(tokenizer, messages[:-1], True), render(tokenizer, messages, False)


def _find_answer(
    tokenizer: Any, ids: Sequence[int], conversation: str, messages: Sequence[Message], stops: frozenset[int]
) -> tuple[int, int]:
    """Positions of the first token of the last message, and of the token after its stop token."""
    prompt = render(tokenizer, messages[:-1], True)
    if not conversation.startswith(prompt):
        raise _ConversationError("the chat template renders the prompt differently when an answer follows.")
    start = _prefix_length(tokenizer, ids, prompt)
    end = next((position for position in range(start, len(ids)) if ids[position] in stops), None)
    if end is None:
        raise _ConversationError("no stop token follows the answer.")
    _require_approved_text(tokenizer, ids[start:end], messages[-1]["content"])
    return start, end + 1


def _require_approved_text(tokenizer: Any, ids: Sequence[int], approved: str) -> None:
    """The supervised tokens, without the stop token, are the approved text; some tokenizers compose its characters."""
    text = tokenizer.decode(list(ids), skip_special_tokens=False, clean_up_tokenization_spaces=False)
    if normalize("NFC", text.strip()) != normalize("NFC", approved.strip()):
        raise _ConversationError("the tokens after the prompt give another text than the approved answer.")


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
