"""Reads and renders the chat templates of models without the training library.

Provides the Jinja environment that Hugging Face templates expect, and the spans of assistant text that a template marks with
`{% generation %}`.
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
"""Start and end offset in characters; the end is exclusive."""
_START, _END = "\ufdd0", "\ufdd1"
"""Markers around the assistant's text during rendering: Unicode noncharacters, reserved for internal use."""


CHAT_TEMPLATE_FILE = "chat_template.jinja"


def read_chat_template(folder: Path) -> str:
    """The chat template as the tokenizer uses it. Raises ModelFolderError if there is none."""
    template = folder / CHAT_TEMPLATE_FILE
    if template.is_file():
        return template.read_text(encoding="utf-8")
    config = folder / "tokenizer_config.json"
    stored = json.loads(config.read_text(encoding="utf-8")).get("chat_template") if config.is_file() else None
    if isinstance(stored, list):  # several templates, by name
        stored = next((each.get("template") for each in stored if each.get("name") == "default"), None)
    if not isinstance(stored, str):
        raise ModelFolderError(f"{folder.name} has no chat template. Use an instruction-tuned model.")
    return stored


@dataclass(frozen=True)
class RenderedChat:
    text: str
    assistant_spans: tuple[Span, ...]
    """The assistant's text in order; empty if the template has no `{% generation %}` tags."""


class ChatTemplate:
    """A compiled template. Raises ModelFolderError if it is invalid."""

    def __init__(self, source: str, variables: Mapping[str, Any]) -> None:
        """`variables`: name in the template → value, such as `bos_token` → token."""
        self.source = source
        self._variables = dict(variables)
        self._template = _compile_template(source)

    @property
    def has_generation_marks(self) -> bool:
        return "endgeneration" in self.source

    def render(
        self, messages: Sequence[Mapping[str, str]], add_generation_prompt: bool, now: datetime | None = None
    ) -> RenderedChat:
        """Raises ModelFolderError if the template refuses the conversation. `now`: for templates that insert the date."""
        from jinja2 import TemplateError

        if any(mark in message["content"] for message in messages for mark in (_START, _END)):
            raise ModelFolderError("A message contains the noncharacter U+FDD0 or U+FDD1. Remove it.")
        try:
            text = self._template.render(
                {
                    "messages": [dict(message) for message in messages],
                    "tools": None,
                    "documents": None,
                    "add_generation_prompt": add_generation_prompt,
                    "strftime_now": (now or datetime.now()).strftime,
                    **self._variables,
                }
            )
        # Without the cause, which may quote the message.
        except (TemplateError, TypeError) as error:
            raise ModelFolderError(f"The chat template can't render a conversation ({type(error).__name__}).") from None
        return _strip_marks(str(text))


def _strip_marks(text: str) -> RenderedChat:
    parts, spans, length = [], [], 0
    for number, part in enumerate(text.replace(_END, _START).split(_START)):
        if number % 2:
            spans.append((length, length + len(part)))
        parts.append(part)
        length += len(part)
    return RenderedChat("".join(parts), tuple(spans))


@lru_cache(maxsize=64)
def _compile_template(source: str) -> Any:
    """Compile with the whitespace rules and functions of Hugging Face's environment."""
    from jinja2 import TemplateError
    from jinja2.ext import Extension, loopcontrols
    from jinja2.nodes import CallBlock
    from jinja2.sandbox import ImmutableSandboxedEnvironment

    class Generation(Extension):
        """`{% generation %}` blocks: their text is rendered between two markers."""

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
        raise ModelFolderError(f"The chat template is invalid ({type(error).__name__}).") from None
