"""Extracts features of requests for `production_drift` in a background thread, and writes only their sums.

Sums of fewer than `drift.minimum_requests` requests are never written. A full queue drops requests and counts them, so that no
request waits. Texts in the queue are never stored. Sums that are not written when the gateway ends are lost.
"""

import json
import logging
import os
import queue
import threading
from collections import Counter
from contextlib import suppress
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta

from sqlalchemy.exc import SQLAlchemyError

from fine_tune_assets.core.errors import FineTuneError
from fine_tune_assets.core.settings import Settings
from fine_tune_assets.drift.exchange_features import (
    MAX_CHARACTERS,
    Exchange,
    FeatureSums,
    extract_features,
    extractor_fingerprint,
    sum_features,
    task_headings,
)
from fine_tune_assets.gateway.requests.request_models import CompletionRequest, GenerationRequest
from fine_tune_assets.ledger.database import Ledger
from fine_tune_assets.ledger.serving.request_features import WindowRow, add_window
from fine_tune_assets.recipes.loader import load_recipe
from fine_tune_assets.recipes.schema import Heading

_LOG = logging.getLogger(__name__)
QUEUE_LENGTH = 64
WRITE_INTERVAL_SECONDS = 60.0
_POLL_SECONDS = 1.0
_NICENESS = 10
_CLOSE_TIMEOUT_SECONDS = 5.0
_STOP = None


@dataclass(frozen=True)
class ObservedExchange:
    release_id: str
    prompt: str
    payloads: tuple[bytes, ...]
    """The answer as sent: one body, or the events of a stream."""
    has_passages: bool | None


@dataclass(frozen=True)
class _PendingSums:
    since: datetime
    sums: FeatureSums


class TrafficObserver:
    """The observer of one gateway process. `observe` runs on the event loop, everything else in the thread."""

    def __init__(self, settings: Settings, ledger: Ledger) -> None:
        self._settings, self._ledger = settings, ledger
        self._queue: queue.Queue[ObservedExchange | None] = queue.Queue(QUEUE_LENGTH)
        self._dropped, self._lock = Counter[str](), threading.Lock()
        self._pending: dict[str, _PendingSums] = {}
        self._headings: tuple[Heading, ...] = ()
        self._reading = ""
        self._thread = threading.Thread(target=self._run, name="traffic", daemon=True)
        self.is_on = settings.drift.enabled

    def start(self) -> None:
        if self.is_on:
            self._thread.start()

    def observe(self, exchange: ObservedExchange) -> None:
        """Queue the exchange without waiting; drop and count it if the queue is full."""
        if not self.is_on or not exchange.payloads:
            return
        try:
            self._queue.put_nowait(replace(exchange, prompt=exchange.prompt[:MAX_CHARACTERS]))
        except queue.Full:
            with self._lock:
                self._dropped[exchange.release_id] += 1

    @property
    def queue_size(self) -> int:
        """Number of requests that are not processed yet."""
        return self._queue.qsize()

    def close(self) -> None:
        """Write the remaining sums. A stuck thread is abandoned and ends with the process."""
        if not self._thread.is_alive():
            return
        with suppress(queue.Full):
            self._queue.put(_STOP, timeout=_CLOSE_TIMEOUT_SECONDS)
            self._thread.join(_CLOSE_TIMEOUT_SECONDS)

    def _run(self) -> None:
        _lower_priority()
        try:
            self._prepare()
        except (FineTuneError, OSError) as error:
            self.is_on = False
            _LOG.warning("Requests are not observed for production_drift: %s.", type(error).__name__)
            return
        written = datetime.now(UTC)
        while True:
            is_last = not self._handle_next()
            now = datetime.now(UTC)
            if (
                is_last
                or now - written >= timedelta(seconds=WRITE_INTERVAL_SECONDS)
                or self._window_end(now) != self._window_end(written)
            ):
                self.write(written)  # into the window in which these requests arrived
                written = now
            if is_last:
                return

    def _prepare(self) -> None:
        self._headings = task_headings(load_recipe(self._settings.recipe).tasks)
        self._reading = extractor_fingerprint(self._headings)

    def _handle_next(self) -> bool:
        """False after the stop signal."""
        try:
            exchange = self._queue.get(timeout=_POLL_SECONDS)
        except queue.Empty:
            return True
        if exchange is _STOP:
            return False
        try:
            self.add(exchange, datetime.now(UTC))
        except Exception as error:  # noqa: BLE001 (an unreadable text must not end the thread)
            with self._lock:
                self._dropped[exchange.release_id] += 1
            _LOG.warning("A request was not observed for production_drift: %s.", type(error).__name__)
        return True

    def add(self, exchange: ObservedExchange, now: datetime) -> None:
        features = extract_features(assemble_exchange(exchange), self._headings)
        pending = self._pending.get(exchange.release_id, _PendingSums(now, FeatureSums()))
        self._pending[exchange.release_id] = replace(pending, sums=pending.sums + sum_features(features))

    def write(self, at: datetime) -> None:
        """Write sums of enough requests into the window that contains `at`; keep the others for a later window."""
        for release_id, pending in list(self._pending.items()):
            if pending.sums.requests < max(2, self._settings.drift.minimum_requests):
                continue
            with self._lock:
                dropped = self._dropped.pop(release_id, 0)
            sums = pending.sums + FeatureSums(unread=dropped)
            try:
                add_window(self._ledger, self._row(release_id, _PendingSums(pending.since, sums), at))
                del self._pending[release_id]
            except SQLAlchemyError:  # the ledger is unreachable: retry at the next write
                self._pending[release_id] = _PendingSums(pending.since, sums)

    def _row(self, release_id: str, pending: _PendingSums, at: datetime) -> WindowRow:
        return WindowRow(
            release_id=release_id,
            extractor_fingerprint=self._reading,
            window_end=self._window_end(at),
            window_start=pending.since,
            **vars(pending.sums),
        )

    def _window_end(self, at: datetime) -> datetime:
        seconds = max(1, self._settings.drift.window_hours) * 3600
        return datetime.fromtimestamp((at.timestamp() // seconds + 1) * seconds, UTC)


def last_user_text(request: GenerationRequest) -> str:
    """The user's last turn, without retrieved passages and the release's own prompt."""
    if isinstance(request, CompletionRequest):
        return request.prompt
    turns = [turn.content for turn in request.messages if turn.role == "user"]
    return turns[-1] if turns else ""


def build_payload(answer: str) -> bytes:
    """The payload of an answer that was given without an engine."""
    return json.dumps({"choices": [{"message": {"content": answer}, "finish_reason": "stop"}]}).encode()


def assemble_exchange(exchange: ObservedExchange) -> Exchange:
    """Join the payloads into one answer."""
    texts, finish = list[str](), None
    for payload in exchange.payloads:
        for choice in json.loads(payload).get("choices", ()):
            message = choice.get("message") or choice.get("delta") or choice
            texts.append(message.get("content") or message.get("text") or "")
            finish = choice.get("finish_reason") or finish
    return Exchange(exchange.prompt, "".join(texts), finish, exchange.has_passages)


def _lower_priority() -> None:
    """Lower only this thread's priority: on Linux each thread has its own niceness."""
    with suppress(OSError):
        os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), _NICENESS)
