"""Asks an OpenAI-compatible server for chat completions: one of ours on loopback, or one inside the network.

Owns time limits, how a reply is constrained by a JSON schema, and what each kind of failure means. It is safe to use
from several threads. Its errors hold no text: neither what was asked nor what came back.
"""

import json
import ssl
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import httpx

from fine_tune_assets.core.errors import FineTuneError
from fine_tune_assets.core.prompts.chat import Message

CONNECT_SECONDS = 10.0
TOP_TOKENS = 20
"""Likeliest first tokens that are asked for: the most that vLLM gives unless told otherwise."""
_DESCRIBED = ("id", "root", "parent", "owned_by", "max_model_len", "meta")
"""Of an entry of /models. `created` and `permission` change with every start of a server."""


class ChatServerError(FineTuneError):
    """The server can't be used at all: wrong address, key or name."""


class NoReplyError(FineTuneError):
    """One question got no reply."""

    def __init__(self, why: str, is_worth_another_try: bool) -> None:
        super().__init__(why)
        self.is_worth_another_try = is_worth_another_try


@dataclass(frozen=True)
class SaidBy:
    """The settings that say where a server is, which errors name."""

    url: str
    key: str
    model: str


@dataclass(frozen=True)
class ChatServer:
    url: str
    """Base address, such as http://127.0.0.1:8000/v1."""
    api_key: str
    """Empty for a server that asks for none."""
    model: str
    timeout_seconds: float = 600.0
    """Of one reply, including the wait for a free slot of the server."""
    said_by: SaidBy | None = None
    """None for a server that we started ourselves."""


@dataclass(frozen=True)
class Question:
    messages: Sequence[Message]
    max_tokens: int
    temperature: float
    seed: int
    schema: Mapping[str, Any] | None = None
    """JSON schema that the reply is constrained to."""
    wants_first_token: bool = False


@dataclass(frozen=True)
class ChatReply:
    text: str
    is_finished: bool
    """False when it was cut off at `max_tokens`."""
    first_token: Mapping[str, float] = field(default_factory=dict)
    """The likeliest first tokens → log-probability; empty if they were not asked for, or the server tells none."""


class ChatClient:
    """One server. `close` it."""

    def __init__(self, server: ChatServer) -> None:
        self._server = server
        headers = {"Authorization": f"Bearer {server.api_key}"} if server.api_key else {}
        self._client = httpx.Client(
            base_url=server.url,
            headers=headers,
            timeout=httpx.Timeout(server.timeout_seconds, connect=CONNECT_SECONDS),
            limits=httpx.Limits(max_connections=None),
            # The machine's own certificates, an intranet's among them; and no proxy of the shell, which would lead outside.
            verify=ssl.create_default_context(),
            trust_env=False,
            follow_redirects=False,
        )

    def close(self) -> None:
        self._client.close()

    def describe_model(self) -> dict[str, Any]:
        """What the server says of the model. Raises ChatServerError if it does not have it, or does not answer."""
        where = f"The server at {self._server.url}"
        try:
            reply = self._client.get("models")
            entries = [entry for entry in reply.json()["data"] if isinstance(entry, dict)]
        except httpx.HTTPError as error:
            raise ChatServerError(f"{where} does not answer ({type(error).__name__}). Is it started?") from None
        except (ValueError, KeyError, TypeError):
            raise ChatServerError(
                f"{where} lists no models (HTTP {reply.status_code}). {self._hint(reply.status_code)}"
            ) from None
        for entry in entries:
            if entry.get("id") == self._server.model:
                return {name: entry[name] for name in _DESCRIBED if name in entry}
        raise ChatServerError(
            f"{where} has no model {self._server.model}, but {len(entries)} others. {self._hint(None)}"
        )

    def ask(self, question: Question) -> ChatReply:
        """Raises NoReplyError for this question, ChatServerError if no question will do better."""
        reply = self._post(self._body(question))
        if reply.status_code == 200:
            return _read(reply)
        code, error = reply.status_code, error_of(reply.content)
        exceeds = is_too_long(error)
        if question.wants_first_token and code in (400, 422, 501) and not exceeds:
            return ChatReply("", is_finished=True)  # it tells no probabilities
        if code in (401, 403, 404) or 300 <= code < 400:
            raise ChatServerError(f"The server at {self._server.url} refuses (HTTP {code}). {self._hint(code)}")
        if exceeds:
            raise NoReplyError("question and reply are longer than the model's context", False)
        raise NoReplyError(f"the server failed (HTTP {code})", code == 429 or code >= 500)

    def _hint(self, status: int | None) -> str:
        """What to do, in the names of the settings that decide it. `status` None: the model is unknown there."""
        said_by = self._server.said_by
        if said_by is None:
            return "It was started for this run: its log says more."
        if status is None:
            return f"Repair {said_by.model}."
        if status in (401, 403):
            return f"Put its key into the file that {said_by.key} names."
        if status == 404:
            return f"{said_by.url} must end where /chat/completions begins, most often with /v1."
        return f"Is {said_by.url} the address of an OpenAI-compatible server?"

    def _post(self, body: Mapping[str, Any]) -> httpx.Response:
        try:
            return self._client.post("chat/completions", json=body)
        except httpx.HTTPError as error:
            # Without its cause: a message of the transport may quote what was sent.
            raise NoReplyError(f"the server did not answer ({type(error).__name__})", True) from None

    def _body(self, question: Question) -> dict[str, Any]:
        body: dict[str, Any] = {
            "model": self._server.model,
            "messages": list(question.messages),
            "max_tokens": question.max_tokens,
            "temperature": question.temperature,
            "seed": question.seed,
        }
        if question.wants_first_token:
            body |= {"logprobs": True, "top_logprobs": TOP_TOKENS}
        if question.schema is not None:
            named = {"name": "reply", "strict": True, "schema": question.schema}
            body["response_format"] = {"type": "json_schema", "json_schema": named}
        return body


def _read(reply: httpx.Response) -> ChatReply:
    try:
        choice = reply.json()["choices"][0]
        text = choice["message"]["content"]
        if not isinstance(text, str):
            raise TypeError
        return ChatReply(text, choice.get("finish_reason") != "length", _first_token(choice.get("logprobs")))
    except (ValueError, KeyError, IndexError, TypeError, AttributeError):
        raise NoReplyError("the reply is no chat completion", True) from None


def _first_token(given: Any) -> dict[str, float]:
    """Empty where there is nothing, or nothing that can be read."""
    try:
        listed = given["content"][0]["top_logprobs"]
        return {str(entry["token"]): float(entry["logprob"]) for entry in listed}
    except (KeyError, IndexError, TypeError, ValueError):
        return {}


def error_of(content: bytes) -> dict[str, str]:
    """The fields of an OpenAI error. They may repeat what was asked: they are looked at and never passed on."""
    try:
        body = json.loads(content)
        error = body.get("error", body)
        return {name: str(error.get(name)) for name in ("code", "type", "message")}
    except (ValueError, AttributeError):
        return {"code": "", "type": "", "message": ""}


def is_too_long(error: Mapping[str, str]) -> bool:
    is_known = error["code"] == "context_length_exceeded" or error["type"] == "exceed_context_size_error"
    return is_known or "maximum context length" in error["message"]


def is_unreadable_call(error: Mapping[str, str]) -> bool:
    """llama.cpp's word for an answer that is no call in the way that it read off the model's template. The program is well: it
    says so whenever it is asked that again."""
    return "does not match the expected" in error["message"]
