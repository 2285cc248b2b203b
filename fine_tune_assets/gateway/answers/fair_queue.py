"""Shares an engine's slots among keys: weighted fair queueing by the seconds that their answers occupy a slot.

A free slot goes to the waiting key with the least weighted use; the persons that one key acts for take turns. One extra slot is
reserved for keys without an answer in progress, so that they need not wait for another key's long answer. Those keys get the
lowest numbers: llama.cpp reads the prompts of its slots in their order, up to a limit for each step.
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


@dataclass
class _Share:
    """One key's use of the engine."""

    weight: int
    used: float
    """Slot seconds divided by the weight, comparable among keys."""
    waiting: dict[str, deque[asyncio.Future[int]]] = field(default_factory=dict)
    """Person → their turns. The first person is the next one."""
    started: dict[int, float] = field(default_factory=dict)
    """Slot → start time of the answers in progress."""

    def use(self, now: float) -> float:
        return self.used + sum(now - start for start in self.started.values()) / self.weight

    @property
    def is_idle(self) -> bool:
        return not self.waiting and not self.started

    def pop_turn(self) -> asyncio.Future[int]:
        """The next person's oldest one; the person goes to the end."""
        name = next(iter(self.waiting))
        turns = self.waiting.pop(name)
        turn = turns.popleft()
        if turns:
            self.waiting[name] = turns
        return turn

    def drop_cancelled_turns(self) -> None:
        """A cancelled turn stays here until its task runs again."""
        left = {name: deque(turn for turn in turns if not turn.done()) for name, turns in self.waiting.items()}
        self.waiting = {name: turns for name, turns in left.items() if turns}


class FairQueue:
    """The slots of one engine. Used from one event loop."""

    def __init__(self, slots: int, clock: Callable[[], float] = time.monotonic) -> None:
        self._slots, self._clock = slots, clock
        self._shares: dict[str, _Share] = {}
        self._free_numbers = set(range(slots + RESERVED_SLOTS))

    @property
    def running(self) -> int:
        return sum(len(share.started) for share in self._shares.values())

    async def acquire(self, key: str, weight: int, name: str) -> Slot:
        """Wait for a slot. `name` is the person that the key acts for."""
        share = self._open(key, weight)
        number = await self._wait(key, share, name)
        is_free = False

        def free() -> None:
            nonlocal is_free
            if not is_free:
                is_free = True
                self._free(key, share, number)

        return Slot(number, free)

    def _open(self, key: str, weight: int) -> _Share:
        """A key that was idle starts level with the least served active one: idle time earns no credit."""
        share = self._shares.get(key)
        if share is None:
            now = self._clock()
            level = min((other.use(now) for other in self._shares.values()), default=0.0)
            share = self._shares[key] = _Share(weight, level)
        share.weight = weight
        return share

    async def _wait(self, key: str, share: _Share, name: str) -> int:
        turn: asyncio.Future[int] = asyncio.get_running_loop().create_future()
        share.waiting.setdefault(name, deque()).append(turn)
        self._dispatch()
        try:
            return await turn
        except asyncio.CancelledError:
            if turn.done() and not turn.cancelled():
                self._free(key, share, turn.result())  # its turn came in the same moment
            else:
                share.drop_cancelled_turns()
                self._forget(key, share)
            raise

    def _dispatch(self) -> None:
        for share in self._shares.values():
            share.drop_cancelled_turns()
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
            share.pop_turn().set_result(number)

    def _free(self, key: str, share: _Share, number: int) -> None:
        share.used += (self._clock() - share.started.pop(number)) / share.weight
        self._free_numbers.add(number)
        self._forget(key, share)
        self._dispatch()

    def _forget(self, key: str, share: _Share) -> None:
        if share.is_idle and self._shares.get(key) is share:
            del self._shares[key]
