"""Hands a chat request to an engine and its answer back to the caller, whole or as a stream.

Owns the HTTP clients, what happens when an engine went away, and that a stream that breaks says so.
"""

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Collection
from typing import Any

import aiohttp
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from fine_tune_assets.engines.addresses import base_url, socket_of
from fine_tune_assets.engines.chat_client import error_of, is_too_long, is_unreadable_call
from fine_tune_assets.gateway.wire_format import ApiError

LONGEST_ANSWER_SECONDS = 7200.0
"""After a switch the answers of the engine before are out, or given up, by then."""


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
    gateway process. A new one to a Unix socket costs less than a tenth of a millisecond.

    aiohttp and not httpx: each token of a stream passes through here, and the whole gateway takes a quarter less for it.
    """

    def __init__(self, timeout_seconds: float) -> None:
        """`timeout_seconds` for each next part of an answer, including the wait for a free slot of the engine."""
        self._timeout = aiohttp.ClientTimeout(total=None, sock_connect=5.0, sock_read=timeout_seconds)
        self._clients: dict[str, aiohttp.ClientSession] = {}
        self._left: dict[aiohttp.ClientSession, float] = {}

    def client(self, url: str) -> aiohttp.ClientSession:
        if url not in self._clients:
            path = socket_of(url)
            connector = (
                aiohttp.TCPConnector(limit=0, force_close=True)
                if path is None
                else aiohttp.UnixConnector(str(path), limit=0, force_close=True)
            )
            self._clients[url] = aiohttp.ClientSession(
                f"{base_url(url)}/", connector=connector, timeout=self._timeout, trust_env=False, auto_decompress=False
            )
        return self._clients[url]

    @property
    def urls(self) -> set[str]:
        return set(self._clients)

    def forget_all_but(self, urls: Collection[str | None]) -> None:
        """Closed later, since answers may still come through them."""
        now = time.monotonic()
        for url in set(self._clients) - set(urls):
            self._left[self._clients.pop(url)] = now
        for client in [client for client, since in self._left.items() if now - since > LONGEST_ANSWER_SECONDS]:
            del self._left[client]
            self._closing = asyncio.get_running_loop().create_task(client.close())

    async def close(self) -> None:
        for client in (*self._clients.values(), *self._left):
            await client.close()


class Answer:
    """An engine's answer that has begun: its first bytes are here, the others may still come."""

    def __init__(self, reply: aiohttp.ClientResponse, first: bytes, rest: AsyncIterator[bytes]) -> None:
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
        except (aiohttp.ClientError, OSError) as error:
            self.is_broken = True
            raise StreamBrokenError from error
        self.is_whole = True

    def whole(self) -> bytes:
        """Of an answer that is no stream: all of it has come."""
        self.is_whole = True
        return self._first

    async def close(self) -> None:
        self._reply.close()


async def ask_engine(
    client: aiohttp.ClientSession, api_key: str, body: dict[str, Any], path: str = "chat/completions"
) -> Answer:
    """Ask, and wait for the answer's first bytes; for all of it, if it is no stream.

    Raises EngineGoneError if asking again elsewhere is safe, ApiError if the engine refused.
    """
    reply: aiohttp.ClientResponse | None = None
    try:
        reply = await client.post(
            path, json=body, headers={"Authorization": f"Bearer {api_key}"}, allow_redirects=False
        )
        if reply.status != 200:
            await _refuse(reply)
        chunks = aiter(reply.content.iter_any())
        first = await anext(chunks, b"") if body["stream"] else await reply.read()
        return Answer(reply, first, chunks)
    except BaseException as error:
        if reply is not None:
            reply.close()
        if isinstance(error, TimeoutError):
            raise ApiError(504, "engine_timeout", "The model did not answer in time.") from error
        if isinstance(error, aiohttp.ClientError | OSError):
            raise EngineGoneError from error
        raise


async def _refuse(reply: aiohttp.ClientResponse) -> None:
    """Turn the engine's error into ours: its own message may repeat what it was asked."""
    error = error_of(await reply.read())
    if is_too_long(error):
        message = "The messages and the answer asked for are longer than the model's context."
        raise ApiError(400, "context_length_exceeded", message)
    if is_unreadable_call(error):
        message = "What the model wrote is no call of a tool that can be read. Ask again, or without tools."
        raise ApiError(502, "unreadable_call", message)
    if reply.status >= 500:
        raise EngineGoneError(reply.status)
    if reply.status in (400, 422):
        raise ApiError(400, "refused_by_engine", "The model's program refused what was asked for.")
    raise ApiError(502, "engine_error", f"The model failed (HTTP {reply.status}).")


class WatchedResponse(Response):
    """Sends another response and calls `done` when it is sent, broken off, or the caller has left."""

    def __init__(self, inner: Response, done: Callable[[], None], answer: Answer) -> None:
        self._inner, self._done, self._answer = inner, done, answer
        self.background = None  # FastAPI reads it

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            await self._inner(scope, receive, send)
        finally:
            self._done()
            await self._answer.close()
