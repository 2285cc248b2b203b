"""Sends requests to engines over HTTP and reads their answers, whole or streamed."""

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Collection
from dataclasses import dataclass
from typing import Any

import aiohttp
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from fine_tune_assets.engines.chat_client import is_context_exceeded, is_unparsable_tool_call, parse_error
from fine_tune_assets.engines.listen_addresses import base_url, socket_path
from fine_tune_assets.gateway.wire_format import ApiError, context_exceeded

MAX_ANSWER_SECONDS = 7200.0
"""After a switch, the answers of the previous engine are complete or cut off by then."""


class EngineUnavailableError(Exception):
    """The engine was unreachable, or failed and still runs. Another engine can be tried safely."""

    def __init__(self, status: int | None = None) -> None:
        super().__init__()
        self.status = status
        """HTTP status, if the engine answered."""


class EngineStoppedError(Exception):
    """The engine closed the connection before it answered: the request may be the cause, so no other engine gets it."""


class StreamBrokenError(Exception):
    """The connection to the engine ended before the answer was complete."""


class DeadlineExceededError(Exception):
    """The answer took longer than `gateway.timeout_seconds`."""


@dataclass(frozen=True)
class AnswerLimits:
    """Seconds from the start of the request to the engine."""

    first_token: float
    whole: float


class EngineClients:
    """One client per engine.

    Connections are not kept alive: the supervisor counts open connections to see which answers, of any gateway process, are
    still in progress. A new connection to a Unix socket takes less than 0.1 ms.

    aiohttp instead of httpx: every token of a stream passes through here, and aiohttp cuts the gateway's total time by a quarter.
    """

    def __init__(self) -> None:
        self._clients: dict[str, aiohttp.ClientSession] = {}
        self._retired: dict[aiohttp.ClientSession, float] = {}

    def get_client(self, url: str) -> aiohttp.ClientSession:
        if url not in self._clients:
            path = socket_path(url)
            connector = (
                aiohttp.TCPConnector(limit=0, force_close=True)
                if path is None
                else aiohttp.UnixConnector(str(path), limit=0, force_close=True)
            )
            self._clients[url] = aiohttp.ClientSession(
                f"{base_url(url)}/", connector=connector, trust_env=False, auto_decompress=False
            )
        return self._clients[url]

    @property
    def urls(self) -> set[str]:
        return set(self._clients)

    def retain_only(self, urls: Collection[str | None]) -> None:
        """Retire the other clients; close them after `MAX_ANSWER_SECONDS`, since answers may still be in progress."""
        now = time.monotonic()
        for url in set(self._clients) - set(urls):
            self._retired[self._clients.pop(url)] = now
        for client in [client for client, since in self._retired.items() if now - since > MAX_ANSWER_SECONDS]:
            del self._retired[client]
            self._closing = asyncio.get_running_loop().create_task(client.close())

    async def close(self) -> None:
        for client in (*self._clients.values(), *self._retired):
            await client.close()


class EngineAnswer:
    """An engine's answer whose first bytes have arrived."""

    def __init__(self, reply: aiohttp.ClientResponse, first: bytes, rest: AsyncIterator[bytes]) -> None:
        self._reply, self._first, self._rest = reply, first, rest
        self.is_complete = False
        """Whether it was relayed to its end."""
        self.is_broken = False
        """Whether the connection to the engine ended early."""

    async def chunks(self) -> AsyncIterator[bytes]:
        """Bytes as they arrive, not aligned with events. Raises StreamBrokenError if the connection ends early, and
        DeadlineExceededError."""
        yield self._first
        try:
            async for chunk in self._rest:
                yield chunk
        except TimeoutError as error:
            raise DeadlineExceededError from error
        except (aiohttp.ClientError, OSError) as error:
            self.is_broken = True
            raise StreamBrokenError from error
        self.is_complete = True

    def read_body(self) -> bytes:
        """The whole answer. Only for requests that do not stream."""
        self.is_complete = True
        return self._first

    async def close(self) -> None:
        self._reply.close()


async def send_request(
    client: aiohttp.ClientSession,
    api_key: str,
    body: dict[str, Any],
    limits: AnswerLimits,
    path: str = "chat/completions",
) -> EngineAnswer:
    """Send a request and wait for the first bytes of the answer, or for the whole answer if it is not streamed.

    Raises EngineUnavailableError if another engine can be tried safely, EngineStoppedError, and ApiError if the engine refused or
    timed out. Cancelling it closes the connection, at which the engine stops working on the answer.
    """
    reply: aiohttp.ClientResponse | None = None
    timeout = aiohttp.ClientTimeout(total=limits.whole, sock_connect=5.0)
    try:
        async with asyncio.timeout(limits.first_token if body["stream"] else limits.whole):
            headers = {"Authorization": f"Bearer {api_key}"}
            reply = await client.post(path, json=body, headers=headers, allow_redirects=False, timeout=timeout)
            if reply.status != 200:
                await _raise_engine_error(reply, is_structured=bool({"response_format", "tools"} & body.keys()))
            chunks = aiter(reply.content.iter_any())
            first = await anext(chunks, b"") if body["stream"] else await reply.read()
            return EngineAnswer(reply, first, chunks)
    except BaseException as error:
        if reply is not None:
            reply.close()
        if isinstance(error, TimeoutError):
            raise ApiError(504, "engine_timeout", "The model did not answer in time.") from error
        if isinstance(error, aiohttp.ClientConnectorError):
            raise EngineUnavailableError from error
        if isinstance(error, aiohttp.ClientError | OSError):
            raise EngineStoppedError from error
        raise


async def _raise_engine_error(reply: aiohttp.ClientResponse, *, is_structured: bool) -> None:
    """Raise an error without the engine's message, which may repeat the prompt.

    `is_structured`: the request has a schema or tools, which can be the cause, so the failure is not counted for the release.
    """
    error = parse_error(await reply.read())
    if is_context_exceeded(error):
        raise context_exceeded()
    if is_unparsable_tool_call(error):
        message = "The model wrote a tool call that can't be parsed. Retry, or send the request without tools."
        raise ApiError(502, "unreadable_call", message)
    if reply.status >= 500 and is_structured:
        message = "The engine could not follow the schema or the tools. Simplify them, or retry."
        raise ApiError(502, "schema_failed", message)
    if reply.status >= 500:
        raise EngineUnavailableError(reply.status)
    if reply.status in (400, 422):
        raise ApiError(400, "refused_by_engine", "The engine refused the request.")
    raise ApiError(502, "engine_error", f"The model failed (HTTP {reply.status}).")


class TrackedResponse(Response):
    """Sends another response and calls `on_done` when it is sent, breaks, or the caller disconnects."""

    def __init__(self, inner: Response, on_done: Callable[[], Awaitable[None]], answer: EngineAnswer) -> None:
        self._inner, self._on_done, self._answer = inner, on_done, answer
        self.background = None  # FastAPI reads it

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            await self._inner(scope, receive, send)
        finally:
            await self._answer.close()
            await self._on_done()
