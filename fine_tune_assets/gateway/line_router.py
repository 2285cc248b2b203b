"""Sends each request to the gateway application of its product line. With a single line, there is no router.

A key that one line knows reaches that line only. If several lines know the key, the line is the one that `model` names, or that
recorded the release which `model` or `release_id` names; otherwise the first one, the main line before the others. Requests
without a known key go to the main line, which refuses them or verifies their token. The choice authorizes nothing: the line's
application checks the key against its own ledger, and records the request there.
"""

import json
import logging
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from typing import Any, Protocol

from fastapi import FastAPI
from sqlalchemy.exc import SQLAlchemyError
from starlette.datastructures import Headers
from starlette.responses import JSONResponse
from starlette.routing import Router
from starlette.types import Message, Receive, Scope, Send

from fine_tune_assets.core.errors import summarize_exception
from fine_tune_assets.core.line_names import MAIN_LINE
from fine_tune_assets.core.settings import Settings, use_settings
from fine_tune_assets.gateway.callers.authentication import read_ledger
from fine_tune_assets.gateway.requests.request_models import LIVE_MODEL
from fine_tune_assets.gateway.requests.request_parsing import MAX_BODY_BYTES
from fine_tune_assets.ledger.database import Ledger
from fine_tune_assets.ledger.ledger_errors import SealError
from fine_tune_assets.ledger.people.api_keys import is_known_key, key_id_of
from fine_tune_assets.ledger.serving.release_records import is_known_release

_LOG = logging.getLogger(__name__)
_MODELS, _READY = "/v1/models", "/ready"


class LineGateway(Protocol):
    """What the router needs of a line's gateway."""

    @property
    def ledger(self) -> Ledger: ...

    async def find_readiness(self) -> bool | None:
        """None: no release is live."""


@dataclass(frozen=True)
class LineApp:
    settings: Settings
    app: FastAPI
    gateway: LineGateway

    async def run(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request with this line's settings."""
        with use_settings(self.settings):
            await self.app(scope, receive, send)


@dataclass(frozen=True)
class _Body:
    """What was read of a request's body, to be sent on."""

    messages: tuple[Message, ...]
    is_complete: bool

    @property
    def fields(self) -> Mapping[str, Any]:
        """The JSON object; empty if it is incomplete or none, which the application then reports."""
        if not self.is_complete:
            return {}
        try:
            found = json.loads(b"".join(message.get("body", b"") for message in self.messages))
        except (ValueError, RecursionError):
            return {}
        return found if isinstance(found, dict) else {}

    def replay(self, receive: Receive) -> Receive:
        remaining = list(self.messages)

        async def replayed() -> Message:
            return remaining.pop(0) if remaining else await receive()

        return replayed


class LineRouter:
    """`lines`: product line → its application; the main line's name is empty, and it comes first."""

    def __init__(self, lines: Mapping[str, LineApp]) -> None:
        self._lines, self._main = dict(lines), lines[""]
        self._lifespan = Router(lifespan=lambda _app: self._run_all())

    @asynccontextmanager
    async def _run_all(self) -> AsyncIterator[None]:
        """A further line that can't start is logged and left out."""
        async with AsyncExitStack() as stack:
            for name, line in list(self._lines.items()):
                try:
                    with use_settings(line.settings):
                        await stack.enter_async_context(line.app.router.lifespan_context(line.app))
                except Exception as error:
                    if not name:
                        raise
                    _LOG.error("The product line %s is not served: %s", name, summarize_exception(error))
                    del self._lines[name]
            yield

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._lifespan(scope, receive, send)
            return
        if scope["path"] == _READY:
            await self._answer_ready(scope, receive, send)
            return
        headers = Headers(scope=scope)
        lines = await self._lines_of_key(key_id_of(headers.get("authorization", "").partition(" ")[2].strip()))
        if len(lines) < 2:
            await (lines[0] if lines else self._main).run(scope, receive, send)
        elif scope["path"] == _MODELS and scope["method"] == "GET":
            await _list_models(lines, scope, receive, send)
        else:
            is_read = scope["method"] == "POST" and _is_acceptable(headers.get("content-length", "0"))
            body = await _read_body(receive) if is_read else _Body((), is_complete=False)
            await (await self._choose(lines, body.fields)).run(scope, body.replay(receive), send)

    async def _choose(self, lines: Sequence[LineApp], fields: Mapping[str, Any]) -> LineApp:
        named = [name for name in (fields.get("model"), fields.get("release_id")) if isinstance(name, str)]
        by_name = {line.settings.line or MAIN_LINE: line for line in lines}
        for name in named:
            if name in by_name:
                return by_name[name]
        for name in (name for name in named if name != LIVE_MODEL):
            for line in lines:
                if await _is_known(line, is_known_release, name):
                    return line
        return lines[0]

    async def _lines_of_key(self, key_id: str) -> list[LineApp]:
        return [line for line in self._lines.values() if key_id and await _is_known(line, is_known_key, key_id)]

    async def _answer_ready(self, scope: Scope, receive: Receive, send: Send) -> None:
        """200 if a line is ready: one line that restarts must not take the others out of service."""
        found = {name: await _find_readiness(line) for name, line in self._lines.items()}
        is_ready = any(found.values())
        words = {True: "ready", False: "not ready", None: "no live release"}
        lines = {name or MAIN_LINE: words[state] for name, state in found.items()}
        reply = {"status": words[is_ready], "lines": lines}
        await JSONResponse(reply, status_code=200 if is_ready else 503)(scope, receive, send)


async def _find_readiness(line: LineApp) -> bool | None:
    try:
        return await line.gateway.find_readiness()
    except (SQLAlchemyError, SealError):
        return False


async def _list_models(lines: Sequence[LineApp], scope: Scope, receive: Receive, send: Send) -> None:
    """The models of the lines that accept this caller. Without any, the first line's refusal."""
    replies = [await _capture(line, dict(scope), receive) for line in lines]
    accepted = [reply for reply in replies if reply.status == 200]
    if not accepted:
        await replies[0].send(send)
        return
    models = {model["id"]: model for reply in accepted for model in json.loads(reply.body)["data"]}
    await JSONResponse({"object": "list", "data": list(models.values())})(scope, receive, send)


def _is_acceptable(length: str) -> bool:
    """Whether an application would read a body of this declared length."""
    return length.isdecimal() and int(length) <= MAX_BODY_BYTES


@dataclass
class _Reply:
    """A captured answer."""

    messages: list[Message]

    @property
    def status(self) -> int:
        return int(self.messages[0]["status"])

    @property
    def body(self) -> bytes:
        return b"".join(message.get("body", b"") for message in self.messages[1:])

    async def send(self, send: Send) -> None:
        for message in self.messages:
            await send(message)


async def _capture(line: LineApp, scope: Scope, receive: Receive) -> _Reply:
    reply = _Reply([])

    async def keep(message: Message) -> None:
        reply.messages.append(message)

    await line.run({**scope, "state": dict(scope.get("state", {}))}, receive, keep)
    return reply


async def _read_body(receive: Receive) -> _Body:
    """At most MAX_BODY_BYTES. The rest is left to the application."""
    messages: list[Message] = []
    size, is_complete = 0, False
    while not is_complete and size <= MAX_BODY_BYTES:
        message = await receive()
        messages.append(message)
        size += len(message.get("body", b""))
        is_complete = not message.get("more_body", False)
    return _Body(tuple(messages), is_complete)


async def _is_known(line: LineApp, query: Any, name: str) -> bool:
    """False also if the ledger can't be read: the line's application then reports it."""
    try:
        return bool(await read_ledger(query, line.gateway.ledger, name))
    except SQLAlchemyError:
        return False
