"""Flags or blocks answers that contain identifiers.

Identifiers that the prompt contains may be repeated. The gate stays closed when the scan is unavailable: `block` refuses the
answer, `flag` reports it as not checked.
"""

import json
import re
from collections.abc import AsyncIterator
from typing import Any, Protocol

from fine_tune_assets.core.errors import FineTuneError, SettingsError
from fine_tune_assets.core.settings import Settings
from fine_tune_assets.gateway.answers.identifier_detector import Detector
from fine_tune_assets.gateway.wire_format import DONE, ApiError, dump_json

MODES = OFF, FLAG, BLOCK = "off", "flag", "block"
IDENTIFIERS_HEADER = "x-identifiers-found"
IDENTIFIERS_FIELD = "identifiers_found"
_SENTENCE = re.compile(r"(?<=[.!?])\s+|\n+")
_MAX_BUFFER_CHARACTERS = 600
"""Characters after which text is scanned even if no sentence has ended."""
_OVERLAP_CHARACTERS = 300
"""Characters before the sentence that are scanned again with it, since an identifier may start there."""


class _ScanRecord(Protocol):
    identifiers: int | None


class AnswerBlockedError(Exception):
    """The answer is blocked. `found`: number of identifiers; None if the answer could not be scanned."""

    def __init__(self, found: int | None) -> None:
        super().__init__()
        self.found = found

    def to_api_error(self) -> ApiError:
        if self.found is None:
            message = "The identifier check is unavailable, so no answer was sent. Retry in a moment."
            return ApiError(503, "identifiers_not_checked", message, {"Retry-After": "5"})
        headers = {IDENTIFIERS_HEADER: str(self.found)}
        return ApiError(422, "identifiers_found", "The answer contained identifiers and was blocked.", headers)


class AnswerGate:
    """Applies the setting `gateway.answer_phi`."""

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
        """Refuse before the engine runs if the answer could not be released. Raises ApiError."""
        if self.is_blocking and not self.is_ready:
            raise AnswerBlockedError(None).to_api_error()

    async def scan(self, text: str, prompt_text: str) -> int | None:
        """Number of new identifiers; None if the text was not scanned. Raises AnswerBlockedError if the answer is blocked."""
        assert self._detector is not None
        found = await self._detector.count(text, prompt_text)
        if self.is_blocking and found != 0:
            raise AnswerBlockedError(found)
        return found

    async def run(self) -> None:
        if self._detector is not None:
            await self._detector.keep_ready()

    def close(self) -> None:
        if self._detector is not None:
            self._detector.close()


def create_gate(settings: Settings) -> AnswerGate:
    """Raises SettingsError, also if the recipe with the scrub settings is unreadable."""
    mode = settings.gateway.answer_phi
    if mode not in MODES:
        raise SettingsError(f"gateway.answer_phi must be one of {', '.join(MODES)}.")
    if mode == OFF:
        return AnswerGate(mode, None)
    from fine_tune_assets.recipes.loader import load_recipe

    try:
        return AnswerGate(mode, Detector(load_recipe(settings.recipe).scrubber, line=settings.line))
    except FineTuneError as error:
        raise SettingsError(f"gateway.answer_phi is {mode}, but the recipe is unreadable: {error}") from error


async def filter_stream(
    payloads: AsyncIterator[bytes], gate: AnswerGate, prompt_text: str, record: _ScanRecord
) -> AsyncIterator[bytes]:
    """Pass the events of a stream through the gate. Raises AnswerBlockedError."""
    filtered = (_block_stream if gate.is_blocking else _flag_stream)(payloads, gate, prompt_text, record)
    async for payload in filtered:
        yield payload


async def _flag_stream(
    payloads: AsyncIterator[bytes], gate: AnswerGate, prompt_text: str, record: _ScanRecord
) -> AsyncIterator[bytes]:
    """Relay events as they arrive, and report the number of identifiers in an event before [DONE]."""
    text, last, is_done = [], dict[str, Any](), False
    async for payload in payloads:
        if payload == DONE:
            is_done = True
            continue
        last = json.loads(payload)
        text.append(_extract_text(last) + _extract_arguments(last))
        yield payload
    record.identifiers = await gate.scan("".join(text), prompt_text)
    yield dump_json({**_common_fields(last), "choices": [], IDENTIFIERS_FIELD: record.identifiers})
    if is_done:
        yield DONE


async def _block_stream(
    payloads: AsyncIterator[bytes], gate: AnswerGate, prompt_text: str, record: _ScanRecord
) -> AsyncIterator[bytes]:
    """Release each sentence after it was scanned. Tool calls and the final events follow at the end."""
    buffer, released, final_events, last_chunk = "", "", list[bytes](), dict[str, Any]()
    record.identifiers = 0
    calls: list[str] = []

    async def scan(text: str) -> None:
        try:
            await gate.scan(released[-_OVERLAP_CHARACTERS:] + text, prompt_text)
        except AnswerBlockedError as error:
            record.identifiers = error.found
            raise

    async for payload in payloads:
        if payload == DONE:
            final_events.append(payload)
            continue
        chunk = _drop_unscanned(json.loads(payload))
        text = _extract_text(chunk)
        calls.append(_extract_arguments(chunk))
        if not _is_plain(chunk):
            final_events.append(dump_json(_replace_text(chunk, None)))
        elif not text:
            yield dump_json(chunk)
        if not text:
            continue
        last_chunk, buffer = chunk, buffer + text
        while (cut := _find_cut(buffer)) is not None:
            sentence, buffer = buffer[:cut], buffer[cut:]
            await scan(sentence)
            released += sentence
            yield dump_json(_replace_text(last_chunk, sentence))
    await scan(buffer + "\n" + "".join(calls))
    if buffer:
        yield dump_json(_replace_text(last_chunk, buffer))
    for payload in final_events:
        yield payload


def _find_cut(buffer: str) -> int | None:
    """The end of the last complete sentence, or of an overlong buffer; None if more text is needed."""
    ends = [found.end() for found in _SENTENCE.finditer(buffer)]
    if ends:
        return ends[-1]
    return len(buffer) if len(buffer) > _MAX_BUFFER_CHARACTERS else None


def _is_plain(chunk: dict[str, Any]) -> bool:
    """True for a chunk without finish reason and tool calls, such as the first one with the role."""
    return bool(chunk.get("choices")) and all(
        choice.get("finish_reason") is None and not (choice.get("delta") or {}).get("tool_calls")
        for choice in chunk["choices"]
    )


_SCANNED_FIELDS = frozenset({"role", "content", "tool_calls"})


def _drop_unscanned(chunk: dict[str, Any]) -> dict[str, Any]:
    """Remove fields that are not scanned, such as reasoning and log probabilities."""
    choices = []
    for choice in chunk.get("choices", ()):
        scanned = {name: value for name, value in choice.items() if name not in ("delta", "logprobs")}
        if "delta" in choice:
            delta = choice["delta"] or {}
            scanned["delta"] = {name: value for name, value in delta.items() if name in _SCANNED_FIELDS}
        choices.append({**scanned, "logprobs": None})
    return {**chunk, "choices": choices}


def _extract_text(chunk: dict[str, Any]) -> str:
    text = ""
    for choice in chunk.get("choices", ()):
        delta = choice.get("delta") or {}
        text += choice.get("text") or delta.get("content") or delta.get("reasoning_content") or ""
    return text


def _extract_arguments(chunk: dict[str, Any]) -> str:
    return "".join(
        (call.get("function") or {}).get("arguments") or ""
        for choice in chunk.get("choices", ())
        for call in (choice.get("delta") or {}).get("tool_calls") or ()
    )


def _replace_text(chunk: dict[str, Any], text: str | None) -> dict[str, Any]:
    """The chunk with only `text`; if it is None, the chunk without its text."""
    choices = []
    for choice in chunk["choices"]:
        finish = choice.get("finish_reason") if text is None else None
        replaced = {name: value for name, value in choice.items() if name not in ("delta", "text")} | {
            "finish_reason": finish
        }
        if "text" in choice:
            replaced["text"] = text or ""
        elif text is None:
            replaced["delta"] = {name: value for name, value in choice["delta"].items() if name != "content"}
        else:
            replaced["delta"] = {"content": text}
        choices.append(replaced)
    return {**chunk, "choices": choices}


def _common_fields(chunk: dict[str, Any]) -> dict[str, Any]:
    return {name: chunk[name] for name in ("id", "object", "created", "model") if name in chunk}
