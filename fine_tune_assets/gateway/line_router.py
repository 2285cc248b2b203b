"""Sends each request to the gateway application of its product line. With a single line, there is no router.

The line is the one that `model` names, or that recorded the release which `model` or `release_id` names; otherwise the one whose
ledger knows the API key. If several lines qualify, one that knows the key comes first, then the main line. The choice authorizes
nothing: the line's application checks the key against its own ledger, and records the request there.
"""

import asyncio
import json
from collections.abc import AsyncIterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from typing import Any, Protocol

from fastapi import FastAPI
from sqlalchemy.exc import SQLAlchemyError
from starlette.datastructures import Headers
from starlette.responses import JSONResponse
from starlette.routing import Router
from starlette.types import Message, Receive, Scope, Send

from fine_tune_assets.core.line_names import MAIN_LINE
from fine_tune_assets.core.settings import Settings, use_settings
from fine_tune_assets.gateway.callers.authentication import read_ledger
from fine_tune_assets.gateway.requests.request_models import LIVE_MODEL
from fine_tune_assets.gateway.requests.request_parsing import MAX_BODY_BYTES, READ_TIMEOUT_SECONDS
from fine_tune_assets.ledger.database import Ledger
from fine_tune_assets.ledger.people.api_keys import is_known_key, key_id_of
from fine_tune_assets.ledger.serving.release_records import is_known_release

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
        self._lines, self._main = lines, lines[""]
        self._lifespan = Router(lifespan=lambda _app: self._run_all())

    @asynccontextmanager
    async def _run_all(self) -> AsyncIterator[None]:
        async with AsyncExitStack() as stack:
            for line in self._lines.values():
                with use_settings(line.settings):
                    await stack.enter_async_context(line.app.router.lifespan_context(line.app))
            yield

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._lifespan(scope, receive, send)
            return
        key_id = key_id_of(Headers(scope=scope).get("authorization", "").partition(" ")[2].strip())
        if scope["path"] == _READY:
            await self._answer_ready(scope, receive, send)
        elif scope["path"] == _MODELS and scope["method"] == "GET":
            await self._list_models(key_id, scope, receive, send)
        else:
            body = await _read_body(receive) if scope["method"] == "POST" else _Body((), is_complete=False)
            line = await self._choose(body.fields, key_id)
            await line.run(scope, body.replay(receive), send)

    async def _choose(self, fields: Mapping[str, Any], key_id: str) -> LineApp:
        named = [name for name in (fields.get("model"), fields.get("release_id")) if isinstance(name, str)]
        for name in named:
            if (line := self._lines.get("" if name == MAIN_LINE else name)) is not None and name:
                return line
        known = await self._lines_of_key(key_id)
        for name in (name for name in named if name != LIVE_MODEL):
            for line in (*known, *self._lines.values()):
                if await _is_known(line, is_known_release, name):
                    return line
        return known[0] if known else self._main

    async def _lines_of_key(self, key_id: str) -> list[LineApp]:
        return [line for line in self._lines.values() if key_id and await _is_known(line, is_known_key, key_id)]

    async def _list_models(self, key_id: str, scope: Scope, receive: Receive, send: Send) -> None:
        """The models of every line that accepts this caller. Without any, the main line's refusal."""
        lines = await self._lines_of_key(key_id) or (list(self._lines.values()) if not key_id else [self._main])
        replies = [await _capture(line, dict(scope), receive) for line in lines]
        accepted = [reply for reply in replies if reply.status == 200]
        if len(accepted) < 2:
            await (accepted or replies)[0].send(send)
            return
        models = [model for reply in accepted for model in json.loads(reply.body)["data"]]
        unique = {model["id"]: model for model in models}
        await JSONResponse({"object": "list", "data": list(unique.values())})(scope, receive, send)

    async def _answer_ready(self, scope: Scope, receive: Receive, send: Send) -> None:
        """200 if a line has a live release, and every line that has one is ready."""
        found = {name: await line.gateway.find_readiness() for name, line in self._lines.items()}
        states = [state for state in found.values() if state is not None]
        is_ready = bool(states) and all(states)
        words = {True: "ready", False: "not ready", None: "no live release"}
        lines = {name or MAIN_LINE: words[state] for name, state in found.items()}
        reply = {"status": words[is_ready], "lines": lines}
        await JSONResponse(reply, status_code=200 if is_ready else 503)(scope, receive, send)


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
    """At most MAX_BODY_BYTES, and as long as an application would wait. The rest is left to the application."""
    messages: list[Message] = []
    size, is_complete = 0, False
    try:
        async with asyncio.timeout(READ_TIMEOUT_SECONDS):
            while not is_complete and size <= MAX_BODY_BYTES:
                message = await receive()
                messages.append(message)
                size += len(message.get("body", b""))
                is_complete = not message.get("more_body", False)
    except TimeoutError:
        pass
    return _Body(tuple(messages), is_complete)


async def _is_known(line: LineApp, query: Any, name: str) -> bool:
    """False also if the ledger can't be read: the line's application then reports it."""
    try:
        return bool(await read_ledger(query, line.gateway.ledger, name))
    except SQLAlchemyError:
        return False
