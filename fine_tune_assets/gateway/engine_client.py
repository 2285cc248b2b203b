"""Hands a chat request to an engine and its answer back to the caller, whole or as a stream.

Owns the HTTP clients, what happens when an engine went away, and that a stream that breaks says so.
"""

from collections.abc import AsyncIterator, Callable, Collection
from typing import Any

import httpx
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from fine_tune_assets.engines.addresses import base_url, socket_of
from fine_tune_assets.engines.chat_client import error_of, is_too_long
from fine_tune_assets.gateway.errors import ApiError


class EngineGoneError(Exception):
    """The engine could not be reached, closed the connection or failed before it answered: asking elsewhere is safe."""

    def __init__(self, status: int | None = None) -> None:
        super().__init__()
        self.status = status
        """HTTP status, if it answered at all."""


class StreamBrokenError(Exception):
    """The engine went away before the end of an answer."""


class EngineClients:
    """One client an engine. No connection is kept: the supervisor sees by the open ones which answers are still out, in whichever
    gateway process. A new one to a Unix socket costs less than a tenth of a millisecond."""

    def __init__(self, timeout_seconds: float) -> None:
        """`timeout_seconds` for each next part of an answer: an engine that answers one at a time lets others wait."""
        self._timeout_seconds = timeout_seconds
        self._clients: dict[str, httpx.AsyncClient] = {}

    def client(self, url: str) -> httpx.AsyncClient:
        if url not in self._clients:
            path = socket_of(url)
            limits = httpx.Limits(max_connections=None, max_keepalive_connections=0)
            transport = httpx.AsyncHTTPTransport(
                uds=None if path is None else str(path), verify=False, limits=limits, trust_env=False
            )
            self._clients[url] = httpx.AsyncClient(
                base_url=base_url(url),
                transport=transport,
                timeout=httpx.Timeout(self._timeout_seconds, connect=5.0),
                trust_env=False,
            )
        return self._clients[url]

    @property
    def urls(self) -> set[str]:
        return set(self._clients)

    def forget_all_but(self, urls: Collection[str | None]) -> None:
        """Not closed, since answers may still come through them: with the last of these they are gone."""
        self._clients = {url: client for url, client in self._clients.items() if url in urls}

    async def close(self) -> None:
        for client in self._clients.values():
            await client.aclose()


class Answer:
    """An engine's answer that has begun: its first bytes are here, the others may still come."""

    def __init__(self, reply: httpx.Response, first: bytes, rest: AsyncIterator[bytes]) -> None:
        self._reply, self._first, self._rest = reply, first, rest
        self.is_whole = False
        """Whether it was handed on to its end."""
        self.is_broken = False
        """Whether the engine went away before its end."""

    async def chunks(self) -> AsyncIterator[bytes]:
        """As they come, wherever they are cut. Raises StreamBrokenError if the engine goes away before the end."""
        yield self._first
        try:
            async for chunk in self._rest:
                yield chunk
        except httpx.TransportError as error:
            self.is_broken = True
            raise StreamBrokenError from error
        self.is_whole = True

    def whole(self) -> bytes:
        """Of an answer that is no stream: all of it has come."""
        self.is_whole = True
        return self._first

    async def close(self) -> None:
        await self._reply.aclose()


async def ask_engine(
    client: httpx.AsyncClient, api_key: str, body: dict[str, Any], path: str = "chat/completions"
) -> Answer:
    """Ask, and wait for the answer's first bytes; for all of it, if it is no stream.

    Raises EngineGoneError if asking again elsewhere is safe, ApiError if the engine refused.
    """
    request = client.build_request("POST", path, json=body, headers={"Authorization": f"Bearer {api_key}"})
    reply: httpx.Response | None = None
    try:
        reply = await client.send(request, stream=True)
        if reply.status_code != 200:
            await _refuse(reply)
        chunks = reply.aiter_raw()
        first = await anext(chunks, b"") if body["stream"] else b"".join([chunk async for chunk in chunks])
        return Answer(reply, first, chunks)
    except BaseException as error:
        if reply is not None:
            await reply.aclose()
        if isinstance(error, httpx.TimeoutException):
            raise ApiError(504, "engine_timeout", "The model did not answer in time.") from error
        if isinstance(error, httpx.TransportError):
            raise EngineGoneError from error
        raise


async def _refuse(reply: httpx.Response) -> None:
    """Turn the engine's error into ours: its own message may repeat what it was asked."""
    await reply.aread()
    if is_too_long(error_of(reply)):
        message = "The messages and the answer asked for are longer than the model's context."
        raise ApiError(400, "context_length_exceeded", message)
    if reply.status_code >= 500:
        raise EngineGoneError(reply.status_code)
    if reply.status_code in (400, 422):
        raise ApiError(400, "refused_by_engine", "The model's program refused what was asked for.")
    raise ApiError(502, "engine_error", f"The model failed (HTTP {reply.status_code}).")


class WatchedResponse(Response):
    """Sends another response and calls `done` when it is sent, broken off, or the caller has left."""

    def __init__(self, inner: Response, done: Callable[[], None], answer: Answer) -> None:
        self._inner, self._done, self._answer = inner, done, answer

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            await self._inner(scope, receive, send)
        finally:
            self._done()
            await self._answer.close()
