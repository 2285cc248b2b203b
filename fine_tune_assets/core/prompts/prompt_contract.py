"""The prompt contract: all that decides how a model is asked and when it stops, as one record with one fingerprint.

Owns reading it from a model's folder, without the library that trains, and as it lies in a release (`prompt.json`). Training,
merging, export and release each compare it; whoever asks the model takes the system prompt from it.
"""

import json
from dataclasses import asdict, dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from fine_tune_assets.core.errors import FineTuneError, ModelFolderError
from fine_tune_assets.core.fingerprints import fingerprint_json
from fine_tune_assets.core.prompts.chat import control_tokens, conversation
from fine_tune_assets.core.prompts.chat_templates import ChatTemplate, read_chat_template
from fine_tune_assets.core.prompts.tokenizers import FolderTokenizer

_ANSWER = "Yes"
_TWO_DAYS = (datetime(2001, 2, 3), datetime(2022, 11, 30))


class PromptContractError(FineTuneError):
    """Training and inference would not see the same prompt, or not end at the same token."""

    def __init__(self, message: str, reason: str | None = None) -> None:
        super().__init__(message)
        self.reason = reason or message
        """The same without the example's id."""


@dataclass(frozen=True)
class SpecialToken:
    name: str
    """As templates use it, such as `bos_token`."""
    text: str
    token_id: int


@dataclass(frozen=True)
class PromptContract:
    system_prompt: str
    chat_template: str
    special_tokens: tuple[SpecialToken, ...]
    stop_ids: tuple[int, ...]
    """Tokens at which an engine stops: the tokenizer's end of text, and what generation_config.json names."""
    turn_end_id: int
    """The one of them that the template writes behind an answer: what the model learns to stop with."""
    control_tokens: tuple[str, ...] = ()
    """What stays text where it stands in a message (see core/prompts/chat.py)."""

    @property
    def fingerprint(self) -> str:
        return fingerprint_json(asdict(self))

    def as_json(self) -> str:
        return json.dumps(asdict(self), indent=2, sort_keys=True, ensure_ascii=False)


def contract_from_json(text: str) -> PromptContract:
    """Raises ValueError, TypeError or KeyError if it is none."""
    values: dict[str, Any] = json.loads(text)
    tokens = tuple(SpecialToken(**token) for token in values["special_tokens"])
    lists = {name: tuple(values[name]) for name in ("stop_ids", "control_tokens")}
    return PromptContract(**{**values, **lists, "special_tokens": tokens})


def read_prompt_contract(folder: Path, system_prompt: str) -> PromptContract:
    """The contract of a model's folder. Raises ModelFolderError, and PromptContractError if it can't be kept."""
    return contract_of(FolderTokenizer(folder, read_chat_template(folder)), folder, system_prompt)


def contract_of(tokenizer: FolderTokenizer, folder: Path, system_prompt: str) -> PromptContract:
    """The same with a tokenizer that is read already."""
    stops = sorted({tokenizer.eos_token_id, *generation_stops(folder)})
    special = [
        SpecialToken(name, text, token_id)
        for name, text in sorted(tokenizer.special_tokens_map.items())
        if (token_id := tokenizer.token_id(text)) is not None
    ]
    template = ChatTemplate(tokenizer.chat_template, tokenizer.special_tokens_map)
    _require_same_every_day(template, folder, system_prompt)
    turn_end = _turn_end(template, tokenizer, folder, system_prompt)
    if turn_end not in stops:
        raise PromptContractError(
            f"{folder.name}: the chat template ends an answer with {tokenizer.token(turn_end)}, and neither the tokenizer's "
            "eos_token nor generation_config.json names it: the model would go on. Name it in eos_token_id there."
        )
    control = control_tokens(tokenizer.added_tokens_decoder, tokenizer.chat_template)
    return PromptContract(system_prompt, tokenizer.chat_template, tuple(special), tuple(stops), turn_end, control)


def generation_stops(folder: Path) -> list[int]:
    """Ids of the tokens that `generate` stops at by default; of config.json where there is no generation_config.json."""
    for name in ("generation_config.json", "config.json"):
        if not (folder / name).is_file():
            continue
        try:
            found = json.loads((folder / name).read_text(encoding="utf-8")).get("eos_token_id")
        except ValueError:
            raise ModelFolderError(f"{folder.name}/{name} is not valid JSON.") from None
        return [found] if isinstance(found, int) else list(found or [])
    return []


def _require_same_every_day(template: ChatTemplate, folder: Path, system_prompt: str) -> None:
    asked = conversation(system_prompt, "Say yes.", "")
    if len({template.render(asked, True, now=day).text for day in _TWO_DAYS}) > 1:
        raise PromptContractError(
            f"{folder.name}: the chat template writes today's date into the prompt, so what is asked tomorrow is not what was "
            "trained. Put a fixed date in the place of strftime_now in chat_template.jinja."
        )


def _turn_end(template: ChatTemplate, tokenizer: FolderTokenizer, folder: Path, system_prompt: str) -> int:
    """The first token behind an answer."""
    whole = template.render(conversation(system_prompt, "Say it.", "", _ANSWER), False).text
    behind = tokenizer(whole.rpartition(_ANSWER)[2], add_special_tokens=False)["input_ids"]
    if not behind:
        raise PromptContractError(
            f"{folder.name}: the chat template writes nothing behind an answer: no end is learned."
        )
    return behind[0]
