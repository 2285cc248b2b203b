"""Loads a base model's tokenizer from its folder without the training library.

It renders and counts exactly like the trainer's tokenizer, which a test checks, so that overlong examples and loss masks are
known before a GPU is used.
"""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from fine_tune_assets.core.errors import ModelFolderError, materialize_hint
from fine_tune_assets.core.fingerprints import fingerprint_file, fingerprint_text
from fine_tune_assets.core.prompts.chat_templates import ChatTemplate

TOKENIZER = "tokenizer.json"
TOKENIZER_CONFIG = "tokenizer_config.json"
_CONTEXT_TOKENS = 8
"""Preceding tokens that a piece's text may depend on, such as for a leading space."""
_REPLACEMENT_CHARACTER = "\ufffd"


class FolderTokenizer:
    """The tokenizer interface of `conversations.render` and the trainer. Raises ModelFolderError if a file is missing."""

    def __init__(self, folder: Path, chat_template: str) -> None:
        from tokenizers import Tokenizer

        if not (folder / TOKENIZER).is_file():
            raise ModelFolderError(
                f"{folder.name} has no {TOKENIZER}: tokens can't be counted. {materialize_hint('base_models')}"
            )
        self._tokenizer = Tokenizer.from_file(str(folder / TOKENIZER))
        self._tokenizer.no_truncation()
        self._tokenizer.no_padding()
        self.special_tokens_map = read_special_tokens(folder)
        self._template = ChatTemplate(chat_template, self.special_tokens_map)
        self.chat_template = chat_template
        self.eos_token = self.special_tokens_map.get("eos_token", "")
        end = self.token_id(self.eos_token)
        if end is None:
            raise ModelFolderError(f"{folder.name}: the tokenizer has no end-of-text token.")
        self.eos_token_id = end
        self.fingerprints = {
            "tokenizer": fingerprint_file(folder / TOKENIZER),
            "chat_template": fingerprint_text(chat_template),
        }

    def apply_chat_template(self, conversation: Sequence[Mapping[str, str]], **options: Any) -> str:
        return self._template.render(conversation, options.get("add_generation_prompt", False)).text

    def __call__(self, text: str, add_special_tokens: bool) -> dict[str, list[int]]:
        return {"input_ids": self._tokenizer.encode(text, add_special_tokens=add_special_tokens).ids}

    def token_id(self, token: str) -> int | None:
        found = self._tokenizer.token_to_id(token)
        return None if found is None else int(found)

    def token(self, token_id: int) -> str | None:
        return self._tokenizer.id_to_token(token_id)

    @property
    def added_tokens_decoder(self) -> Mapping[int, Any]:
        """Token id → added token, as in Transformers."""
        return dict(self._tokenizer.get_added_tokens_decoder())

    def is_special(self, token_id: int) -> bool:
        """Whether it is an added token, such as `<|im_end|>`."""
        return token_id in self._tokenizer.get_added_tokens_decoder()

    def split_pieces(self, ids: Sequence[int], start: int, end: int) -> list[tuple[list[int], str]]:
        """`ids[start:end]` as pieces of text. Tokens that share a character form one piece."""
        pieces: list[tuple[list[int], str]] = []
        first = start
        for index in range(start, end):
            context = list(ids[max(0, first - _CONTEXT_TOKENS) : first])
            text = self.decode([*context, *ids[first : index + 1]])[len(self.decode(context)) :]
            if not text.endswith(_REPLACEMENT_CHARACTER) or index + 1 == end:
                pieces.append((list(ids[first : index + 1]), text))
                first = index + 1
        return pieces

    def decode(self, ids: Sequence[int], **_: Any) -> str:
        """The text, with special tokens."""
        return str(self._tokenizer.decode(list(ids), skip_special_tokens=False))


def read_special_tokens(folder: Path) -> dict[str, str]:
    """Name in templates, such as `bos_token` → token."""
    try:
        config = json.loads((folder / TOKENIZER_CONFIG).read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise ModelFolderError(f"{folder.name}/{TOKENIZER_CONFIG} is unreadable ({type(error).__name__}).") from None
    tokens = {name: value for name, value in config.items() if name.endswith("_token")}
    read = {name: value.get("content") if isinstance(value, dict) else value for name, value in tokens.items()}
    return {name: value for name, value in read.items() if isinstance(value, str)}
