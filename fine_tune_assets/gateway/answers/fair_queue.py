"""Shares an engine's slots among callers: weighted fair queueing by the seconds that their answers occupy a slot.

A free slot goes to the waiting caller with the least weighted use. One extra slot is reserved for callers without an answer in
progress, so that they need not wait for another caller's long answer. Those callers get the lowest numbers: llama.cpp reads the
prompts of its slots in their order, up to a limit for each step.
"""

import asyncio
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field

from fine_tune_assets.core.serving_engines import RESERVED_SLOTS


@dataclass(frozen=True)
class Slot:
    number: int
    """From 0; the engine's own slot."""
    free: Callable[[], None]
    """Frees it; calling it again does nothing."""


class QueueFullError(Exception):
    """The caller already has as many open requests as it may."""


@dataclass
class _Share:
    """One caller's use of the engine."""

    weight: int
    used: float
    """Slot seconds divided by the weight, comparable among callers."""
    waiting: deque[asyncio.Future[int]] = field(default_factory=deque)
    started: dict[int, float] = field(default_factory=dict)
    """Slot → start time of the answers in progress."""

    def use(self, now: float) -> float:
        return self.used + sum(now - start for start in self.started.values()) / self.weight

    @property
    def is_idle(self) -> bool:
        return not self.waiting and not self.started


class FairQueue:
    """The slots of one engine. Used from one event loop."""

    def __init__(self, slots: int, clock: Callable[[], float] = time.monotonic) -> None:
        self._slots, self._clock = slots, clock
        self._shares: dict[str, _Share] = {}
        self._free_numbers = set(range(slots + RESERVED_SLOTS))

    @property
    def running(self) -> int:
        return sum(len(share.started) for share in self._shares.values())

    async def acquire(self, caller: str, weight: int, limit: int) -> Slot:
        """Wait for a slot. Raises QueueFullError if the caller has `limit` open requests."""
        share = self._open(caller, weight)
        if len(share.waiting) + len(share.started) >= limit:
            raise QueueFullError
        number = await self._wait(caller, share)
        is_free = False

        def free() -> None:
            nonlocal is_free
            if not is_free:
                is_free = True
                self._free(caller, share, number)

        return Slot(number, free)

    def _open(self, caller: str, weight: int) -> _Share:
        """A caller that was idle starts level with the least served active one: idle time earns no credit."""
        share = self._shares.get(caller)
        if share is None:
            now = self._clock()
            level = min((other.use(now) for other in self._shares.values()), default=0.0)
            share = self._shares[caller] = _Share(weight, level)
        share.weight = weight
        return share

    async def _wait(self, caller: str, share: _Share) -> int:
        turn: asyncio.Future[int] = asyncio.get_running_loop().create_future()
        share.waiting.append(turn)
        self._dispatch()
        try:
            return await turn
        except asyncio.CancelledError:
            if turn.done() and not turn.cancelled():
                self._free(caller, share, turn.result())  # its turn came in the same moment
            else:
                if turn in share.waiting:
                    share.waiting.remove(turn)
                self._forget(caller, share)
            raise

    def _dispatch(self) -> None:
        for share in self._shares.values():
            # A cancelled turn stays here until its task runs again.
            share.waiting = deque(turn for turn in share.waiting if not turn.done())
        while True:
            now, running = self._clock(), self.running
            fit = [
                share
                for share in self._shares.values()
                if share.waiting and running < self._slots + (0 if share.started else RESERVED_SLOTS)
            ]
            if not fit:
                return
            share = min(fit, key=lambda share: share.use(now))
            number = max(self._free_numbers) if share.started else min(self._free_numbers)
            self._free_numbers.remove(number)
            share.started[number] = now
            share.waiting.popleft().set_result(number)

    def _free(self, caller: str, share: _Share, number: int) -> None:
        share.used += (self._clock() - share.started.pop(number)) / share.weight
        self._free_numbers.add(number)
        self._forget(caller, share)
        self._dispatch()

    def _forget(self, caller: str, share: _Share) -> None:
        if share.is_idle and self._shares.get(caller) is share:
            del self._shares[caller]
