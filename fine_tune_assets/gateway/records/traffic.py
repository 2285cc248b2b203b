"""What requests are like, for `production_drift`: read off the path of requests, added up, and written as sums only.

Owns the queue, the one thread that empties it, and when sums are written: never of fewer requests than the setting says. A full
queue drops and counts: no request waits, and the texts in the queue are never written anywhere. What was not written when the
gateway ends is lost.
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
    LETTERS_READ,
    Exchange,
    FeatureSums,
    features_of,
    reading_of,
    sums_of,
    task_headings,
)
from fine_tune_assets.gateway.requests.request_models import CompletionRequest, Question
from fine_tune_assets.ledger.database import Ledger
from fine_tune_assets.ledger.serving.request_features import WindowRow, add_window
from fine_tune_assets.recipes.loader import load_recipe
from fine_tune_assets.recipes.schema import Heading

_LOG = logging.getLogger(__name__)
QUEUE_LENGTH = 64
WRITE_SECONDS = 60.0
_LOOK_SECONDS = 1.0
_NICENESS = 10
_CLOSE_SECONDS = 5.0
_END = None


@dataclass(frozen=True)
class Heard:
    """An answered request on its way to the features."""

    release_id: str
    prompt: str
    payloads: tuple[bytes, ...]
    """The answer as it went out: one body, or the events of a stream."""
    has_passages: bool | None


@dataclass(frozen=True)
class _Held:
    since: datetime
    sums: FeatureSums


class Traffic:
    """Of one gateway process. `note` is called from the event loop, everything else happens in the thread."""

    def __init__(self, settings: Settings, ledger: Ledger) -> None:
        self._settings, self._ledger = settings, ledger
        self._queue: queue.Queue[Heard | None] = queue.Queue(QUEUE_LENGTH)
        self._dropped, self._lock = Counter[str](), threading.Lock()
        self._held: dict[str, _Held] = {}
        self._headings: tuple[Heading, ...] = ()
        self._reading = ""
        self._thread = threading.Thread(target=self._work, name="traffic", daemon=True)
        self.is_on = settings.drift.features

    def start(self) -> None:
        if self.is_on:
            self._thread.start()

    def note(self, heard: Heard) -> None:
        """Waits for nothing."""
        if not self.is_on or not heard.payloads:
            return
        try:
            self._queue.put_nowait(replace(heard, prompt=heard.prompt[:LETTERS_READ]))
        except queue.Full:
            with self._lock:
                self._dropped[heard.release_id] += 1

    @property
    def waiting(self) -> int:
        """Requests that are not read yet."""
        return self._queue.qsize()

    def close(self) -> None:
        """Write what may be written. A thread that is stuck is left behind: it ends with the process."""
        if not self._thread.is_alive():
            return
        with suppress(queue.Full):
            self._queue.put(_END, timeout=_CLOSE_SECONDS)
            self._thread.join(_CLOSE_SECONDS)

    def _work(self) -> None:
        _be_nice()
        try:
            self._prepare()
        except (FineTuneError, OSError) as error:
            self.is_on = False
            _LOG.warning("Requests are not read for production_drift: %s.", type(error).__name__)
            return
        written = datetime.now(UTC)
        while True:
            is_last = not self._take_one()
            now = datetime.now(UTC)
            if (
                is_last
                or now - written >= timedelta(seconds=WRITE_SECONDS)
                or self._end_of(now) != self._end_of(written)
            ):
                self.write(written)  # in the window that these requests were in
                written = now
            if is_last:
                return

    def _prepare(self) -> None:
        self._headings = task_headings(load_recipe(self._settings.recipe).tasks)
        self._reading = reading_of(self._headings)

    def _take_one(self) -> bool:
        """False when there is nothing more to come."""
        try:
            heard = self._queue.get(timeout=_LOOK_SECONDS)
        except queue.Empty:
            return True
        if heard is _END:
            return False
        try:
            self.add(heard, datetime.now(UTC))
        except Exception as error:  # noqa: BLE001 (a text that can't be read must not end the thread)
            with self._lock:
                self._dropped[heard.release_id] += 1
            _LOG.warning("A request was not read for production_drift: %s.", type(error).__name__)
        return True

    def add(self, heard: Heard, now: datetime) -> None:
        features = features_of(exchange_of(heard), self._headings)
        held = self._held.get(heard.release_id, _Held(now, FeatureSums()))
        self._held[heard.release_id] = replace(held, sums=held.sums + sums_of(features))

    def write(self, at: datetime) -> None:
        """What is of enough requests goes into the window that `at` is in; the rest waits, and goes into a later one."""
        for release_id, held in list(self._held.items()):
            if held.sums.requests < max(2, self._settings.drift.minimum_requests):
                continue
            with self._lock:
                dropped = self._dropped.pop(release_id, 0)
            sums = held.sums + FeatureSums(dropped=dropped)
            try:
                add_window(self._ledger, self._row(release_id, _Held(held.since, sums), at))
                del self._held[release_id]
            except SQLAlchemyError:  # a ledger that is away gets them the next time
                self._held[release_id] = _Held(held.since, sums)

    def _row(self, release_id: str, held: _Held, at: datetime) -> WindowRow:
        return WindowRow(
            release_id=release_id,
            reading=self._reading,
            window_end=self._end_of(at),
            window_start=held.since,
            **vars(held.sums),
        )

    def _end_of(self, at: datetime) -> datetime:
        seconds = max(1, self._settings.drift.window_hours) * 3600
        return datetime.fromtimestamp((at.timestamp() // seconds + 1) * seconds, UTC)


def asked_text(question: Question) -> str:
    """The user's last turn, without what documents or the release add to it."""
    if isinstance(question, CompletionRequest):
        return question.prompt
    turns = [turn.content for turn in question.messages if turn.role == "user"]
    return turns[-1] if turns else ""


def said_payload(answer: str) -> bytes:
    """Of an answer that no engine gave."""
    return json.dumps({"choices": [{"message": {"content": answer}, "finish_reason": "stop"}]}).encode()


def exchange_of(heard: Heard) -> Exchange:
    """The answer put together from its events."""
    texts, finish = list[str](), None
    for payload in heard.payloads:
        for choice in json.loads(payload).get("choices", ()):
            said = choice.get("message") or choice.get("delta") or choice
            texts.append(said.get("content") or said.get("text") or "")
            finish = choice.get("finish_reason") or finish
    return Exchange(heard.prompt, "".join(texts), finish, heard.has_passages)


def _be_nice() -> None:
    """This thread alone: on Linux each has its own niceness."""
    with suppress(OSError):
        os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), _NICENESS)
