"""A base model's tokenizer and chat template from its folder, without the library that trains.

Owns reading the two files. Renders and counts exactly as the trainer does, which is tested against the trainer's own; so what
is too long is known before a GPU is used.
"""

import json
from collections.abc import Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any

from fine_tune_assets.core.errors import ModelFolderError
from fine_tune_assets.core.fingerprints import fingerprint_file, fingerprint_text

TOKENIZER = "tokenizer.json"
_CONFIG = "tokenizer_config.json"


class FolderTokenizer:
    """Does what `core.chat.render` and the trainer ask of a tokenizer. Raises ModelFolderError if the folder lacks a file."""

    def __init__(self, folder: Path, chat_template: str) -> None:
        from tokenizers import Tokenizer

        if not (folder / TOKENIZER).is_file():
            raise ModelFolderError(
                f"{folder.name} has no {TOKENIZER}: tokens can't be counted. Materialize base_models."
            )
        self._tokenizer = Tokenizer.from_file(str(folder / TOKENIZER))
        self._tokenizer.no_truncation()
        self._tokenizer.no_padding()
        self._special = _special_tokens(folder)
        self._template = _compiled(chat_template)
        self.chat_template = chat_template
        self.eos_token = self._special.get("eos_token", "")
        self.eos_token_id = self._tokenizer.token_to_id(self.eos_token)
        self.fingerprints = {
            "tokenizer": fingerprint_file(folder / TOKENIZER),
            "chat_template": fingerprint_text(chat_template),
        }
        if self.eos_token_id is None:
            raise ModelFolderError(f"{folder.name}: the tokenizer has no end-of-text token.")

    def apply_chat_template(self, conversation: Sequence[Mapping[str, str]], **options: Any) -> str:
        return str(
            self._template.render(
                messages=list(conversation),
                tools=None,
                documents=None,
                add_generation_prompt=options.get("add_generation_prompt", False),
                **self._special,
            )
        )

    def __call__(self, text: str, add_special_tokens: bool) -> dict[str, list[int]]:
        return {"input_ids": self._tokenizer.encode(text, add_special_tokens=add_special_tokens).ids}


def _special_tokens(folder: Path) -> dict[str, str]:
    """Name → token, as templates use them: `bos_token` and the like."""
    try:
        config = json.loads((folder / _CONFIG).read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise ModelFolderError(f"{folder.name}/{_CONFIG} can't be read ({type(error).__name__}).") from None
    tokens = {name: value for name, value in config.items() if name.endswith("_token")}
    read = {name: value.get("content") if isinstance(value, dict) else value for name, value in tokens.items()}
    return {name: value for name, value in read.items() if isinstance(value, str)}


def _compiled(chat_template: str) -> Any:
    """The template with what Hugging Face templates may use: the same whitespace rules, and the same few functions."""
    from jinja2 import TemplateError
    from jinja2.ext import Extension, loopcontrols
    from jinja2.sandbox import ImmutableSandboxedEnvironment

    class Generation(Extension):
        """Some templates mark the assistant's words by `{% generation %}`: the words are written as they are."""

        tags = {"generation"}

        def parse(self, parser: Any) -> Any:
            next(parser.stream)
            return parser.parse_statements(("name:endgeneration",), drop_needle=True)

    def refuse(message: str) -> None:
        raise ModelFolderError(f"The chat template refuses a conversation: {message}")

    environment = ImmutableSandboxedEnvironment(
        trim_blocks=True, lstrip_blocks=True, extensions=[Generation, loopcontrols]
    )
    environment.filters["tojson"] = lambda value, **options: json.dumps(value, ensure_ascii=False, **options)
    environment.globals["raise_exception"] = refuse
    environment.globals["strftime_now"] = lambda form: datetime.now().strftime(form)
    try:
        return environment.from_string(chat_template)
    except TemplateError as error:
        raise ModelFolderError(f"The chat template can't be read ({type(error).__name__}).") from None
