"""Relays an engine's answer to the caller, whole or streamed, through the identifier filter and in the requested format.

Records the engine's token usage. A stream that breaks ends with an error event.
"""

import json
import re
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Any

from starlette.responses import JSONResponse, Response, StreamingResponse

from fine_tune_assets.gateway.answers.cited_answers import RetrievalResult, add_citations
from fine_tune_assets.gateway.answers.engine_client import DeadlineExceededError, EngineAnswer, StreamBrokenError
from fine_tune_assets.gateway.answers.identifier_filter import (
    IDENTIFIERS_HEADER,
    AnswerBlockedError,
    AnswerGate,
    filter_stream,
)
from fine_tune_assets.gateway.records.request_record import RequestRecord
from fine_tune_assets.gateway.wire_format import (
    DONE,
    DONE_EVENT,
    ApiError,
    dump_json,
    error_body,
    extract_content,
    format_event,
)

_EVENT_SEPARATOR = re.compile(rb"\r?\n\r?\n")


@dataclass(frozen=True)
class ResponseOptions:
    is_stream: bool
    has_usage: bool
    """Whether a stream reports its token usage."""
    is_text_completion: bool
    """Whether a chat answer is returned in the completions format."""
    prompt_text: str
    """Everything that the model was given: identifiers in it may be repeated."""
    deadline: float
    """On the monotonic clock."""
    retrieval: RetrievalResult | None = None


async def build_response(
    answer: EngineAnswer, options: ResponseOptions, record: RequestRecord, gate: AnswerGate
) -> Response:
    """Raises ApiError if a non-streamed answer is blocked or unreadable."""
    if options.is_stream:
        events = _stream_events(answer, options, record, gate)
        return StreamingResponse(events, media_type="text/event-stream", headers={"cache-control": "no-cache"})
    raw = answer.read_body()
    record.mark_first_token()
    try:
        body = json.loads(raw)
    except ValueError:
        raise ApiError(502, "engine_error", "The engine sent an unreadable answer.") from None
    if not isinstance(body, dict):
        raise ApiError(502, "engine_error", "The engine sent an unreadable answer.")
    record.set_usage(body.get("usage"))
    headers = {}
    if gate.is_on:
        try:
            record.identifiers = await gate.scan(collect_text(body), options.prompt_text)
        except AnswerBlockedError as error:
            record.identifiers = error.found
            raise error.to_api_error() from None
        headers[IDENTIFIERS_HEADER] = _format_count(record.identifiers)
    record.add_payload(raw)
    if options.is_text_completion:
        return JSONResponse(to_text_completion(body), headers=headers)
    if options.retrieval is not None:
        return JSONResponse(body | await options.retrieval.build_fields(extract_content(body)), headers=headers)
    return Response(raw, media_type="application/json", headers=headers)


async def _stream_events(
    answer: EngineAnswer, options: ResponseOptions, record: RequestRecord, gate: AnswerGate
) -> AsyncIterator[bytes]:
    payloads = _record_usage(_split_payloads(answer.chunks(), options.deadline), options, record)
    if gate.is_on:
        payloads = filter_stream(payloads, gate, options.prompt_text, record)
    if options.retrieval is not None:
        payloads = add_citations(payloads, options.retrieval)
    try:
        async for payload in payloads:
            if payload == DONE:
                yield DONE_EVENT
                continue
            record.add_payload(payload)
            if options.is_text_completion:
                yield format_event(dump_json(to_text_completion(json.loads(payload))))
            else:
                yield format_event(payload)
    except StreamBrokenError:
        message = "The engine stopped before the answer was complete. Retry the request."
        yield _error_event(record, error_body(502, "stream_broken", message))
    except DeadlineExceededError:
        yield _error_event(
            record, error_body(504, "engine_timeout", "The answer exceeded the time limit and was cut off.")
        )
    except AnswerBlockedError as error:
        yield _error_event(record, error.to_api_error().body)


async def _split_payloads(chunks: AsyncIterator[bytes], deadline: float) -> AsyncIterator[bytes]:
    """The data of each event, wherever the chunks were split."""
    rest = b""
    async for chunk in chunks:
        *events, rest = _EVENT_SEPARATOR.split(rest + chunk)
        for event in events:
            if event.startswith(b"data: "):
                yield event[6:]
        if time.monotonic() > deadline:
            raise DeadlineExceededError


async def _record_usage(
    payloads: AsyncIterator[bytes], options: ResponseOptions, record: RequestRecord
) -> AsyncIterator[bytes]:
    """Record the token usage, and remove it from the stream unless the caller requested it."""
    async for payload in payloads:
        if b'"usage"' in payload:
            chunk = json.loads(payload)
            usage = chunk.pop("usage", None)
            if usage is not None:
                record.set_usage(usage)
                if not options.has_usage and not chunk.get("choices"):
                    continue
                if not options.has_usage:
                    payload = dump_json(chunk)
        record.mark_first_token()
        yield payload


def to_text_completion(body: dict[str, Any]) -> dict[str, Any]:
    """Convert a chat answer, or a chunk of one, to the completions format."""
    choices = []
    for choice in body.get("choices", ()):
        message = choice.get("message") or choice.get("delta") or {}
        finish = choice.get("finish_reason")
        text = message.get("content") or ""
        choices.append({"index": choice.get("index", 0), "text": text, "logprobs": None, "finish_reason": finish})
    return {**body, "object": "text_completion", "choices": choices}


def collect_text(body: dict[str, Any]) -> str:
    """Everything that the model wrote, including reasoning and tool call arguments."""
    texts = []
    for choice in body.get("choices", ()):
        message = choice.get("message") or {}
        texts += [choice.get("text"), message.get("content"), message.get("reasoning_content")]
        texts += [call.get("function", {}).get("arguments") for call in message.get("tool_calls") or ()]
    return "\n".join(text for text in texts if isinstance(text, str))


def _format_count(found: int | None) -> str:
    return "not checked" if found is None else str(found)


def _error_event(record: RequestRecord, error: dict[str, Any]) -> bytes:
    record.code = error["error"]["code"]
    return format_event(dump_json(error))
