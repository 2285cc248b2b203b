"""The last requests of callers who consented, asked once more of a release on trial. Their answers are thrown away.

Owns which requests are kept, for how long, and the pace. They are in this process's memory only: nothing of them is written or
logged but sums. What is replayed is nobody's request: no line in the log of requests, no limit, no budget, no outcome of users.
"""

import asyncio
import json
import logging
import time
from collections import deque
from collections.abc import Collection, Iterator
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from typing import Any

from sqlalchemy.exc import SQLAlchemyError
from starlette.concurrency import run_in_threadpool

from fine_tune_assets.gateway.answers import all_text
from fine_tune_assets.gateway.callers import Caller
from fine_tune_assets.gateway.chat import Chat, Question
from fine_tune_assets.gateway.engine_client import Answer, EngineGoneError
from fine_tune_assets.gateway.errors import ApiError
from fine_tune_assets.gateway.identifiers import AnswerGate, GateClosedError
from fine_tune_assets.gateway.metrics import Metrics
from fine_tune_assets.ledger.api_keys import REPLAY, has_scope
from fine_tune_assets.ledger.database import Ledger
from fine_tune_assets.ledger.outcomes import FAILED, answered_after
from fine_tune_assets.ledger.targets import Target
from fine_tune_assets.ledger.trial_rows import Trial
from fine_tune_assets.ledger.trials import Replays, add_replays, trial_that_may_ask

_LOG = logging.getLogger(__name__)
KEPT_FOR = timedelta(hours=24)
CONSENTS_ASKED_EVERY = timedelta(minutes=1)
"""Of whose requests are kept; and right before each replay."""
PAUSE_SECONDS = 1.0
"""After each replay at least, and as long as its answer took: half of the engine's time is left at any rate."""
_KEY = "key:"


@dataclass(frozen=True)
class Kept:
    number: int
    at: datetime
    question: Question = field(repr=False)
    caller: Caller = field(repr=False)


class KeptRequests:
    """At most `most`, the last ones."""

    def __init__(self, most: int) -> None:
        self._kept: deque[Kept] = deque(maxlen=most)
        self._number = 0

    def __len__(self) -> int:
        return len(self._kept)

    def keep(self, question: Question, caller: Caller) -> None:
        """If consent was given with the key. A person's token never gives it: who made that out is not who asks."""
        if REPLAY in caller.scopes and caller.caller_id.startswith(_KEY):
            self._number += 1
            self._kept.append(Kept(self._number, datetime.now(UTC), question, caller))

    def forget_before(self, moment: datetime) -> None:
        while self._kept and self._kept[0].at < moment:
            self._kept.popleft()

    @property
    def callers(self) -> set[str]:
        return {kept.caller.caller_id for kept in self._kept}

    def forget_callers(self, caller_ids: Collection[str]) -> None:
        left = [kept for kept in self._kept if kept.caller.caller_id not in caller_ids]
        self._kept.clear()
        self._kept.extend(left)

    def after(self, number: int) -> Iterator[Kept]:
        return (kept for kept in list(self._kept) if kept.number > number)


class Replayer:
    """Of one gateway process. Used from its event loop."""

    def __init__(self, ledger: Ledger, chat: Chat, gate: AnswerGate, metrics: Metrics, kept: KeptRequests) -> None:
        self._ledger, self._chat, self._gate, self._metrics, self._kept = ledger, chat, gate, metrics, kept
        self._trial: tuple[str, datetime | None] | None = None
        self._sent = 0
        """Number of the last one that was sent in this trial."""
        self._consents_asked: datetime | None = None

    async def run(self) -> None:
        """Until cancelled."""
        while True:
            started = time.monotonic()
            try:
                await self.step(datetime.now(UTC))
            except SQLAlchemyError:  # a ledger that is away says nothing of a trial: looked at again in a moment
                pass
            except Exception as error:  # noqa: BLE001 (whatever fails here must not end the loop, nor be logged with a text)
                _LOG.warning("A request was not replayed: %s.", type(error).__name__)
            await asyncio.sleep(max(PAUSE_SECONDS, time.monotonic() - started))

    async def step(self, now: datetime) -> bool:
        """Send at most one, if a trial is under way; whether one was sent."""
        self._kept.forget_before(now - KEPT_FOR)
        if not len(self._kept):
            return False
        if self._consents_asked is None or now - self._consents_asked >= CONSENTS_ASKED_EVERY:
            await self._forget_unless_consenting(self._kept.callers, now)
            self._consents_asked = now
        found = await self._on_trial(now)
        if found is None:
            return False
        target, trial = found
        if self._trial != (trial.deployment_id, trial.begun_at):
            self._trial, self._sent = (trial.deployment_id, trial.begun_at), 0
        kept = next(self._kept.after(self._sent), None)
        if kept is None:
            return False
        self._sent = kept.number
        if await self._forget_unless_consenting({kept.caller.caller_id}, now):
            return False
        await self._replay(kept, target, trial)
        return True

    async def _forget_unless_consenting(self, caller_ids: set[str], now: datetime) -> set[str]:
        """Forget what is kept of those whose key does not consent any more; who they are."""
        gone = {
            caller_id
            for caller_id in caller_ids
            if not await run_in_threadpool(has_scope, self._ledger, caller_id.removeprefix(_KEY), REPLAY, now)
        }
        if gone:
            self._kept.forget_callers(gone)
        return gone

    async def _on_trial(self, now: datetime) -> tuple[Target, Trial] | None:
        target = await self._chat.on_trial()
        if target is None:
            return None
        trial = await run_in_threadpool(trial_that_may_ask, self._ledger, target.deployment_id, now)
        return None if trial is None else (target, trial)

    async def _replay(self, kept: Kept, target: Target, trial: Trial) -> None:
        counted = await self._asked(kept, target)
        if counted is None:
            return
        # What failed since the engine was taken away at the trial's end is no fault of it.
        still = await run_in_threadpool(trial_that_may_ask, self._ledger, target.deployment_id, datetime.now(UTC))
        if still is None or still.begun_at != trial.begun_at:
            return
        await run_in_threadpool(add_replays, self._ledger, target.deployment_id, counted)
        self._metrics.note_replay(target.release_id, is_answered=counted.outcomes.failed == 0)

    async def _asked(self, kept: Kept, target: Target) -> Replays | None:
        """None where the release was not asked."""
        started = time.monotonic()
        try:
            asked = await self._chat.ask_aside(unstreamed(kept.question), kept.caller, target)
        except EngineGoneError:
            return Replays(FAILED)
        except ApiError as error:
            # 503: what stands before the model was away. Anything else is refused by a release, and was answered by another.
            return None if error.status == 503 else Replays(FAILED)
        if asked is None:
            return None
        answer, given = asked
        seconds = time.monotonic() - started
        try:
            return await self._counted(answer, given, seconds)
        finally:
            await answer.close()

    async def _counted(self, answer: Answer, given: str, seconds: float) -> Replays:
        try:
            body = json.loads(answer.whole())
            choices, usage = body["choices"], body.get("usage") or {}
        except (ValueError, KeyError, TypeError, AttributeError):
            return Replays(FAILED)
        identifiers = None
        if self._gate.is_on:
            try:
                identifiers = await self._gate.look(all_text(body), given)
            except GateClosedError as error:
                identifiers = error.found
        is_cut_off = any(choice.get("finish_reason") == "length" for choice in choices)
        tokens = [_count(usage.get(name)) for name in ("prompt_tokens", "completion_tokens")]
        return Replays(answered_after(seconds, identifiers), int(is_cut_off), *tokens)


def unstreamed(question: Question) -> Question:
    """As it is replayed: whole, of whichever release."""
    body = {name: value for name, value in question.body.items() if name not in ("model", "stream", "stream_options")}
    return replace(question, body=body)


def _count(value: Any) -> int:
    return value if isinstance(value, int) else 0
