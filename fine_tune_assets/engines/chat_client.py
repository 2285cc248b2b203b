"""Sends chat completions to an OpenAI-compatible server on loopback or inside the network.

Sets time limits, constrains replies by a JSON schema and classifies failures. Thread-safe. Errors never quote the prompt or the
reply.
"""

import json
import ssl
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import httpx

from fine_tune_assets.core.errors import FineTuneError
from fine_tune_assets.core.prompts.conversations import Message

CONNECT_SECONDS = 10.0
TOP_LOGPROBS = 20
"""Alternatives of a token to request: the maximum of the OpenAI API, and vLLM's default maximum."""
_MODEL_FIELDS = ("id", "root", "parent", "owned_by", "max_model_len", "meta")
"""Fields kept from an entry of /models. `created` and `permission` change with every start of a server."""


class ChatServerError(FineTuneError):
    """The server is unusable: wrong address, key or model name."""


class NoReplyError(FineTuneError):
    """One request got no reply."""

    def __init__(self, reason: str, is_retryable: bool) -> None:
        super().__init__(reason)
        self.is_retryable = is_retryable


@dataclass(frozen=True)
class SettingNames:
    """The names of a server's settings, for error messages."""

    url: str
    key: str
    model: str


@dataclass(frozen=True)
class ChatServer:
    url: str
    """Base address, such as http://127.0.0.1:8000/v1."""
    api_key: str
    """Empty for a server without authentication."""
    model: str
    timeout_seconds: float = 600.0
    """Per reply, including the wait for a free slot."""
    setting_names: SettingNames | None = None
    """None for a server that this process started."""
    template_kwargs: Mapping[str, Any] = field(default_factory=dict)
    """Variables of the model's chat template; vLLM and llama.cpp read them from each request."""


@dataclass(frozen=True)
class ChatPrompt:
    messages: Sequence[Message]
    max_tokens: int
    temperature: float
    seed: int
    schema: Mapping[str, Any] | None = None
    """JSON schema that constrains the reply."""
    has_first_token_logprobs: bool = False
    """Whether the reply is of use only with log-probabilities: a server that refuses them returns an empty reply."""
    has_token_logprobs: bool = False
    """Whether to request the log-probabilities of every token. A server that refuses them replies without."""


@dataclass(frozen=True)
class ReplyToken:
    text: str
    """Pieces of a multi-byte character are replaced."""
    alternatives: tuple[tuple[str, float], ...]
    """Text and log-probability of the most probable tokens. Two tokens may have the same text."""


@dataclass(frozen=True)
class ChatReply:
    text: str
    is_finished: bool
    """False if the reply was cut off at `max_tokens`."""
    tokens: tuple[ReplyToken, ...] = ()
    """Every token that the model wrote, with reasoning and end tokens, if the server returns them; empty if log-probabilities
    were not requested or not supported by the server."""

    @property
    def first_token_logprobs(self) -> Mapping[str, float]:
        """Top first tokens → log-probability."""
        return dict(self.tokens[0].alternatives) if self.tokens else {}


class ChatClient:
    """A client of one server. Close it after use."""

    def __init__(self, server: ChatServer) -> None:
        self._server = server
        headers = {"Authorization": f"Bearer {server.api_key}"} if server.api_key else {}
        self._client = httpx.Client(
            base_url=server.url,
            headers=headers,
            timeout=httpx.Timeout(server.timeout_seconds, connect=CONNECT_SECONDS),
            limits=httpx.Limits(max_connections=None),
            # Use the system's certificates, such as an intranet's, and no proxy from the environment, which would lead outside.
            verify=ssl.create_default_context(),
            trust_env=False,
            follow_redirects=False,
        )

    def close(self) -> None:
        self._client.close()

    def describe_model(self) -> dict[str, Any]:
        """The server's entry for the model. Raises ChatServerError if the server does not answer or does not have the model."""
        server = f"The server at {self._server.url}"
        try:
            reply = self._client.get("models")
            entries = [entry for entry in reply.json()["data"] if isinstance(entry, dict)]
        except httpx.HTTPError as error:
            raise ChatServerError(f"{server} does not answer ({type(error).__name__}). Is it running?") from None
        except (ValueError, KeyError, TypeError):
            raise ChatServerError(
                f"{server} lists no models (HTTP {reply.status_code}). {self._hint(reply.status_code)}"
            ) from None
        for entry in entries:
            if entry.get("id") == self._server.model:
                return {name: entry[name] for name in _MODEL_FIELDS if name in entry}
        raise ChatServerError(
            f"{server} has no model {self._server.model}; it has {len(entries)} others. {self._hint(None)}"
        )

    def complete(self, prompt: ChatPrompt) -> ChatReply:
        """Raises NoReplyError if this request failed, ChatServerError if every request would fail."""
        reply = self._post(self._request_body(prompt))
        if reply.status_code == 200:
            return _parse_reply(reply)
        code, error = reply.status_code, parse_error(reply.content)
        exceeds = is_context_exceeded(error)
        if code in (400, 422, 501) and not exceeds:  # the server may not support log-probabilities
            if prompt.has_first_token_logprobs:
                return ChatReply("", is_finished=True)
            if prompt.has_token_logprobs:
                return self.complete(replace(prompt, has_token_logprobs=False))
        if code in (401, 403, 404) or 300 <= code < 400:
            raise ChatServerError(
                f"The server at {self._server.url} refused the request (HTTP {code}). {self._hint(code)}"
            )
        if exceeds:
            raise NoReplyError("prompt and reply are longer than the model's context", False)
        raise NoReplyError(f"the server failed (HTTP {code})", code == 429 or code >= 500)

    def _hint(self, status: int | None) -> str:
        """How to fix the error, in the names of the settings. `status` None: the server does not have the model."""
        names = self._server.setting_names
        if names is None:
            return "The server was started for this run: see its log."
        if status is None:
            return f"Correct {names.model}."
        if status in (401, 403):
            return f"Put the server's key into the file that {names.key} names."
        if status == 404:
            return f"{names.url} must be the part before /chat/completions; it usually ends with /v1."
        return f"Is {names.url} the address of an OpenAI-compatible server?"

    def _post(self, body: Mapping[str, Any]) -> httpx.Response:
        try:
            return self._client.post("chat/completions", json=body)
        except httpx.HTTPError as error:
            # `from None`, because a message of the transport may quote the request.
            raise NoReplyError(f"the server did not answer ({type(error).__name__})", True) from None

    def _request_body(self, question: ChatPrompt) -> dict[str, Any]:
        body: dict[str, Any] = {
            "model": self._server.model,
            "messages": list(question.messages),
            "max_tokens": question.max_tokens,
            "temperature": question.temperature,
            "seed": question.seed,
        }
        if self._server.template_kwargs:
            body["chat_template_kwargs"] = dict(self._server.template_kwargs)
        if question.has_first_token_logprobs or question.has_token_logprobs:
            body |= {"logprobs": True, "top_logprobs": TOP_LOGPROBS}
        if question.schema is not None:
            json_schema = {"name": "reply", "strict": True, "schema": question.schema}
            body["response_format"] = {"type": "json_schema", "json_schema": json_schema}
        return body


def _parse_reply(reply: httpx.Response) -> ChatReply:
    try:
        choice = reply.json()["choices"][0]
        text = choice["message"]["content"]
        if not isinstance(text, str):
            raise TypeError
        return ChatReply(text, choice.get("finish_reason") != "length", _parse_tokens(choice.get("logprobs")))
    except (ValueError, KeyError, IndexError, TypeError, AttributeError):
        raise NoReplyError("the reply is not a chat completion", True) from None


def _parse_tokens(logprobs: Any) -> tuple[ReplyToken, ...]:
    """Empty if missing or malformed."""
    try:
        return tuple(_parse_token(entry) for entry in logprobs["content"])
    except (AttributeError, KeyError, TypeError, ValueError):
        return ()


def _parse_token(entry: Any) -> ReplyToken:
    alternatives = ((_token_text(other), float(other["logprob"])) for other in entry["top_logprobs"])
    return ReplyToken(_token_text(entry), tuple(alternatives))


def _token_text(entry: Any) -> str:
    """From the bytes if present, because the text of a piece of a character differs between servers."""
    return bytes(entry["bytes"]).decode(errors="replace") if entry.get("bytes") else str(entry["token"])


def parse_error(content: bytes) -> dict[str, str]:
    """The fields of an OpenAI error. They may quote the prompt: inspect them, but never log or return them."""
    try:
        body = json.loads(content)
        error = body.get("error", body)
        return {name: str(error.get(name)) for name in ("code", "type", "message")}
    except (ValueError, AttributeError):
        return {"code": "", "type": "", "message": ""}


def is_context_exceeded(error: Mapping[str, str]) -> bool:
    is_known = error["code"] == "context_length_exceeded" or error["type"] == "exceed_context_size_error"
    return is_known or "maximum context length" in error["message"]


def is_unparsable_tool_call(error: Mapping[str, str]) -> bool:
    """llama.cpp's error for an answer that does not match the tool call format of the chat template. The server is healthy, and
    the same request fails again."""
    return "does not match the expected" in error["message"]
