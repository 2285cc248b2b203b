"""Reads a request's body within its limits, validates it, and writes it in the form that the engine takes.

Owns what depends on the release, the engine and the caller's scopes; the fields are in `request_models`. Error messages give the
location and kind of an error, never the text.
"""

import asyncio
import json
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

from pydantic import BaseModel, ValidationError
from starlette.requests import Request

from fine_tune_assets.core.prompts.chat import as_plain_text
from fine_tune_assets.core.releases.release_folders import AskedWith
from fine_tune_assets.core.serving_engines import NOTHING_KNOWN, Features
from fine_tune_assets.engines.running_server import PLAIN_SAMPLING
from fine_tune_assets.gateway.requests.request_models import (
    LIVE,
    ChatRequest,
    CorrectionRequest,
    FeedbackRequest,
    Function,
    Message,
    Question,
    TextMessage,
)
from fine_tune_assets.gateway.wire_format import ApiError, invalid

MAX_BODY_BYTES = 1_000_000
MAX_TOKENS_DEFAULT = 512
"""Tokens of an answer when the caller does not say."""
_READ_SECONDS = 30.0
"""For a whole body: who sends it by the byte holds a place."""
_MOST_ERRORS = 5
"""Named in one message."""
_SAMPLING = ("temperature", "top_p", "max_tokens", "frequency_penalty", "presence_penalty", "seed", "stop")
"""Fields that the engine gets as they are."""
_Model = TypeVar("_Model", bound=BaseModel)


@dataclass(frozen=True)
class Permits:
    """What this caller may ask of this release and of the program that serves it."""

    may_replace_system_prompt: bool = False
    may_be_raw: bool = False
    max_tokens: int = 1_000_000
    features: Features = NOTHING_KNOWN
    template: str = ""
    """Of the release: whether it has a place for tools."""


async def read_json(request: Request, limit: int = MAX_BODY_BYTES) -> dict[str, Any]:
    """The body as a JSON object. Raises ApiError when it is larger than `limit` bytes, or not one."""
    too_large = ApiError(413, "body_too_large", f"The body is larger than {limit} bytes.")
    if int(request.headers.get("content-length") or 0) > limit:
        raise too_large
    content = bytearray()
    try:
        async with asyncio.timeout(_READ_SECONDS):
            async for chunk in request.stream():
                content += chunk
                if len(content) > limit:
                    raise too_large
    except TimeoutError:
        raise ApiError(408, "body_too_slow", f"The body did not come within {_READ_SECONDS:g} seconds.") from None
    try:
        value = json.loads(content)
        json.dumps(value, ensure_ascii=False).encode()  # JSON can spell half a character: "\ud800"
    except UnicodeEncodeError:
        raise invalid(
            "The body holds half of a surrogate pair, which is no character. Send whole characters."
        ) from None
    except (ValueError, RecursionError) as error:
        raise ApiError(400, "invalid_json", "The body is not valid JSON.") from error
    if not isinstance(value, dict):
        raise ApiError(400, "invalid_json", "The body must be a JSON object.")
    return value


def validated(model: type[_Model], body: Mapping[str, Any]) -> _Model:
    """Raises ApiError with the location and kind of each error. Only names of unknown fields are repeated."""
    try:
        return model.model_validate(body)
    except ValidationError as error:
        found = error.errors(include_url=False, include_context=False, include_input=False)[:_MOST_ERRORS]
    raise invalid("; ".join(map(_described, found)))


def _described(error: Mapping[str, Any]) -> str:
    place, kind = error["loc"], error["msg"].removeprefix("Value error, ")
    if error["type"] == "extra_forbidden":
        place = place[:-1] or place  # within an object the name stays unsaid
    elif error["type"] == "union_tag_invalid":
        kind = "unknown role"  # pydantic's message repeats it
    return f"{'.'.join(map(str, place))[:200] or 'body'}: {kind}"


def correction_or_feedback(body: Mapping[str, Any]) -> CorrectionRequest | FeedbackRequest:
    """Feedback if it has a rating. A field that is null counts as absent. Raises ApiError."""
    given = {name: value for name, value in body.items() if value is not None}
    return validated(FeedbackRequest, given) if "rating" in given else validated(CorrectionRequest, given)


def engine_request(question: Question, release_id: str, asked_with: AskedWith, permits: Permits) -> dict[str, Any]:
    """The request to the engine, with the release's own system prompt first. Raises ApiError.

    Control tokens in messages become plain text, as in training: no caller, and no report, ends a turn or opens one.
    Temperature is 0 unless the caller says otherwise: that is how the release was judged.
    """
    if question.model not in (LIVE, release_id):
        message = f"That model is not served. Name {LIVE!r}, or the live release {release_id!r}."
        raise ApiError(404, "model_not_found", message)
    asked = {"model": release_id, **_sampling(question, permits)}
    if isinstance(question, ChatRequest):
        messages = _conversation(question.messages, asked_with, permits)
        return {**asked, "messages": messages, **_extras(question, permits, asked_with.control_tokens)}
    if not question.raw:
        turn = TextMessage(role="user", content=question.prompt)
        return {**asked, "messages": _conversation([turn], asked_with, permits)}
    if not permits.may_be_raw:
        message = "raw needs the scope raw_completions. Ask the operator for a key that has it."
        raise ApiError(403, "wrong_scope", message)
    return {**asked, "prompt": question.prompt}


def _sampling(question: Question, permits: Permits) -> dict[str, Any]:
    given = {name: value for name in _SAMPLING if (value := getattr(question, name)) is not None}
    if isinstance(question, ChatRequest) and question.max_completion_tokens is not None:
        given["max_tokens"] = question.max_completion_tokens
    if given.get("max_tokens", 1) > permits.max_tokens:
        raise invalid(f"max_tokens may be at most {permits.max_tokens}.")
    defaults = {"temperature": 0, "max_tokens": min(MAX_TOKENS_DEFAULT, permits.max_tokens), **PLAIN_SAMPLING}
    # A stream always reports its tokens, for limits and metrics. The caller sees them only on request.
    usage = {"stream_options": {"include_usage": True}} if question.stream else {}
    return {"stream": bool(question.stream), **usage, **defaults, **given}


def _conversation(messages: Sequence[Message], asked_with: AskedWith, permits: Permits) -> list[dict[str, Any]]:
    plain = [_plain(message, asked_with.control_tokens) for message in messages]
    if not permits.may_replace_system_prompt or plain[0]["role"] != "system":
        plain.insert(0, {"role": "system", "content": asked_with.system_prompt})
    if any(message["role"] == "system" for message in plain[1:]):
        raise ApiError(
            400,
            "system_message_refused",
            "A system message is refused: the release was trained with its own, which is put first. "
            "Only a key with the scope system_prompt may send one, and only as the first message.",
        )
    if plain[-1]["role"] not in ("user", "tool"):
        raise invalid("The last message must be the user's, or a tool's.")
    has_tools = any({"tool_calls", "tool_call_id"} & message.keys() for message in plain)
    if has_tools and "tool_calls" not in permits.template:
        raise ApiError(400, "not_supported", "The live release's template has no place for messages of tools.")
    return plain


def _plain(message: Message, tokens: Collection[str]) -> dict[str, Any]:
    """Without control tokens in the content and in the arguments of calls."""
    role = "system" if message.role == "developer" else message.role
    found: dict[str, Any] = {"role": role, "content": as_plain_text(message.content or "", tokens)}
    if message.role == "tool":
        found["tool_call_id"] = message.tool_call_id
    elif message.role == "assistant" and message.tool_calls:
        found["tool_calls"] = [call.model_dump() for call in message.tool_calls]
        for call in found["tool_calls"]:
            call["function"]["arguments"] = as_plain_text(call["function"]["arguments"], tokens)
    return found


def _extras(question: ChatRequest, permits: Permits, control_tokens: Sequence[str]) -> dict[str, Any]:
    """Tools, the form of the answer and probabilities, as the program that serves takes them. What it can't do is refused."""
    features, extras = permits.features, _tools(question, permits, control_tokens)
    if form := question.form:
        _check_support(features.has_schemas, features, "response_format")
        extras["response_format"] = {"type": form.type}
        if form.type == "json_schema" and form.json_schema:
            named = {"name": form.json_schema.name, "strict": True, "schema": form.json_schema.schema_}
            extras["response_format"]["json_schema"] = named
    if question.logprobs:
        _check_support(features.has_probabilities, features, "logprobs")
        extras |= {"logprobs": True, "top_logprobs": question.top_logprobs or 0}
    return extras


def _tools(question: ChatRequest, permits: Permits, control_tokens: Sequence[str]) -> dict[str, Any]:
    if not question.tools:
        return {}
    choice, tools = question.tool_choice or "auto", [_tool(tool.function) for tool in question.tools]
    if any(token in json.dumps(tools, ensure_ascii=False) for token in control_tokens):
        raise invalid("tools may not hold the template's control tokens.")
    if choice == "none":
        return {}
    if "tools" not in permits.template:
        message = "The live release's template has no place for tools: its model was not trained to call any."
        raise ApiError(400, "not_supported", message)
    kind, supported = choice if isinstance(choice, str) else "named", permits.features.tool_choices
    can = f" It can do: {', '.join(sorted(supported)) or 'none'}."
    _check_support(kind in supported, permits.features, f"tool_choice {kind}", can)
    if isinstance(choice, str):
        return {"tools": tools, "tool_choice": choice}
    if permits.features.has_named_as_required:
        named = [tool for tool in tools if tool["function"]["name"] == choice.function.name]
        return {"tools": named, "tool_choice": "required"}
    return {"tools": tools, "tool_choice": choice.model_dump()}


def _tool(function: Function) -> dict[str, Any]:
    parameters = function.parameters or {"type": "object"}
    written = {"name": function.name, "description": function.description or "", "parameters": parameters}
    return {"type": "function", "function": written}


def _check_support(is_supported: bool, features: Features, what: str, instead: str = "") -> None:
    if not is_supported:
        raise ApiError(400, "not_supported", f"{features.program} can't do this: {what}.{instead}")
