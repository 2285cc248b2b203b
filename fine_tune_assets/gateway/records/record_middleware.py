"""ASGI middleware that journals each request before its last byte is sent, and counts it in the metrics.

If the journal line can't be written, the request is refused.
"""

from collections.abc import Collection

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from fine_tune_assets.gateway.records.journal import Journal, JournalWriteError
from fine_tune_assets.gateway.records.metrics import Metrics
from fine_tune_assets.gateway.records.request_record import RequestRecord
from fine_tune_assets.gateway.wire_format import DONE_EVENT, dump_json, error_body

CLIENT_DISCONNECTED = "client_disconnected"
JOURNAL_ERROR = error_body(503, "not_available", "The request log can't be written. Retry in a moment.")
_UNLOGGED_ROUTES = frozenset({"/health", "/ready", "/metrics"})
"""Polled every few seconds by monitoring."""


class RecordMiddleware:
    """Wraps the whole application."""

    def __init__(self, app: ASGIApp, routes: Collection[str], journal: Journal, metrics: Metrics) -> None:
        self._app, self._routes, self._journal, self._metrics = app, frozenset(routes), journal, metrics

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            return await self._app(scope, receive, send)
        # An unknown path is text of the caller, which is never recorded.
        record = RequestRecord(scope["path"] if scope["path"] in self._routes else "other")
        scope.setdefault("state", {})["record"] = record
        sender = _Sender(send, record, self._journal)
        self._metrics.begin()
        try:
            await self._app(scope, receive, sender)
        finally:
            sender.finish()
            self._metrics.end(record)


class _Sender:
    """Delays the end of a stream, or a whole answer, until its journal line is written."""

    def __init__(self, send: Send, record: RequestRecord, journal: Journal) -> None:
        self._send, self._record, self._journal = send, record, journal
        self._start: Message | None = None
        self._tail = b""
        self._is_done = False

    async def __call__(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            self._record.status = message["status"]
            extra = [(name.encode(), value.encode()) for name, value in self._record.headers.items()]
            self._start = {**message, "headers": [*message.get("headers", ()), *extra]}
        elif not message.get("more_body", False):
            await self._end(message)
        elif message.get("body") == DONE_EVENT:
            self._tail = DONE_EVENT
        else:
            await self._send_start()
            await self._send(message)

    async def _end(self, message: Message) -> None:
        record = self._record
        try:
            await self._write()
        except JournalWriteError:
            record.status, record.code = 503, "not_available"
            if self._start is None:  # the stream has started: abort it
                raise
            await self._refuse()
            return
        await self._send_start()
        await self._send({**message, "body": self._tail + message.get("body", b"")})

    async def _write(self) -> None:
        self._is_done = True
        if self._record.caller is None:
            self._write_later()
        elif self._record.route not in _UNLOGGED_ROUTES:
            await self._journal.write(self._record.entry)

    async def _refuse(self) -> None:
        body = dump_json(JOURNAL_ERROR)
        headers = [(b"content-type", b"application/json"), (b"retry-after", b"5")]
        headers.append((b"content-length", str(len(body)).encode()))
        await self._send({"type": "http.response.start", "status": 503, "headers": headers})
        await self._send({"type": "http.response.body", "body": body})

    async def _send_start(self) -> None:
        if self._start is not None:
            start, self._start = self._start, None
            await self._send(start)

    def finish(self) -> None:
        """Journal a request that did not complete: the caller disconnected, or the gateway failed."""
        if not self._is_done:
            self._is_done = True
            if self._record.status is not None and self._record.code is None:
                self._record.code = CLIENT_DISCONNECTED
            self._write_later()

    def _write_later(self) -> None:
        if self._record.route not in _UNLOGGED_ROUTES:
            self._journal.write_later(self._record.entry)
