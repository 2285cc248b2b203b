"""Chat templates as models bring them: read from a model's folder, rendered without the library that trains.

Owns the Jinja environment that Hugging Face templates expect, and where in a rendered text the assistant's words stand, as a
template marks them by `{% generation %}`. Does not know tokens.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import lru_cache
from pathlib import Path
from typing import Any

from fine_tune_assets.core.errors import ModelFolderError

Span = tuple[int, int]
"""First character and the one after the last."""
_START, _END = "\ufdd0", "\ufdd1"
"""Around marked words while a template renders. Unicode keeps these two for use inside a program: no text holds them."""


def read_chat_template(folder: Path) -> str:
    """The chat template as the tokenizer uses it. Raises ModelFolderError if there is none."""
    template = folder / "chat_template.jinja"
    if template.is_file():
        return template.read_text(encoding="utf-8")
    config = folder / "tokenizer_config.json"
    stored = json.loads(config.read_text(encoding="utf-8")).get("chat_template") if config.is_file() else None
    if not isinstance(stored, str):
        raise ModelFolderError(f"{folder.name} has no chat template. An instruction-tuned model is needed.")
    return stored


@dataclass(frozen=True)
class Rendered:
    text: str
    marked: tuple[Span, ...]
    """What the template marks as the assistant's, in its order; nothing if it has no marks."""


class ChatTemplate:
    """A compiled template. Raises ModelFolderError if it can't be read."""

    def __init__(self, source: str, special_tokens: Mapping[str, str]) -> None:
        """`special_tokens`: name as templates use it, such as `bos_token`, → token."""
        self.source = source
        self._special = dict(special_tokens)
        self._template = _compiled(source)

    @property
    def has_marks(self) -> bool:
        return "endgeneration" in self.source

    def render(
        self, messages: Sequence[Mapping[str, str]], add_generation_prompt: bool, now: datetime | None = None
    ) -> Rendered:
        """Raises ModelFolderError if the template refuses the conversation. `now` is for templates that ask for the date."""
        from jinja2 import TemplateError

        if any(mark in message["content"] for message in messages for mark in (_START, _END)):
            raise ModelFolderError("A message holds a character that is none (U+FDD0 or U+FDD1). Take it out.")
        try:
            text = self._template.render(
                messages=[dict(message) for message in messages],
                tools=None,
                documents=None,
                add_generation_prompt=add_generation_prompt,
                strftime_now=(now or datetime.now()).strftime,
                **self._special,
            )
        # Without its cause, which may quote what it can't render.
        except (TemplateError, TypeError) as error:
            raise ModelFolderError(f"The chat template can't render a conversation ({type(error).__name__}).") from None
        return _without_marks(str(text))


def _without_marks(text: str) -> Rendered:
    parts, spans, length = [], [], 0
    for number, part in enumerate(text.replace(_END, _START).split(_START)):
        if number % 2:
            spans.append((length, length + len(part)))
        parts.append(part)
        length += len(part)
    return Rendered("".join(parts), tuple(spans))


@lru_cache(maxsize=64)
def _compiled(source: str) -> Any:
    """With what Hugging Face templates may use: the same whitespace rules, and the same few functions."""
    from jinja2 import TemplateError
    from jinja2.ext import Extension, loopcontrols
    from jinja2.nodes import CallBlock
    from jinja2.sandbox import ImmutableSandboxedEnvironment

    class Generation(Extension):
        """`{% generation %}` around the assistant's words: they are written as they are, between two marks."""

        tags = {"generation"}

        def parse(self, parser: Any) -> Any:
            line = next(parser.stream).lineno
            body = parser.parse_statements(("name:endgeneration",), drop_needle=True)
            return CallBlock(self.call_method("_mark"), [], [], body).set_lineno(line)

        def _mark(self, caller: Any) -> str:
            return f"{_START}{caller()}{_END}"

    def refuse(message: str) -> None:
        raise ModelFolderError(f"The chat template refuses a conversation: {message}")

    environment = ImmutableSandboxedEnvironment(
        trim_blocks=True, lstrip_blocks=True, extensions=[Generation, loopcontrols]
    )
    environment.filters["tojson"] = lambda value, **options: json.dumps(value, ensure_ascii=False, **options)
    environment.globals["raise_exception"] = refuse
    try:
        return environment.from_string(source)
    except TemplateError as error:
        raise ModelFolderError(f"The chat template can't be read ({type(error).__name__}).") from None
