"""Reads and validates request bodies, and builds the engine's request.

Checks the rules that depend on the release, the engine and the caller's scopes; the fields are in `request_models`. Error
messages give the location and kind of an error, never the text.
"""

import json
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

from pydantic import BaseModel, ValidationError
from starlette.requests import ClientDisconnect, Request

from fine_tune_assets.core.prompts.conversations import escape_control_tokens
from fine_tune_assets.core.releases.release_folders import PromptSettings
from fine_tune_assets.core.serving_engines import UNKNOWN_FEATURES, EngineFeatures
from fine_tune_assets.engines.running_server import PLAIN_SAMPLING
from fine_tune_assets.gateway.requests.request_models import (
    LIVE_MODEL,
    AssistantMessage,
    ChatRequest,
    CompletionRequest,
    CorrectionRequest,
    FeedbackRequest,
    FunctionDefinition,
    GenerationRequest,
    Message,
    TextMessage,
)
from fine_tune_assets.gateway.wire_format import ApiError, context_exceeded, invalid

MAX_BODY_BYTES = 1_000_000
DEFAULT_MAX_TOKENS = 512
"""Answer tokens if the caller sets no limit."""
MAX_CHARACTERS_PER_TOKEN = 16
"""On average over a text. English has 4 to 5; runs of blanks or signs can be one token, but no text consists of them."""
_MAX_ERRORS = 5
"""Errors listed in one message."""
_SAMPLING_FIELDS = ("temperature", "top_p", "max_tokens", "frequency_penalty", "presence_penalty", "seed", "stop")
"""Fields that are passed to the engine unchanged."""
_Model = TypeVar("_Model", bound=BaseModel)


@dataclass(frozen=True)
class Permissions:
    """What this caller can request from this release and its engine."""

    can_replace_system_prompt: bool = False
    can_send_raw: bool = False
    max_tokens: int = 1_000_000
    context_tokens: int = 1_000_000
    """Of the engine, for prompt and answer together."""
    features: EngineFeatures = UNKNOWN_FEATURES
    chat_template: str = ""
    """The release's template, which shows whether it supports tools."""


async def read_json(request: Request, limit: int = MAX_BODY_BYTES) -> dict[str, Any]:
    """The body as a JSON object. Raises ApiError if it is larger than `limit` bytes, incomplete, or not a JSON object."""
    too_large = ApiError(413, "body_too_large", f"The body is larger than {limit} bytes.")
    if int(request.headers.get("content-length") or 0) > limit:
        raise too_large
    content = bytearray()
    try:
        async for chunk in request.stream():
            content += chunk
            if len(content) > limit:
                raise too_large
    except ClientDisconnect:  # for the request log: the caller has left, or the connection's deadline has passed
        raise ApiError(408, "body_incomplete", "The body did not arrive completely.") from None
    try:
        value = json.loads(content)
        json.dumps(value, ensure_ascii=False).encode()  # JSON can contain an unpaired surrogate: "\ud800"
        if b"\\u0000" in content and "\\u0000" in json.dumps(value).replace("\\\\", ""):
            raise invalid(
                "The body contains the character U+0000, which engines and databases cut texts at. Remove it."
            )
    except UnicodeEncodeError:
        raise invalid(
            "The body contains an unpaired surrogate, which is not a character. Send complete characters."
        ) from None
    except (ValueError, RecursionError) as error:
        raise ApiError(400, "invalid_json", "The body is not valid JSON.") from error
    if not isinstance(value, dict):
        raise ApiError(400, "invalid_json", "The body must be a JSON object.")
    return value


def validate_body(model: type[_Model], body: Mapping[str, Any]) -> _Model:
    """Raises ApiError with the location and kind of each error. Repeats nothing that the caller wrote."""
    try:
        return model.model_validate(body)
    except ValidationError as error:
        found = error.errors(include_url=False, include_context=False, include_input=False)[:_MAX_ERRORS]
    raise invalid("; ".join(dict.fromkeys(map(_describe_error, found))))


def _describe_error(error: Mapping[str, Any]) -> str:
    place, kind = error["loc"], error["msg"].removeprefix("Value error, ")
    if error["type"] == "extra_forbidden":
        place, kind = place[:-1], "unknown field; /openapi.json lists the known ones"
    elif error["type"] == "union_tag_invalid":
        kind = "unknown role"  # pydantic's message repeats it
    return f"{'.'.join(map(str, place))[:200] or 'body'}: {kind}"


def parse_submission(body: Mapping[str, Any]) -> CorrectionRequest | FeedbackRequest:
    """Feedback if it has a rating, otherwise a correction. Null fields count as absent. Raises ApiError."""
    fields = {name: value for name, value in body.items() if value is not None}
    return validate_body(FeedbackRequest, fields) if "rating" in fields else validate_body(CorrectionRequest, fields)


def build_engine_request(
    request: GenerationRequest, release_id: str, prompt_settings: PromptSettings, permissions: Permissions
) -> dict[str, Any]:
    """The request to the engine, with the release's own system prompt first. Raises ApiError.

    Control tokens in messages are escaped, as in training, so that no caller or report can end or open a turn. The default
    temperature is 0, with which the release was judged.
    """
    if request.model not in (LIVE_MODEL, release_id):
        message = f"This model is not served. Set model to {LIVE_MODEL!r} or to the live release {release_id!r}."
        raise ApiError(404, "model_not_found", message)
    base = {"model": release_id, **_build_sampling(request, permissions)}
    _check_length(request, permissions)
    if isinstance(request, ChatRequest):
        messages = _build_messages(request.messages, prompt_settings, permissions)
        return {**base, "messages": messages, **_build_extras(request, permissions, prompt_settings.control_tokens)}
    if not request.raw:
        turn = TextMessage(role="user", content=request.prompt)
        return {**base, "messages": _build_messages([turn], prompt_settings, permissions)}
    if not permissions.can_send_raw:
        message = "raw needs the scope raw_completions. Ask the operator for a key with it."
        raise ApiError(403, "wrong_scope", message)
    return {**base, "prompt": request.prompt}


def _check_length(request: GenerationRequest, permissions: Permissions) -> None:
    """Refuse a prompt that is too long however it is tokenized, before the engine reads it: no token spans two words, and on
    average none has more than MAX_CHARACTERS_PER_TOKEN characters."""
    texts = [request.prompt] if isinstance(request, CompletionRequest) else list(_list_texts(request.messages))
    if sum(map(len, texts)) > permissions.context_tokens * MAX_CHARACTERS_PER_TOKEN:
        raise context_exceeded()
    if sum(len(text.split()) for text in texts) >= permissions.context_tokens:
        raise context_exceeded()


def _list_texts(messages: Sequence[Message]) -> Iterator[str]:
    for message in messages:
        yield message.content or ""
        if isinstance(message, AssistantMessage):
            yield from (call.function.arguments for call in message.tool_calls or ())


def require_readable_length(correction: CorrectionRequest, context_tokens: int) -> None:
    """A model with this context can't have read or written longer texts. Raises ApiError."""
    limit = context_tokens * MAX_CHARACTERS_PER_TOKEN
    texts = (correction.instruction, correction.input or "", correction.answer, correction.corrected_answer)
    if max(map(len, texts)) > limit:
        raise ApiError(413, "text_too_long", f"A text of the correction is longer than {limit} characters.")


def _build_sampling(request: GenerationRequest, permissions: Permissions) -> dict[str, Any]:
    sampling = {name: value for name in _SAMPLING_FIELDS if (value := getattr(request, name)) is not None}
    if isinstance(request, ChatRequest) and request.max_completion_tokens is not None:
        sampling["max_tokens"] = request.max_completion_tokens
    if sampling.get("max_tokens", 1) > permissions.max_tokens:
        raise invalid(f"max_tokens may be at most {permissions.max_tokens}.")
    defaults = {"temperature": 0, "max_tokens": min(DEFAULT_MAX_TOKENS, permissions.max_tokens), **PLAIN_SAMPLING}
    # Streams always report usage, for limits and metrics. The caller gets it only on request.
    usage = {"stream_options": {"include_usage": True}} if request.stream else {}
    return {"stream": bool(request.stream), **usage, **defaults, **sampling}


def _build_messages(
    messages: Sequence[Message], prompt_settings: PromptSettings, permissions: Permissions
) -> list[dict[str, Any]]:
    plain = [_sanitize_message(message, prompt_settings.control_tokens) for message in messages]
    if not permissions.can_replace_system_prompt or plain[0]["role"] != "system":
        plain.insert(0, {"role": "system", "content": prompt_settings.system_prompt})
    if any(message["role"] == "system" for message in plain[1:]):
        raise ApiError(
            400,
            "system_message_refused",
            "System messages are refused: the release has its own system prompt. "
            "A key with the scope system_prompt can send one, as the first message.",
        )
    if plain[-1]["role"] not in ("user", "tool"):
        raise invalid("The last message must have the role user or tool.")
    has_tools = any({"tool_calls", "tool_call_id"} & message.keys() for message in plain)
    if has_tools and "tool_calls" not in permissions.chat_template:
        raise ApiError(400, "not_supported", "The live release's chat template does not support tool messages.")
    return plain


def _sanitize_message(message: Message, tokens: Collection[str]) -> dict[str, Any]:
    """Escape control tokens in the content and in tool call arguments."""
    role = "system" if message.role == "developer" else message.role
    sanitized: dict[str, Any] = {"role": role, "content": escape_control_tokens(message.content or "", tokens)}
    if message.role == "tool":
        sanitized["tool_call_id"] = message.tool_call_id
    elif message.role == "assistant" and message.tool_calls:
        sanitized["tool_calls"] = [call.model_dump() for call in message.tool_calls]
        for call in sanitized["tool_calls"]:
            call["function"]["arguments"] = escape_control_tokens(call["function"]["arguments"], tokens)
    return sanitized


def _build_extras(request: ChatRequest, permissions: Permissions, control_tokens: Sequence[str]) -> dict[str, Any]:
    """Tools, response format and log probabilities. Refuses what the engine does not support."""
    features, extras = permissions.features, _build_tools(request, permissions, control_tokens)
    if answer_format := request.answer_format:
        _check_support(features.has_schemas, features, "response_format")
        extras["response_format"] = {"type": answer_format.type}
        if answer_format.type == "json_schema" and answer_format.json_schema:
            schema = answer_format.json_schema
            extras["response_format"]["json_schema"] = {"name": schema.name, "strict": True, "schema": schema.schema_}
    if request.logprobs:
        _check_support(features.has_logprobs, features, "logprobs")
        extras |= {"logprobs": True, "top_logprobs": request.top_logprobs or 0}
    return extras


def _build_tools(request: ChatRequest, permissions: Permissions, control_tokens: Sequence[str]) -> dict[str, Any]:
    if not request.tools:
        return {}
    choice, tools = request.tool_choice or "auto", [_build_tool(tool.function) for tool in request.tools]
    if any(token in json.dumps(tools, ensure_ascii=False) for token in control_tokens):
        raise invalid("tools may not contain the chat template's control tokens.")
    if choice == "none":
        return {}
    if "tools" not in permissions.chat_template:
        message = "The live release's chat template does not support tools: its model was not trained to call any."
        raise ApiError(400, "not_supported", message)
    kind, supported = choice if isinstance(choice, str) else "named", permissions.features.tool_choices
    alternatives = f" Supported: {', '.join(sorted(supported)) or 'none'}."
    _check_support(kind in supported, permissions.features, f"tool_choice {kind}", alternatives)
    if isinstance(choice, str):
        return {"tools": tools, "tool_choice": choice}
    if permissions.features.is_named_sent_as_required:
        named = [tool for tool in tools if tool["function"]["name"] == choice.function.name]
        return {"tools": named, "tool_choice": "required"}
    return {"tools": tools, "tool_choice": choice.model_dump()}


def _build_tool(function: FunctionDefinition) -> dict[str, Any]:
    parameters = function.parameters or {"type": "object"}
    definition = {"name": function.name, "description": function.description or "", "parameters": parameters}
    return {"type": "function", "function": definition}


def _check_support(is_supported: bool, features: EngineFeatures, feature: str, alternatives: str = "") -> None:
    if not is_supported:
        raise ApiError(400, "not_supported", f"{features.program} does not support {feature}.{alternatives}")
