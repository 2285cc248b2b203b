"""The layer around the routes that fills the record of a request, writes it into the journal before the last byte goes out, and
counts it. If the line can't be written, there is no answer.
"""

from collections.abc import Collection

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from fine_tune_assets.gateway.records.journal import Journal, NotWrittenError
from fine_tune_assets.gateway.records.metrics import Metrics
from fine_tune_assets.gateway.records.records import Record
from fine_tune_assets.gateway.wire_format import DONE_EVENT, dumped, error_body

LEFT = "left"
"""The caller hung up."""
NOT_WRITTEN = error_body(503, "not_available", "The log of requests can't be written. Ask again in a moment.")
_SILENT = frozenset({"/health", "/ready", "/metrics"})
"""Asked every few seconds by programs: no line."""


class Recorded:
    """Around the whole application."""

    def __init__(self, app: ASGIApp, routes: Collection[str], journal: Journal, metrics: Metrics) -> None:
        self._app, self._routes, self._journal, self._metrics = app, frozenset(routes), journal, metrics

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            return await self._app(scope, receive, send)
        # A path that does not exist is the caller's text.
        record = Record(scope["path"] if scope["path"] in self._routes else "other")
        scope.setdefault("state", {})["record"] = record
        sender = _Sender(send, record, self._journal)
        self._metrics.begin()
        try:
            await self._app(scope, receive, sender)
        finally:
            sender.finish()
            self._metrics.end(record)


class _Sender:
    """Holds back the end of an answer until its line is written; of a whole answer all of it."""

    def __init__(self, send: Send, record: Record, journal: Journal) -> None:
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
        except NotWrittenError:
            record.status, record.code = 503, "not_available"
            if self._start is None:  # an answer that goes out already is broken off
                raise
            await self._refuse()
            return
        await self._send_start()
        await self._send({**message, "body": self._tail + message.get("body", b"")})

    async def _write(self) -> None:
        self._is_done = True
        if self._record.caller is None:
            self._note()
        elif self._record.route not in _SILENT:
            await self._journal.write(self._record.entry)

    async def _refuse(self) -> None:
        body = dumped(NOT_WRITTEN)
        headers = [(b"content-type", b"application/json"), (b"retry-after", b"5")]
        headers.append((b"content-length", str(len(body)).encode()))
        await self._send({"type": "http.response.start", "status": 503, "headers": headers})
        await self._send({"type": "http.response.body", "body": body})

    async def _send_start(self) -> None:
        if self._start is not None:
            start, self._start = self._start, None
            await self._send(start)

    def finish(self) -> None:
        """Of a request that came to no end: the caller left, or the gateway failed."""
        if not self._is_done:
            self._is_done = True
            if self._record.status is not None and self._record.code is None:
                self._record.code = LEFT
            self._note()

    def _note(self) -> None:
        if self._record.route not in _SILENT:
            self._journal.note(self._record.entry)
