"""The prompt contract: system prompt, chat template, special tokens and stop tokens in one record with one fingerprint.

It is read from a model's folder without the training library, and stored in a release as `prompt.json`. Training, merging, export
and release compare its fingerprint.
"""

import json
from dataclasses import asdict, dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from fine_tune_assets.core.errors import FineTuneError, ModelFolderError
from fine_tune_assets.core.fingerprints import fingerprint_json
from fine_tune_assets.core.prompts.chat_templates import ChatTemplate, read_chat_template
from fine_tune_assets.core.prompts.conversations import build_conversation, find_control_tokens
from fine_tune_assets.core.prompts.tokenizers import FolderTokenizer

_ANSWER = "Yes"
_SAMPLE_DATES = (datetime(2001, 2, 3), datetime(2022, 11, 30))


class PromptContractError(FineTuneError):
    """Prompt or stop token would differ between training and inference."""

    def __init__(self, message: str, reason: str | None = None) -> None:
        super().__init__(message)
        self.reason = reason or message
        """The message without the example's id."""


@dataclass(frozen=True)
class SpecialToken:
    name: str
    """Name in templates, such as `bos_token`."""
    text: str
    token_id: int


@dataclass(frozen=True)
class PromptContract:
    system_prompt: str
    chat_template: str
    special_tokens: tuple[SpecialToken, ...]
    stop_ids: tuple[int, ...]
    """Tokens at which an engine stops: the tokenizer's end of text, and those in generation_config.json."""
    turn_end_id: int
    """The stop token that the template writes after an answer, and that the model learns to end with."""
    control_tokens: tuple[str, ...] = ()
    """Tokens that are escaped in messages (see core/prompts/conversations.py)."""

    @property
    def fingerprint(self) -> str:
        return fingerprint_json(asdict(self))

    def as_json(self) -> str:
        return json.dumps(asdict(self), indent=2, sort_keys=True, ensure_ascii=False)


def parse_prompt_contract(text: str) -> PromptContract:
    """Raises ValueError, TypeError or KeyError for an invalid contract."""
    values: dict[str, Any] = json.loads(text)
    tokens = tuple(SpecialToken(**token) for token in values["special_tokens"])
    lists = {name: tuple(values[name]) for name in ("stop_ids", "control_tokens")}
    return PromptContract(**{**values, **lists, "special_tokens": tokens})


def read_prompt_contract(folder: Path, system_prompt: str) -> PromptContract:
    """The contract of a model's folder. Raises ModelFolderError, or PromptContractError if inference would differ."""
    return build_prompt_contract(FolderTokenizer(folder, read_chat_template(folder)), folder, system_prompt)


def build_prompt_contract(tokenizer: FolderTokenizer, folder: Path, system_prompt: str) -> PromptContract:
    """The contract of a model's folder, with an existing tokenizer. Raises as `read_prompt_contract`."""
    stops = sorted({tokenizer.eos_token_id, *read_generation_stops(folder)})
    special = [
        SpecialToken(name, text, token_id)
        for name, text in sorted(tokenizer.special_tokens_map.items())
        if (token_id := tokenizer.token_id(text)) is not None
    ]
    template = ChatTemplate(tokenizer.chat_template, tokenizer.special_tokens_map)
    _require_undated_template(template, folder, system_prompt)
    turn_end = _find_turn_end(template, tokenizer, folder, system_prompt)
    if turn_end not in stops:
        raise PromptContractError(
            f"{folder.name}: the chat template ends an answer with {tokenizer.token(turn_end)}, which is neither the tokenizer's "
            "eos_token nor in generation_config.json, so the engine would not stop there. Add it to eos_token_id in that file."
        )
    control = find_control_tokens(tokenizer.added_tokens_decoder, tokenizer.chat_template)
    return PromptContract(system_prompt, tokenizer.chat_template, tuple(special), tuple(stops), turn_end, control)


def read_generation_stops(folder: Path) -> list[int]:
    """Default stop token ids from generation_config.json, or from config.json if that file is missing."""
    for name in ("generation_config.json", "config.json"):
        if not (folder / name).is_file():
            continue
        try:
            found = json.loads((folder / name).read_text(encoding="utf-8")).get("eos_token_id")
        except ValueError:
            raise ModelFolderError(f"{folder.name}/{name} is not valid JSON.") from None
        return [found] if isinstance(found, int) else list(found or [])
    return []


def _require_undated_template(template: ChatTemplate, folder: Path, system_prompt: str) -> None:
    conversation = build_conversation(system_prompt, "Say yes.", "")
    if len({template.render(conversation, True, now=day).text for day in _SAMPLE_DATES}) > 1:
        raise PromptContractError(
            f"{folder.name}: the chat template writes the current date into the prompt, so the prompt would differ from the "
            'trained one. Set prompt.template_kwargs: {strftime_now: "2024-07-26"} in the recipe, with any date.'
        )


def _find_turn_end(template: ChatTemplate, tokenizer: FolderTokenizer, folder: Path, system_prompt: str) -> int:
    """The first token after an answer."""
    rendered = template.render(build_conversation(system_prompt, "Say it.", "", _ANSWER), False).text
    following = tokenizer(rendered.rpartition(_ANSWER)[2], add_special_tokens=False)["input_ids"]
    if not following:
        raise PromptContractError(
            f"{folder.name}: the chat template writes no token after an answer, so the model would not learn to stop."
        )
    return following[0]
