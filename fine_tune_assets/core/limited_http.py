"""Limits of a service's connections: uvicorn's HTTP protocol with limits for everything that is not body, deadlines, and a number
of connections per source.

uvicorn itself reads endless headers and trailers, and waits without an end for a request that began. Behind a proxy, the source
is read from `X-Forwarded-For` if the settings trust the proxy's address.
"""

import resource
from asyncio import TimerHandle, Transport
from collections import Counter
from functools import partial
from ipaddress import ip_address, ip_network
from typing import Any

from starlette.responses import Response
from starlette.types import ASGIApp, Receive, Scope, Send
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from fine_tune_assets.core.settings import ConnectionSettings

MAX_HEADER_BYTES = 65_536
"""Bytes of one request that are not body: request line, headers, trailers, chunk extensions."""
_CHUNK_FRAME_BYTES = 12
"""Of an ordinary chunk's size and line ends, which do not count: a body may arrive in chunks of any size."""
DRAIN_SECONDS = 5.0
"""Seconds in which a caller that still sends its body can read the answer."""
_RETRY_AFTER_SECONDS = "2"


def build_server_options(connections: ConnectionSettings) -> dict[str, Any]:
    """Arguments for uvicorn. Also lets this process open as many files as the system permits."""
    allowed = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (allowed, allowed))
    return {
        "http": partial(LimitedHttpProtocol, limits=connections),
        "timeout_keep_alive": connections.idle_seconds,
        "proxy_headers": bool(connections.proxies),
        "forwarded_allow_ips": list(connections.proxies),
        "server_header": False,
    }


def limit_sources(app: ASGIApp, connections: ConnectionSettings) -> ASGIApp:
    """Limit the requests in progress per source if proxies are trusted; otherwise each connection is counted."""
    return SourceLimit(app, connections.per_source) if connections.proxies else app


class LimitedHttpProtocol(HttpToolsProtocol):
    """One connection. A request that exceeds a limit is answered with 408, 429 or 431, and the connection is closed."""

    def __init__(self, *args: Any, limits: ConnectionSettings, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._limits, self._other_bytes = limits, 0
        self._is_in_body = self._is_draining = self._keep_alive = False
        self._deadline: TimerHandle | None = None
        self._reading_deadline: TimerHandle | None = None
        """Of a caller that does not read its answer. Kept apart, since the body may still be arriving."""

    def connection_made(self, transport: Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self._set_deadline(self._limits.header_seconds)
        if self._count_connections_of_source() > self._limits.per_source:
            self._refuse(b"429 Too Many Requests")

    def _count_connections_of_source(self) -> int:
        """0 for a Unix socket, and for a trusted proxy, whose requests are counted by their source."""
        if self.client is None or _is_in(self.client[0], self._limits.proxies):
            return 0
        clients = (getattr(other, "client", None) for other in self.connections)
        return sum(client is not None and client[0] == self.client[0] for client in clients)

    def connection_lost(self, exc: Exception | None) -> None:
        self._set_deadline(None)
        self._set_reading_deadline(None)
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        if self._is_draining:
            return
        self._other_bytes += len(data)
        super().data_received(data)
        if self._other_bytes > MAX_HEADER_BYTES:
            self._refuse(b"431 Request Header Fields Too Large")

    def on_header(self, name: bytes, value: bytes) -> None:
        if not self._is_in_body:  # trailers are ignored
            super().on_header(name, value)

    def on_headers_complete(self) -> None:
        before = self.cycle
        super().on_headers_complete()
        if self.cycle is before:  # a WebSocket
            return
        # Until the body has arrived, an answer closes the connection.
        self._keep_alive, self.cycle.keep_alive = self.cycle.keep_alive, False
        self.cycle.transport = _ClosingTransport(self)  # type: ignore[assignment]
        self._is_in_body = True
        self._set_deadline(self._limits.body_seconds)

    def on_chunk_header(self) -> None:
        self._other_bytes = max(0, self._other_bytes - _CHUNK_FRAME_BYTES)

    def on_body(self, body: bytes) -> None:
        self._other_bytes = max(0, self._other_bytes - len(body))
        super().on_body(body)

    def on_message_complete(self) -> None:
        if self._is_in_body and not self.cycle.response_started:
            self.cycle.keep_alive = self._keep_alive
        self._is_in_body, self._other_bytes = False, 0
        self._set_deadline(None)
        super().on_message_complete()

    def on_response_complete(self) -> None:
        if self._is_draining:
            return
        super().on_response_complete()
        if self.cycle.response_complete:  # no further request waits
            self._set_deadline(self._limits.idle_seconds + self._limits.header_seconds)

    def end_answer(self) -> None:
        """Close the connection after an answer. If the request is still arriving, let the caller read the answer first: closing
        at once would reset the connection."""
        if not self._is_in_body or not self.transport.can_write_eof():
            self.transport.close()
            return
        self._is_draining = True
        self.transport.write_eof()
        self.flow.resume_reading()
        self._set_deadline(DRAIN_SECONDS)

    def handle_websocket_upgrade(self) -> None:
        self._set_deadline(None)
        super().handle_websocket_upgrade()

    def pause_writing(self) -> None:
        super().pause_writing()
        self._set_reading_deadline(self._limits.body_seconds)

    def resume_writing(self) -> None:
        super().resume_writing()
        self._set_reading_deadline(None)

    def shutdown(self) -> None:
        self._keep_alive = False
        super().shutdown()

    def _set_deadline(self, seconds: float | None) -> None:
        if self._deadline is not None:
            self._deadline.cancel()
        self._deadline = None if seconds is None else self.loop.call_later(seconds, self._expire)

    def _set_reading_deadline(self, seconds: float | None) -> None:
        if self._reading_deadline is not None:
            self._reading_deadline.cancel()
        self._reading_deadline = None if seconds is None else self.loop.call_later(seconds, self._expire)

    def _expire(self) -> None:
        if self._is_draining or self.flow.write_paused:
            self.transport.abort()
        else:
            self._refuse(b"408 Request Timeout")

    def _refuse(self, status: bytes) -> None:
        if self.transport.is_closing():
            return
        if self.cycle is None or self.cycle.response_complete or not self.cycle.response_started:
            self.transport.write(b"HTTP/1.1 %b\r\nconnection: close\r\ncontent-length: 0\r\n\r\n" % status)
        self.transport.close()


class _ClosingTransport:
    """A connection as its answers see it: only their way to close it differs."""

    def __init__(self, protocol: LimitedHttpProtocol) -> None:
        self._protocol = protocol

    def close(self) -> None:
        self._protocol.end_answer()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._protocol.transport, name)


class SourceLimit:
    """ASGI middleware: requests in progress per source, for connections of a trusted proxy."""

    def __init__(self, app: ASGIApp, per_source: int) -> None:
        self._app, self._per_source = app, per_source
        self._open: Counter[str] = Counter()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        source = (scope.get("client") or ("",))[0]
        if scope["type"] != "http" or not source:
            await self._app(scope, receive, send)
        elif self._open[source] >= self._per_source:
            await Response(status_code=429, headers={"retry-after": _RETRY_AFTER_SECONDS})(scope, receive, send)
        else:
            await self._count(source, scope, receive, send)

    async def _count(self, source: str, scope: Scope, receive: Receive, send: Send) -> None:
        self._open[source] += 1
        try:
            await self._app(scope, receive, send)
        finally:
            self._open[source] -= 1
            self._open += Counter()  # removes sources without requests


def _is_in(host: str, networks: tuple[str, ...]) -> bool:
    try:
        address = ip_address(host)
    except ValueError:
        return False
    return any(address in ip_network(network) for network in networks)
