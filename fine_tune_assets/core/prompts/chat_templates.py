"""Reads and renders the chat templates of models without the training library.

A template is a program by the model's publisher, and it reads people's messages. So it runs in a confined process with limits of
time and memory (template_process.py); what exceeds them is refused. The process serves many conversations, at 0.4 ms each.
"""

import atexit
import json
import os
import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from fine_tune_assets.core.errors import ModelFolderError
from fine_tune_assets.core.processes.confined_process import (
    ConfinedProcess,
    ConfinedProcessError,
    Failure,
    ProcessLimits,
)
from fine_tune_assets.core.prompts.template_process import END, ERROR_KIND, REFUSAL, START, TEXT, serve

Span = tuple[int, int]
"""Start and end offset in characters; the end is exclusive."""
RENDER_LIMITS = ProcessLimits(seconds=30, cpu_seconds=3, memory_bytes=10**9, output_bytes=10**8)
"""For one conversation. The longest of a model with 128,000 tokens takes 0.1 s."""
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
    """A compiled template. Raises ModelFolderError if it is invalid, or takes too long or too much memory."""

    def __init__(self, source: str, variables: Mapping[str, Any]) -> None:
        """`variables`: name in the template → value, such as `bos_token` → token. A text as `strftime_now` is a fixed date."""
        self.source = source
        self._variables = dict(variables)
        answer = _renderer.ask(source, None)
        if ERROR_KIND in answer:
            raise ModelFolderError(f"The chat template is invalid ({answer[ERROR_KIND]}).")

    @property
    def has_generation_marks(self) -> bool:
        return "endgeneration" in self.source

    def render(
        self, messages: Sequence[Mapping[str, str]], add_generation_prompt: bool, now: datetime | None = None
    ) -> RenderedChat:
        """Raises ModelFolderError if the template refuses the conversation, or takes too long or too much memory.

        `now`: for templates that insert the date.
        """
        if any(mark in message["content"] for message in messages for mark in (START, END)):
            raise ModelFolderError("A message contains the noncharacter U+FDD0 or U+FDD1. Remove it.")
        conversation = {
            "messages": [dict(message) for message in messages],
            "add_generation_prompt": add_generation_prompt,
            "now": (now or datetime.now()).isoformat(),
            "variables": self._variables,
        }
        answer = _renderer.ask(self.source, conversation)
        if REFUSAL in answer:
            words = f": {answer[REFUSAL]}" if answer[REFUSAL] else ""
            raise ModelFolderError(f"The chat template refuses a conversation{words}.")
        if ERROR_KIND in answer:
            raise ModelFolderError(f"The chat template can't render a conversation ({answer[ERROR_KIND]}).")
        return _strip_marks(str(answer[TEXT]))


def _strip_marks(text: str) -> RenderedChat:
    parts, spans, length = [], [], 0
    for number, part in enumerate(text.replace(END, START).split(START)):
        if number % 2:
            spans.append((length, length + len(part)))
        parts.append(part)
        length += len(part)
    return RenderedChat("".join(parts), tuple(spans))


class _Renderer:
    """The process that compiles and renders; started with the first template, and again after a failure."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._process: ConfinedProcess | None = None

    def ask(self, source: str, conversation: dict[str, Any] | None) -> dict[str, Any]:
        """Raises ModelFolderError if a limit is exceeded."""
        with self._lock:
            is_new = self._process is None
            try:
                return self._exchange({"source": source, "conversation": conversation})
            except ConfinedProcessError as error:
                self._process = None
                failure = error.failure
        if failure is Failure.CRASHED and not is_new:  # it may have ended for another reason, such as with a thread
            return self.ask(source, conversation)
        raise ModelFolderError(
            f"The chat template can't be used: rendering a conversation {failure.value}. Import another model, or one with "
            "its publisher's own template."
        )

    def stop(self) -> None:
        if self._process is not None:
            self._process.stop()

    def _exchange(self, request: dict[str, Any]) -> dict[str, Any]:
        if self._process is None:
            self._process = ConfinedProcess(serve, {}, RENDER_LIMITS)
        self._process.extend_deadline()
        self._process.send(request)
        return self._process.receive()


_renderer = _Renderer()


def _forget_renderer() -> None:
    """A forked process starts its own."""
    global _renderer
    _renderer = _Renderer()


os.register_at_fork(after_in_child=_forget_renderer)
atexit.register(lambda: _renderer.stop())
