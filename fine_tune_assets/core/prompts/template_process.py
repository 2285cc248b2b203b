"""Compiles and renders chat templates, in a confined process: a template is a stranger's program (see chat_templates.py).

Provides the Jinja environment that Hugging Face templates expect, and markers around the text in `{% generation %}` blocks.
"""

import json
from collections.abc import Mapping
from datetime import datetime
from functools import lru_cache
from typing import Any

from jinja2 import TemplateError
from jinja2.ext import Extension, loopcontrols
from jinja2.nodes import CallBlock
from jinja2.sandbox import ImmutableSandboxedEnvironment

from fine_tune_assets.core.processes.confined_worker import Channel

START, END = "\ufdd0", "\ufdd1"
"""Markers around the assistant's text during rendering: Unicode noncharacters, reserved for internal use."""
TEXT, ERROR_KIND, REFUSAL = "text", "error_kind", "refusal"
"""Keys of an answer: the rendered text, the type of an error, or the words in the template with which it refuses."""
NOW = "strftime_now"
"""The function with which templates write the current date."""
_MAX_REFUSAL_CHARACTERS = 200


class _RefusedError(Exception):
    """A template called `raise_exception`."""


class _Generation(Extension):
    """`{% generation %}` blocks: their text is rendered between two markers."""

    tags = {"generation"}

    def parse(self, parser: Any) -> Any:
        line = next(parser.stream).lineno
        body = parser.parse_statements(("name:endgeneration",), drop_needle=True)
        return CallBlock(self.call_method("_mark"), [], [], body).set_lineno(line)

    def _mark(self, caller: Any) -> str:
        return f"{START}{caller()}{END}"


def serve(channel: Channel) -> None:
    """Answer requests until the other side closes the channel."""
    while (request := channel.receive()) is not None:
        channel.start_task()
        channel.send(_answer(**request[0]))


def _answer(source: str, conversation: dict[str, Any] | None) -> dict[str, Any]:
    """Only compile the template if there is no conversation. The message of an error may quote a conversation."""
    try:
        template = _compile(source)
        return {TEXT: "" if conversation is None else str(template.render(_variables(**conversation)))}
    except _RefusedError as error:
        words = str(error)
        return {ERROR_KIND: "raise_exception", REFUSAL: words[:_MAX_REFUSAL_CHARACTERS] if words in source else ""}
    except (TemplateError, TypeError, ValueError, ArithmeticError, LookupError, RecursionError, MemoryError) as error:
        return {ERROR_KIND: type(error).__name__}


def _variables(
    messages: list[dict[str, str]], add_generation_prompt: bool, now: str, variables: Mapping[str, Any]
) -> dict[str, Any]:
    """A text as `strftime_now` is a fixed date."""
    fixed = variables.get(NOW)
    dated = {NOW: datetime.fromisoformat(now).strftime if fixed is None else lambda _format: fixed}
    asked = {"messages": messages, "add_generation_prompt": add_generation_prompt, "tools": None, "documents": None}
    return {**asked, **variables, **dated}


@lru_cache(maxsize=64)
def _compile(source: str) -> Any:
    """With the whitespace rules and functions of Hugging Face's environment."""

    def refuse(message: str) -> None:
        raise _RefusedError(message)

    environment = ImmutableSandboxedEnvironment(
        trim_blocks=True, lstrip_blocks=True, extensions=[_Generation, loopcontrols]
    )
    environment.filters["tojson"] = lambda value, **options: json.dumps(value, ensure_ascii=False, **options)
    environment.globals["raise_exception"] = refuse
    return environment.from_string(source)
