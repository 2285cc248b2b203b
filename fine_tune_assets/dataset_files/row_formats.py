"""The formats of rows, in one registry: which columns a format has, and how a row becomes a conversation.

Column names follow TRL's docs/source/dataset_formats.md, LLaMA-Factory's data/README.md and OpenAI's chat format.
"""

import json
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypedDict

from fine_tune_assets.core.prompts.conversations import split_user_content, user_content
from fine_tune_assets.dataset_files.dataset_rows import (
    Conversation,
    PreferencePair,
    Refusal,
    RowRefusedError,
    TextOrTurns,
    Turn,
)

Row = Mapping[str, Any]
MAX_KIND_CHARACTERS = 100
"""A longer category is a text, and is ignored."""
_ROLES = {
    **dict.fromkeys(("system", "developer"), "system"),
    **dict.fromkeys(("user", "human"), "user"),
    **dict.fromkeys(("assistant", "gpt", "chatgpt", "bing", "bard", "model"), "assistant"),
}
_TOOL_ROLES = {
    "tool", "tool_call", "tool_response", "function", "function_call", "function_response", "observation", "ipython",
}  # fmt: skip
_TOOL_KEYS = ("tool_calls", "function_call", "tool_call_id", "tools", "functions")
_MEDIA_KEYS = ("image", "images", "audio", "audios", "video", "videos")
_TEXT_PARTS = {"text", "input_text", "output_text"}
_ALPACA_INSTRUCTION, _ALPACA_INPUT, _ALPACA_RESPONSE = "### Instruction:\n", "\n\n### Input:\n", "\n\n### Response:"
_JSON_MESSAGES = re.compile(r'\s*\[\s*\{\s*"(?:role|content|from|value)"')
_HH_DIALOGUE = re.compile(r"\s*Human:.*?\n\nAssistant:", re.DOTALL)


@dataclass(frozen=True)
class RowFormat:
    columns: tuple[str, ...]
    """Required; a row that has them fits."""
    parse: Callable[[Row], Iterator[Conversation | PreferencePair]]
    """Raises RowRefusedError."""
    is_match: Callable[[Row], bool] = lambda _row: True
    """Whether a row with these columns fits."""

    def fits(self, row: Row) -> bool:
        return all(row.get(name) is not None for name in self.columns) and self.is_match(row)


def parse_row(name: str, row: Row) -> list[Conversation | PreferencePair]:
    """What a row of the format contains. Raises RowRefusedError."""
    if _has_any(row, _TOOL_KEYS):
        raise RowRefusedError(Refusal.TOOL_CALL)
    if _has_any(row, _MEDIA_KEYS):
        raise RowRefusedError(Refusal.MEDIA)
    if any(row.get(column) is None for column in FORMATS[name].columns):
        raise RowRefusedError(Refusal.MISSING_COLUMN)
    return list(FORMATS[name].parse(row))


def _has_any(row: Row, keys: Iterable[str]) -> bool:
    return any(row.get(key) and row[key] not in ("[]", "{}") for key in keys)


def _alpaca(row: Row) -> Iterator[Conversation]:
    history = [turn for pair in _items(row.get("history")) for turn in _pair(pair)]
    yield Conversation(
        _text(row["instruction"]), _optional_text(row.get("input")), _text(row["output"]), tuple(history), **_facts(row)
    )


def _pair(pair: Any) -> Iterator[Turn]:
    question, answer = _items(pair, length=2)
    yield Turn("user", _text(question))
    yield Turn("assistant", _text(answer))


def _messages(row: Row, column: str = "messages") -> Iterator[Conversation]:
    yield _conversation([_turn(item) for item in _items(row[column])], row)


def _sharegpt(row: Row) -> Iterator[Conversation]:
    return _messages(row, "conversations")


def _prompt_completion(row: Row) -> Iterator[Conversation]:
    turns = [*_prompt_turns(row["prompt"], "user"), *_prompt_turns(row["completion"], "assistant")]
    yield _conversation(turns, row)


def _preferences(row: Row) -> Iterator[PreferencePair]:
    has_prompt = row.get("prompt") is not None
    prompt = _text_or_turns(row["prompt"], "user") if has_prompt else None
    for answer in (row["chosen"], row["rejected"]):
        turns = _prompt_turns(answer, "assistant")
        if not turns or turns[-1].role != "assistant":
            raise RowRefusedError(Refusal.TURN_ORDER)
        if not has_prompt and len(turns) == 1 and not _HH_DIALOGUE.match(turns[0].content):
            raise RowRefusedError(Refusal.MISSING_COLUMN)
    chosen, rejected = (_text_or_turns(row[name], "assistant") for name in ("chosen", "rejected"))
    yield PreferencePair(chosen, rejected, prompt)


def _dolly_hhrlhf(row: Row) -> Iterator[Conversation]:
    """Mosaic's dolly_hhrlhf: `prompt` wraps the instruction in the Alpaca template."""
    _, opening, rest = _text(row["prompt"]).rstrip().partition(_ALPACA_INSTRUCTION)
    if not opening or not rest.endswith(_ALPACA_RESPONSE):
        raise RowRefusedError(Refusal.NO_TEMPLATE)
    instruction, _, given = rest.removesuffix(_ALPACA_RESPONSE).partition(_ALPACA_INPUT)
    yield Conversation(_text(instruction), _optional_text(given), _text(row["response"]), **_facts(row))


def _self_instruct(row: Row) -> Iterator[Conversation]:
    """Self-Instruct's seed tasks. Their `name` is unique per task and thus not a kind."""
    is_classification = row.get("is_classification")
    kind = None if is_classification is None else "classification" if is_classification else "generation"
    for instance in _items(row["instances"]):
        if not isinstance(instance, Mapping):
            raise RowRefusedError(Refusal.WRONG_TYPE)
        yield Conversation(
            _text(row["instruction"]), _optional_text(instance.get("input")), _text(instance.get("output")), kind=kind
        )


FORMATS: dict[str, RowFormat] = {
    "alpaca": RowFormat(("instruction", "output"), _alpaca),
    "messages": RowFormat(("messages",), _messages),
    "sharegpt": RowFormat(("conversations",), _sharegpt),
    "preferences": RowFormat(("chosen", "rejected"), _preferences),
    "prompt_completion": RowFormat(("prompt", "completion"), _prompt_completion),
    "dolly_hhrlhf": RowFormat(
        ("prompt", "response"), _dolly_hhrlhf, lambda row: "### Instruction:\n" in str(row["prompt"])
    ),
    "self_instruct": RowFormat(("instruction", "instances"), _self_instruct),
}
COLUMNS = sorted(
    {name for one in FORMATS.values() for name in one.columns} | {"input", "history", "system", "kind", "category"}
)
"""Columns that a mapping can name."""


def _conversation(turns: Sequence[Turn], row: Row) -> Conversation:
    facts = _facts(row)
    if turns and turns[0].role == "system":
        facts["system"] = turns[0].content or None
        turns = turns[1:]
    roles = [turn.role for turn in turns]
    if not turns or roles != ["user", "assistant"] * (len(turns) // 2):
        raise RowRefusedError(Refusal.TURN_ORDER)
    *history, question, answer = turns
    return Conversation(
        *split_question(question.content, row.get("instruction")), answer.content, tuple(history), **facts
    )


def split_question(content: str, instruction: Any = None) -> tuple[str, str]:
    """Instruction and input of a user's turn; `instruction` is a hint for instructions of several paragraphs."""
    if instruction and isinstance(instruction, str) and content.startswith(instruction):
        input_text = content[len(instruction) :].removeprefix("\n\n")
        if user_content(instruction, input_text) == content:
            return instruction, input_text
    return split_user_content(content)


def _turn(item: Any) -> Turn:
    if not isinstance(item, Mapping):
        raise RowRefusedError(Refusal.WRONG_TYPE)
    role = item.get("role") or item.get("from")
    if not isinstance(role, str):
        raise RowRefusedError(Refusal.WRONG_TYPE)
    role = role.strip().casefold()
    if role in _TOOL_ROLES or _has_any(item, _TOOL_KEYS):
        raise RowRefusedError(Refusal.TOOL_CALL)
    if role not in _ROLES:
        raise RowRefusedError(Refusal.UNKNOWN_ROLE)
    content = item.get("content") if item.get("content") is not None else item.get("value")
    if isinstance(content, Sequence) and not isinstance(content, str):
        content = "\n".join(map(_part, content))
    read = _optional_text if _ROLES[role] == "system" else _text
    return Turn(_ROLES[role], read(content))


def _part(part: Any) -> str:
    """The text of one part of a multimodal turn."""
    if not isinstance(part, Mapping):
        raise RowRefusedError(Refusal.WRONG_TYPE)
    if part.get("type") not in _TEXT_PARTS:
        raise RowRefusedError(Refusal.MEDIA)
    return _text(part.get("text"))


def _prompt_turns(value: Any, role: str) -> list[Turn]:
    """Turns of a column that holds a text or a list of messages."""
    if isinstance(value, str) and not _JSON_MESSAGES.match(value):
        return [Turn(role, _text(value))]
    return [_turn(item) for item in _items(value)]


def _text_or_turns(value: Any, role: str) -> TextOrTurns:
    turns = _prompt_turns(value, role)
    return turns[0].content if len(turns) == 1 and turns[0].role == role else tuple(turns)


def _items(value: Any, length: int | None = None) -> list[Any]:
    """A list; CSV holds lists as JSON text."""
    if isinstance(value, str) and value:
        try:
            value = json.loads(value)
        except (ValueError, RecursionError):
            raise RowRefusedError(Refusal.WRONG_TYPE) from None
    items = [] if value is None or value == "" else value
    if not isinstance(items, list | tuple) or (length is not None and len(items) != length):
        raise RowRefusedError(Refusal.WRONG_TYPE)
    return list(items)


def _text(value: Any) -> str:
    text = _optional_text(value)
    if not text.strip():
        raise RowRefusedError(Refusal.EMPTY)
    return text


def _optional_text(value: Any) -> str:
    if value is None:
        return ""
    if not isinstance(value, str):
        raise RowRefusedError(Refusal.WRONG_TYPE)
    if "\0" in value:
        raise RowRefusedError(Refusal.NUL)
    if not value.isascii() and not _is_encodable(value):
        raise RowRefusedError(Refusal.SURROGATE)
    return value


def _is_encodable(text: str) -> bool:
    try:
        text.encode("utf-8")
    except UnicodeEncodeError:
        return False
    return True


class _Facts(TypedDict):
    system: str | None
    kind: str | None


def _facts(row: Row) -> _Facts:
    kind = row.get("kind") or row.get("category")
    is_label = isinstance(kind, str) and len(kind) <= MAX_KIND_CHARACTERS
    return {
        "system": _optional_text(row.get("system")) or None,
        "kind": _optional_text(kind).strip() or None if is_label else None,
    }
