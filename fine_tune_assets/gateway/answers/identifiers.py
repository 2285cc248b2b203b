"""Identifiers in answers, looked for on their way out: flagged, or kept from going out.

Owns the gate. What the model was given may be repeated. A gate that can't look stays closed: `block` refuses, `flag` says that
nobody looked.
"""

import json
import re
from collections.abc import AsyncIterator
from typing import Any, Protocol

from fine_tune_assets.core.errors import FineTuneError, SettingsError
from fine_tune_assets.core.settings import Settings
from fine_tune_assets.gateway.answers.identifier_detector import Detector
from fine_tune_assets.gateway.wire_format import DONE, ApiError, dumped

MODES = OFF, FLAG, BLOCK = "off", "flag", "block"
HEADER = "x-identifiers-found"
FIELD = "identifiers_found"
_SENTENCE = re.compile(r"(?<=[.!?])\s+|\n+")
_LONGEST_HELD = 600
"""Characters without an end of a sentence, after which is looked all the same."""
_LOOK_BACK = 300
"""Characters before the sentence that are read again with it: an identifier may begin there."""


class _Marked(Protocol):
    identifiers: int | None


class GateClosedError(Exception):
    """The answer may not go out. `found` None: nobody could look."""

    def __init__(self, found: int | None) -> None:
        super().__init__()
        self.found = found

    def as_api_error(self) -> ApiError:
        if self.found is None:
            message = "The answer can't be checked for identifiers at the moment. Ask again in a moment."
            return ApiError(503, "identifiers_not_checked", message, {"Retry-After": "5"})
        headers = {HEADER: str(self.found)}
        return ApiError(422, "identifiers_found", "The answer held identifiers and was kept back.", headers)


class AnswerGate:
    """By the setting `gateway.answer_phi`."""

    def __init__(self, mode: str, detector: Detector | None) -> None:
        self._mode, self._detector = mode, detector

    @property
    def is_on(self) -> bool:
        return self._mode != OFF

    @property
    def is_blocking(self) -> bool:
        return self._mode == BLOCK

    @property
    def is_ready(self) -> bool:
        return self._detector is None or self._detector.is_ready

    def require_ready(self) -> None:
        """Before the model is asked for what could not go out. Raises ApiError."""
        if self.is_blocking and not self.is_ready:
            raise GateClosedError(None).as_api_error()

    async def look(self, text: str, given: str) -> int | None:
        """How many; None if nobody could look. Raises GateClosedError where it may not go out."""
        assert self._detector is not None
        found = await self._detector.count(text, given)
        if self.is_blocking and found != 0:
            raise GateClosedError(found)
        return found

    async def run(self) -> None:
        if self._detector is not None:
            await self._detector.keep_ready()

    def close(self) -> None:
        if self._detector is not None:
            self._detector.close()


def open_gate(settings: Settings) -> AnswerGate:
    """Raises SettingsError, also where the recipe that says what to look for can't be read."""
    mode = settings.gateway.answer_phi
    if mode not in MODES:
        raise SettingsError(f"gateway.answer_phi must be one of {', '.join(MODES)}.")
    if mode == OFF:
        return AnswerGate(mode, None)
    from fine_tune_assets.recipes.loader import load_recipe

    try:
        return AnswerGate(mode, Detector(load_recipe(settings.recipe).scrub))
    except FineTuneError as error:
        raise SettingsError(f"gateway.answer_phi is {mode}, and the recipe can't be read: {error}") from error


async def guarded(
    payloads: AsyncIterator[bytes], gate: AnswerGate, given: str, record: _Marked
) -> AsyncIterator[bytes]:
    """The events of a stream past the gate. Raises GateClosedError."""
    watch = (_held if gate.is_blocking else _flagged)(payloads, gate, given, record)
    async for payload in watch:
        yield payload


async def _flagged(
    payloads: AsyncIterator[bytes], gate: AnswerGate, given: str, record: _Marked
) -> AsyncIterator[bytes]:
    """As they come; the last event but [DONE] says what was found."""
    text, last, is_done = [], dict[str, Any](), False
    async for payload in payloads:
        if payload == DONE:
            is_done = True
            continue
        last = json.loads(payload)
        text.append(_text_in(last) + _arguments_in(last))
        yield payload
    record.identifiers = await gate.look("".join(text), given)
    yield dumped({**_head(last), "choices": [], FIELD: record.identifiers})
    if is_done:
        yield DONE


async def _held(payloads: AsyncIterator[bytes], gate: AnswerGate, given: str, record: _Marked) -> AsyncIterator[bytes]:
    """Sentence by sentence, each after it was looked at; calls of tools, and what ends the answer, at the very end."""
    held, before, at_end, shape = "", "", list[bytes](), dict[str, Any]()
    record.identifiers = 0
    calls: list[str] = []

    async def look(text: str) -> None:
        try:
            await gate.look(before[-_LOOK_BACK:] + text, given)
        except GateClosedError as error:
            record.identifiers = error.found
            raise

    async for payload in payloads:
        if payload == DONE:
            at_end.append(payload)
            continue
        chunk = _cleaned(json.loads(payload))
        said = _text_in(chunk)
        calls.append(_arguments_in(chunk))
        if not _is_plain(chunk):
            at_end.append(dumped(_with_text(chunk, None)))
        elif not said:
            yield dumped(chunk)
        if not said:
            continue
        shape, held = chunk, held + said
        while (cut := _cut_of(held)) is not None:
            sentence, held = held[:cut], held[cut:]
            await look(sentence)
            before += sentence
            yield dumped(_with_text(shape, sentence))
    await look(held + "\n" + "".join(calls))
    if held:
        yield dumped(_with_text(shape, held))
    for payload in at_end:
        yield payload


def _cut_of(held: str) -> int | None:
    """Where what is held can be cut: behind its last whole sentence."""
    ends = [found.end() for found in _SENTENCE.finditer(held)]
    if ends:
        return ends[-1]
    return len(held) if len(held) > _LONGEST_HELD else None


def _is_plain(chunk: dict[str, Any]) -> bool:
    """A chunk that ends nothing and calls nothing, such as the first one with the role."""
    return bool(chunk.get("choices")) and all(
        choice.get("finish_reason") is None and not (choice.get("delta") or {}).get("tool_calls")
        for choice in chunk["choices"]
    )


_LOOKED_AT = frozenset({"role", "content", "tool_calls"})


def _cleaned(chunk: dict[str, Any]) -> dict[str, Any]:
    """Without what is not looked at, such as what a model thinks aloud, and tokens with their probabilities."""
    choices = []
    for choice in chunk.get("choices", ()):
        kept = {name: value for name, value in choice.items() if name not in ("delta", "logprobs")}
        if "delta" in choice:
            kept["delta"] = {name: value for name, value in (choice["delta"] or {}).items() if name in _LOOKED_AT}
        choices.append({**kept, "logprobs": None})
    return {**chunk, "choices": choices}


def _text_in(chunk: dict[str, Any]) -> str:
    said = ""
    for choice in chunk.get("choices", ()):
        delta = choice.get("delta") or {}
        said += choice.get("text") or delta.get("content") or delta.get("reasoning_content") or ""
    return said


def _arguments_in(chunk: dict[str, Any]) -> str:
    return "".join(
        (call.get("function") or {}).get("arguments") or ""
        for choice in chunk.get("choices", ())
        for call in (choice.get("delta") or {}).get("tool_calls") or ()
    )


def _with_text(chunk: dict[str, Any], text: str | None) -> dict[str, Any]:
    """The chunk with that text alone; with None all but the text."""
    choices = []
    for choice in chunk["choices"]:
        finish = choice.get("finish_reason") if text is None else None
        kept = {name: value for name, value in choice.items() if name not in ("delta", "text")} | {
            "finish_reason": finish
        }
        if "text" in choice:
            kept["text"] = text or ""
        elif text is None:
            kept["delta"] = {name: value for name, value in choice["delta"].items() if name != "content"}
        else:
            kept["delta"] = {"content": text}
        choices.append(kept)
    return {**chunk, "choices": choices}


def _head(chunk: dict[str, Any]) -> dict[str, Any]:
    return {name: chunk[name] for name in ("id", "object", "created", "model") if name in chunk}
