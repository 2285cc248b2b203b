"""What callers may send: read within a limit, checked field by field, and turned into what the engine gets.

Owns the allow-list of fields. Pure but for reading the body. Error messages name fields, never their values.
"""

import asyncio
import json
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any

from starlette.requests import Request

from fine_tune_assets.core.chat import as_plain_text
from fine_tune_assets.core.error_kinds import KINDS_OF_CORRECTION, RATINGS, SEVERITIES
from fine_tune_assets.core.releases import AskedWith
from fine_tune_assets.engines.running import PLAIN_SAMPLING
from fine_tune_assets.gateway.errors import ApiError
from fine_tune_assets.gateway.errors import invalid as _invalid
from fine_tune_assets.gateway.extras import FIELDS as EXTRA_FIELDS
from fine_tune_assets.gateway.extras import extra_fields, tool_message
from fine_tune_assets.gateway.features import NOTHING_KNOWN, Features

MAX_BODY_BYTES = 1_000_000
MAX_TOKENS_DEFAULT = 512
"""Tokens of an answer when the caller does not say."""
LIVE = "live"
"""The model name that always means the release that is live."""

_CHECKS: dict[str, tuple[float, float]] = {
    "temperature": (0, 2),
    "top_p": (0, 1),
    "max_tokens": (1, 1_000_000),
    "frequency_penalty": (-2, 2),
    "presence_penalty": (-2, 2),
    "seed": (0, 2**32 - 1),
}
"""Number fields that go through to the engine: lowest, highest."""
_WHOLE_NUMBERS = frozenset({"max_tokens", "seed"})
_OTHER_FIELDS = frozenset(
    {"model", "messages", "stream", "stream_options", "stop", "n", "user", "max_completion_tokens", "knowledge"}
)
_READ_SECONDS = 30.0
"""For a whole body: who sends it by the byte holds a place."""
_CORRECTION_TEXTS = ("release_id", "instruction", "input", "answer", "corrected_answer")
_LONGEST_WORK_SECONDS = 86_400


@dataclass(frozen=True)
class CorrectionBody:
    release_id: str
    instruction: str
    input: str
    answer: str
    corrected_answer: str
    error_kind: str | None = None
    severity: str | None = None
    seconds_spent: int | None = None


@dataclass(frozen=True)
class FeedbackBody:
    """A thumb, without a better answer."""

    release_id: str
    rating: str
    error_kind: str | None = None
    severity: str | None = None


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
        is_unicode = _is_unicode(value)
    except (ValueError, RecursionError) as error:
        raise ApiError(400, "invalid_json", "The body is not valid JSON.") from error
    if not isinstance(value, dict):
        raise ApiError(400, "invalid_json", "The body must be a JSON object.")
    if not is_unicode:
        raise _invalid("The body holds half of a surrogate pair, which is no character. Send whole characters.")
    return value


def _is_unicode(value: Any) -> bool:
    """JSON can spell half a character (`"\\ud800"`), which nothing behind the gateway can write as UTF-8."""
    try:
        json.dumps(value, ensure_ascii=False).encode()
    except UnicodeEncodeError:
        return False
    return True


def engine_request(body: Mapping[str, Any], release_id: str, asked_with: AskedWith, permits: Permits) -> dict[str, Any]:
    """What the engine is asked, with the release's own system prompt first. Raises ApiError.

    Control tokens in messages are made plain text, as in training: no caller, and no report, ends a turn or opens one.
    Temperature is 0 unless the caller says otherwise: that is how the release was judged.
    """
    refuse_unknown(body, {*_CHECKS, *_OTHER_FIELDS, *EXTRA_FIELDS})
    check_model(body, release_id)
    return {
        "model": release_id,
        "messages": _conversation(body.get("messages"), asked_with, permits),
        **sampling_fields(body, permits),
        **extra_fields(body, permits.features, permits.template, asked_with.control_tokens),
    }


def refuse_unknown(body: Mapping[str, Any], known: Collection[str]) -> None:
    unknown = sorted(set(body) - set(known))
    if unknown:
        raise _invalid(f"These fields are not supported: {', '.join(map(repr, unknown))[:200]}.")


def check_model(body: Mapping[str, Any], release_id: str) -> None:
    if body.get("model", LIVE) not in (LIVE, release_id):
        message = f"That model is not served. Name {LIVE!r}, or the live release {release_id!r}."
        raise ApiError(404, "model_not_found", message)


def sampling_fields(body: Mapping[str, Any], permits: Permits) -> dict[str, Any]:
    """How the answer is sampled, how long it may be and whether it is streamed. Raises ApiError."""
    if body.get("n") not in (None, 1):
        raise _invalid("Only one answer a request: n must be 1.")
    numbers = {name: body[name] for name in _CHECKS if body.get(name) is not None}
    if body.get("max_completion_tokens") is not None:
        numbers["max_tokens"] = body["max_completion_tokens"]
    for name, value in numbers.items():
        _check_number(name, value)
    if numbers.get("max_tokens", 1) > permits.max_tokens:
        raise _invalid(f"max_tokens may be at most {permits.max_tokens}.")
    defaults = {"temperature": 0, "max_tokens": min(MAX_TOKENS_DEFAULT, permits.max_tokens), **PLAIN_SAMPLING}
    stop = {"stop": _stop(body["stop"])} if body.get("stop") is not None else {}
    # Always asked for: tokens are counted for limits and metrics. The caller sees them if it asked.
    told = {"stream_options": {"include_usage": True}} if is_streaming(body) else {}
    wants_usage(body)
    return {"stream": is_streaming(body), **told, **defaults, **numbers, **stop}


def wants_usage(body: Mapping[str, Any]) -> bool:
    """Whether a stream shall tell its tokens. Raises ApiError."""
    options = body.get("stream_options")
    if options is None:
        return False
    is_known = isinstance(options, dict) and not set(options) - {"include_usage", "include_obfuscation"}
    if not is_known or not is_streaming(body) or options.get("include_usage") not in (None, True, False):
        raise _invalid("stream_options needs a stream, and may hold include_usage only.")
    return bool(options.get("include_usage"))


def wants_knowledge(body: Mapping[str, Any]) -> bool | None:
    """Whether the question shall be answered from documents; None: the caller does not say. Raises ApiError."""
    wanted = body.get("knowledge")
    if wanted is not None and not isinstance(wanted, bool):
        raise _invalid("knowledge must be true or false.")
    if wanted and (body.get("tools") or body.get("response_format")):
        raise _invalid("knowledge can't be asked for together with tools or response_format.")
    return wanted


def _conversation(value: Any, asked_with: AskedWith, permits: Permits) -> list[dict[str, Any]]:
    messages = _messages(value, permits)
    if messages[0]["role"] != "system":
        messages.insert(0, {"role": "system", "content": asked_with.system_prompt})
        return [messages[0], *(_plain(message, asked_with.control_tokens) for message in messages[1:])]
    return [_plain(message, asked_with.control_tokens) for message in messages]


def _plain(message: Mapping[str, Any], tokens: Collection[str]) -> dict[str, Any]:
    """Without control tokens in what a caller wrote: in the content, and in the arguments of calls."""
    found = {**message, "content": as_plain_text(message["content"], tokens)}
    for call in found.get("tool_calls", ()):
        call["function"]["arguments"] = as_plain_text(call["function"]["arguments"], tokens)
    return found


def is_streaming(body: Mapping[str, Any]) -> bool:
    stream = body.get("stream")
    if stream not in (None, True, False):
        raise _invalid("stream must be true or false.")
    return bool(stream)


def _messages(value: Any, permits: Permits) -> list[dict[str, Any]]:
    if not isinstance(value, list) or not value:
        raise _invalid("messages must be a list with at least one message.")
    first = [_system_message(value[0])] if permits.may_replace_system_prompt and _is_system(value[0]) else []
    messages = [*first, *(_message(entry, permits) for entry in value[len(first) :])]
    if messages[-1]["role"] not in ("user", "tool"):
        raise _invalid("The last message must be the user's, or a tool's.")
    return messages


def _is_system(value: Any) -> bool:
    return isinstance(value, dict) and value.get("role") in ("system", "developer")


def _system_message(value: Mapping[str, Any]) -> dict[str, Any]:
    return {"role": "system", "content": _content(value.get("content"))}


def _message(value: Any, permits: Permits) -> dict[str, Any]:
    if _is_system(value):
        raise ApiError(
            400,
            "system_message_refused",
            "A system message is refused: the release was trained with its own, which is put first. "
            "Only a key with the scope system_prompt may send one, and only as the first message.",
        )
    role = value.get("role") if isinstance(value, dict) else None
    if role not in ("user", "assistant", "tool"):
        raise _invalid("Each message needs the role user, assistant or tool.")
    of_tools = tool_message(value, _content, permits.template)
    return of_tools or {"role": role, "content": _content(value.get("content"))}


def _content(value: Any) -> str:
    if isinstance(value, str):
        return value
    if isinstance(value, list) and all(
        isinstance(part, dict) and part.get("type") == "text" and isinstance(part.get("text"), str) for part in value
    ):
        return "".join(part["text"] for part in value)
    raise _invalid("The content of a message must be text.")


def _check_number(name: str, value: Any) -> None:
    lowest, highest = _CHECKS[name]
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    if is_number and lowest <= value <= highest and (name not in _WHOLE_NUMBERS or isinstance(value, int)):
        return
    kind = "a whole number" if name in _WHOLE_NUMBERS else "a number"
    raise _invalid(f"{name} must be {kind} from {lowest:g} to {highest:g}.")


def _stop(value: Any) -> list[str]:
    stops = [value] if isinstance(value, str) else value
    if not isinstance(stops, list) or len(stops) > 4 or not all(isinstance(s, str) and s for s in stops):
        raise _invalid("stop must be a text, or a list of at most four.")
    return stops


def correction_body(body: Mapping[str, Any]) -> CorrectionBody | FeedbackBody:
    """A correction; with a `rating` and no texts, feedback. Raises ApiError when a field is unknown, absent or on no list."""
    given = {name: value for name, value in body.items() if value is not None}
    kind = FeedbackBody if "rating" in given else CorrectionBody
    unknown = sorted(set(given) - set(kind.__dataclass_fields__))
    if unknown:
        hint = " A rating comes without texts; a better answer without a rating." if "rating" in given else ""
        raise _invalid(f"These fields are not known: {', '.join(map(repr, unknown))[:200]}.{hint}")
    for name, allowed in (("error_kind", KINDS_OF_CORRECTION), ("severity", SEVERITIES), ("rating", RATINGS)):
        if name in given and given[name] not in allowed:
            raise _invalid(f"{name} must be one of {', '.join(allowed)}.")
    values = {"input": "", **given} if kind is CorrectionBody else given
    texts = _CORRECTION_TEXTS if kind is CorrectionBody else ("release_id",)
    faulty = [name for name in texts if not isinstance(values.get(name), str)]
    required = ("release_id", "instruction", "corrected_answer")
    empty = [n for n in required if n in texts and not faulty and not values[n].strip()]
    if faulty or empty:
        raise _invalid(f"These fields must be texts, and not empty: {', '.join(faulty or empty)}.")
    _check_seconds(values.get("seconds_spent"))
    return kind(**values)


def _check_seconds(value: Any) -> None:
    if value is None or (type(value) is int and 0 <= value <= _LONGEST_WORK_SECONDS):
        return
    raise _invalid(f"seconds_spent must be a whole number from 0 to {_LONGEST_WORK_SECONDS}.")
