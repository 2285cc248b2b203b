"""What is known of a request while it goes on: who asks, of which release, how many tokens, how it ended. No text.

Owns the record and the layer around the routes that fills it, has it written into the journal before the last byte goes out, and
counts it. Where the line can't be written there is no answer.
"""

import hashlib
import hmac
import json
import time
from collections.abc import Collection
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from starlette.requests import Request
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from fine_tune_assets.gateway.callers import Caller
from fine_tune_assets.gateway.errors import error_body
from fine_tune_assets.gateway.events import DONE_EVENT, dumped
from fine_tune_assets.gateway.journal import Entry, Journal, NotWrittenError
from fine_tune_assets.gateway.metrics import Metrics
from fine_tune_assets.ledger.request_audit import RequestLine

LEFT = "left"
"""The caller hung up."""
NOT_WRITTEN = error_body(503, "not_available", "The log of requests can't be written. Ask again in a moment.")
MOST_HEARD = 1_000_000
_SILENT = frozenset({"/health", "/ready", "/metrics"})
"""Asked every few seconds by programs: no line."""


@dataclass
class Record:
    route: str
    started: float = field(default_factory=time.monotonic)
    caller: Caller | None = None
    release_id: str | None = None
    prompt_hash: str | None = None
    tokens_in: int | None = None
    tokens_out: int | None = None
    identifiers: int | None = None
    """Found in the answer; None where nobody looked."""
    passages: int | None = None
    """Of documents that were given to the model; None where none were looked for."""
    heard: list[bytes] | None = None
    """The answer as it went out, for its features; None where nobody reads them."""
    heard_bytes: int = 0
    status: int | None = None
    code: str | None = None
    first_token_seconds: float | None = None
    headers: dict[str, str] = field(default_factory=dict)
    """Added to the answer."""

    def hash_prompt(self, key: bytes, asked: Any) -> None:
        """Where nothing was asked there is nothing to hash."""
        if asked is None:
            return
        text = json.dumps(asked, sort_keys=True, ensure_ascii=False, separators=(",", ":"))
        self.prompt_hash = hmac.new(key, text.encode(), hashlib.sha256).hexdigest()

    def note_first_token(self) -> None:
        if self.first_token_seconds is None:
            self.first_token_seconds = time.monotonic() - self.started

    def begin_again(self) -> None:
        """What was noted of an answer that nobody gets is forgotten: another release is asked."""
        self.tokens_in = self.tokens_out = self.identifiers = self.passages = self.first_token_seconds = None
        self.heard, self.heard_bytes = None if self.heard is None else [], 0

    def hear(self, payload: bytes) -> None:
        """Of a very long answer the beginning."""
        if self.heard is not None and self.heard_bytes < MOST_HEARD:
            self.heard.append(payload)
            self.heard_bytes += len(payload)

    def note_usage(self, usage: Any) -> None:
        """As the engine said it; left alone where it said nothing that can be read."""
        if isinstance(usage, dict):
            counts = [usage.get(name) for name in ("prompt_tokens", "completion_tokens")]
            self.tokens_in, self.tokens_out = (count if isinstance(count, int) else None for count in counts)

    @property
    def _labels(self) -> str | None:
        said = self.caller.their_labels if self.caller else None
        return None if said is None else " ".join(sorted(said))

    @property
    def entry(self) -> Entry:
        milliseconds = round((time.monotonic() - self.started) * 1000)
        line = RequestLine(
            datetime.now(UTC), self.caller.who if self.caller else None, self.route, self.status or 500, self.code,
            self.release_id, self.tokens_in, self.tokens_out, milliseconds, self.prompt_hash, self.identifiers,
            labels=self._labels,
        )  # fmt: skip
        has_budget = self.caller is not None and self.caller.tokens_per_day is not None
        tokens = (self.tokens_in or 0) + (self.tokens_out or 0) if has_budget else 0
        return Entry(line, tokens, self.caller.caller_id if self.caller else None)


def record_of(request: Request) -> Record:
    """Where nobody keeps records, one that nobody reads."""
    found = getattr(request.state, "record", None)
    return found if isinstance(found, Record) else Record("")


def prompt_key(ledger_key: bytes) -> bytes:
    """What prompts are hashed with: derived, so that no second key has to be kept."""
    return hmac.new(ledger_key, b"hashes of prompts", hashlib.sha256).digest()


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
