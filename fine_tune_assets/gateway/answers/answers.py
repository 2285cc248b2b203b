"""An engine's answer on its way to the caller: whole or as a stream, past the detector of identifiers, in the form asked for.

Owns the events of a stream. Notes what the engine says of its tokens. A stream that breaks says so.
"""

import json
import re
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Any

from starlette.responses import JSONResponse, Response, StreamingResponse

from fine_tune_assets.gateway.answers.engine_client import Answer, StreamBrokenError
from fine_tune_assets.gateway.answers.identifiers import HEADER, AnswerGate, GateClosedError, guarded
from fine_tune_assets.gateway.answers.knowledge import Consulted, cited
from fine_tune_assets.gateway.records.records import Record
from fine_tune_assets.gateway.wire_format import DONE, DONE_EVENT, ApiError, content_of, dumped, error_body, event

_BETWEEN = re.compile(rb"\r?\n\r?\n")


@dataclass(frozen=True)
class Wanted:
    is_stream: bool
    has_usage: bool
    """A stream tells its tokens."""
    as_completion: bool
    """Chat is written as a completion."""
    given: str
    """To the model: what an answer may repeat."""
    deadline: float
    """Of the monotonic clock."""
    consulted: Consulted | None = None
    """The documents that it was answered from."""


async def response_of(answer: Answer, wanted: Wanted, record: Record, gate: AnswerGate) -> Response:
    """Raises ApiError when a whole answer may not go out."""
    if wanted.is_stream:
        events = _events(answer, wanted, record, gate)
        return StreamingResponse(events, media_type="text/event-stream", headers={"cache-control": "no-cache"})
    raw = answer.whole()
    record.note_first_token()
    try:
        body = json.loads(raw)
    except ValueError:
        raise ApiError(502, "engine_error", "The model's program sent no answer that can be read.") from None
    if not isinstance(body, dict):
        raise ApiError(502, "engine_error", "The model's program sent no answer that can be read.")
    record.note_usage(body.get("usage"))
    headers = {}
    if gate.is_on:
        try:
            record.identifiers = await gate.look(all_text(body), wanted.given)
        except GateClosedError as error:
            record.identifiers = error.found
            raise error.as_api_error() from None
        headers[HEADER] = _in_words(record.identifiers)
    record.hear(raw)
    if wanted.as_completion:
        return JSONResponse(as_completion(body), headers=headers)
    if wanted.consulted is not None:
        return JSONResponse(body | await wanted.consulted.fields(content_of(body)), headers=headers)
    return Response(raw, media_type="application/json", headers=headers)


async def _events(answer: Answer, wanted: Wanted, record: Record, gate: AnswerGate) -> AsyncIterator[bytes]:
    payloads = _noted(_payloads(answer.chunks(), wanted.deadline), wanted, record)
    if gate.is_on:
        payloads = guarded(payloads, gate, wanted.given, record)
    if wanted.consulted is not None:
        payloads = cited(payloads, wanted.consulted)
    try:
        async for payload in payloads:
            if payload == DONE:
                yield DONE_EVENT
                continue
            record.hear(payload)
            if wanted.as_completion:
                yield event(dumped(as_completion(json.loads(payload))))
            else:
                yield event(payload)
    except StreamBrokenError:
        message = "The model went away before the end of this answer. Ask again."
        yield _ended(record, error_body(502, "stream_broken", message))
    except _TooLateError:
        yield _ended(record, error_body(504, "engine_timeout", "The answer took too long and was cut off."))
    except GateClosedError as error:
        yield _ended(record, error.as_api_error().body)


class _TooLateError(Exception):
    """The whole answer took longer than is allowed."""


async def _payloads(chunks: AsyncIterator[bytes], deadline: float) -> AsyncIterator[bytes]:
    """The data of each event, however the bytes were cut up."""
    left = b""
    async for chunk in chunks:
        *whole, left = _BETWEEN.split(left + chunk)
        for one in whole:
            if one.startswith(b"data: "):
                yield one[6:]
        if time.monotonic() > deadline:
            raise _TooLateError


async def _noted(payloads: AsyncIterator[bytes], wanted: Wanted, record: Record) -> AsyncIterator[bytes]:
    """Without the tokens of the stream, which the gateway asks for in any case, if the caller did not ask."""
    async for payload in payloads:
        if b'"usage"' in payload:
            chunk = json.loads(payload)
            usage = chunk.pop("usage", None)
            if usage is not None:
                record.note_usage(usage)
                if not wanted.has_usage and not chunk.get("choices"):
                    continue
                if not wanted.has_usage:
                    payload = dumped(chunk)
        record.note_first_token()
        yield payload


def as_completion(body: dict[str, Any]) -> dict[str, Any]:
    """A chat answer, or a chunk of one, in the form of completions."""
    choices = []
    for choice in body.get("choices", ()):
        said = choice.get("message") or choice.get("delta") or {}
        finish = choice.get("finish_reason")
        text = said.get("content") or ""
        choices.append({"index": choice.get("index", 0), "text": text, "logprobs": None, "finish_reason": finish})
    return {**body, "object": "text_completion", "choices": choices}


def all_text(body: dict[str, Any]) -> str:
    """All that the model wrote, also as arguments of tools."""
    texts = []
    for choice in body.get("choices", ()):
        said = choice.get("message") or {}
        texts += [choice.get("text"), said.get("content"), said.get("reasoning_content")]
        texts += [call.get("function", {}).get("arguments") for call in said.get("tool_calls") or ()]
    return "\n".join(text for text in texts if isinstance(text, str))


def _in_words(found: int | None) -> str:
    return "not checked" if found is None else str(found)


def _ended(record: Record, error: dict[str, Any]) -> bytes:
    record.code = error["error"]["code"]
    return event(dumped(error))
