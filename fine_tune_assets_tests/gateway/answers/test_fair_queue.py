"""How an engine's slots are shared among callers. Time is simulated; waiting is real asyncio."""

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fine_tune_assets.gateway.answers.fair_queue import FairQueue

SLOTS = 2


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


class Callers:
    """Callers of one queue. `running` names the caller of each answer in progress."""

    def __init__(self, slots: int = SLOTS) -> None:
        self.clock = Clock()
        self.queue = FairQueue(slots, self.clock)
        self.running: list[str] = []
        self.order: list[str] = []
        self.frees: dict[str, list[Callable[[], None]]] = {}
        self.numbers: dict[str, int] = {}
        """Caller → the slot that it got last."""
        self.tasks: list[asyncio.Task[None]] = []

    async def ask(self, caller: str, count: int = 1, weight: int = 1, key: str = "") -> None:
        """`caller` is also the key, unless it acts for callers."""

        async def one() -> None:
            slot = await self.queue.acquire(key or caller, weight, caller)
            self.running.append(caller)
            self.order.append(caller)
            self.frees.setdefault(caller, []).append(slot.free)
            self.numbers[caller] = slot.number

        self.tasks += [asyncio.ensure_future(one()) for _ in range(count)]
        await settle()

    async def end(self, caller: str) -> None:
        self.running.remove(caller)
        self.frees[caller].pop(0)()
        await settle()


async def settle() -> None:
    for _ in range(5):
        await asyncio.sleep(0)


def run(scenario: Callable[[], Coroutine[Any, Any, None]]) -> None:
    asyncio.run(scenario())


def test_one_caller_alone_uses_all_shared_slots() -> None:
    """Fairness costs a single application nothing."""

    async def scenario() -> None:
        callers = Callers()
        await callers.ask("a", 5)
        assert callers.running == ["a", "a"]
        await callers.end("a")
        assert callers.running == ["a", "a"]

    run(scenario)


def test_a_second_caller_starts_at_once_beside_one_who_uses_every_slot() -> None:
    """The reserved slot: otherwise it would wait for the end of another caller's long answer."""

    async def scenario() -> None:
        callers = Callers()
        await callers.ask("a", 200)
        await callers.ask("b")
        assert callers.running == ["a", "a", "b"]
        assert callers.numbers["b"] < callers.numbers["a"]
        await callers.end("b")
        assert callers.running == ["a", "a"]
        await callers.ask("b")
        assert callers.running == ["a", "a", "b"]

    run(scenario)


def test_freed_slots_go_to_the_caller_with_the_least_use() -> None:
    """By slot seconds, not by requests: long answers count more."""

    async def scenario() -> None:
        callers = Callers()
        await callers.ask("long", 100)
        await callers.ask("short", 100)
        for second in range(1, 61):
            callers.clock.now += 1.0
            for _ in range(callers.running.count("short")):
                await callers.end("short")
            if second % 3 == 0:
                for _ in range(callers.running.count("long")):
                    await callers.end("long")
        used = {name: callers.queue._shares[name].use(callers.clock.now) for name in ("long", "short")}
        assert sum(used.values()) == pytest.approx(60 * (SLOTS + 1), rel=0.4)
        assert used["long"] == pytest.approx(used["short"], rel=0.15)

    run(scenario)


def test_a_caller_with_twice_the_share_gets_twice_the_slot_seconds() -> None:
    """Use is divided by the weight, and both are equally used up."""

    async def scenario() -> None:
        callers = Callers(slots=3)
        await callers.ask("heavy", 400, weight=2)
        await callers.ask("light", 400)
        for _ in range(300):
            callers.clock.now += 1.0
            await callers.end(callers.running[0])
        used = {name: callers.queue._shares[name].use(callers.clock.now) for name in ("heavy", "light")}
        assert used["heavy"] == pytest.approx(used["light"], abs=5)
        assert 2 * used["heavy"] + used["light"] == pytest.approx(300 * 3, rel=0.1)

    run(scenario)


def test_the_persons_of_one_key_share_its_slots() -> None:
    """A key that acts for 100 persons gets no more than a key that acts for one."""

    async def scenario() -> None:
        callers = Callers(slots=3)
        for number in range(100):
            await callers.ask(f"person {number}", 4, key="acts for many")
        await callers.ask("alone", 400)
        used = {"alone": 0.0, "persons": 0.0}
        for _ in range(60):
            callers.clock.now += 1.0
            for name in callers.running:
                used["alone" if name == "alone" else "persons"] += 1.0
            await callers.end(callers.running[0])
        assert used["alone"] == pytest.approx(used["persons"], rel=0.2)

    run(scenario)


def test_the_persons_of_one_key_take_turns() -> None:
    """One who sends many requests does not make the others wait for all of them."""

    async def scenario() -> None:
        callers = Callers(slots=1)
        await callers.ask("busy", 50, key="desk")
        await callers.ask("other", key="desk")
        assert callers.running == ["busy"]
        await callers.end("busy")
        await callers.end(callers.running[0])
        assert "other" in callers.order[:3]

    run(scenario)


def test_a_caller_who_leaves_while_waiting_loses_no_slot() -> None:
    """Also in the moment in which its turn comes."""

    async def scenario() -> None:
        callers = Callers(slots=1)
        await callers.ask("a", 3)
        callers.tasks[1].cancel()
        await settle()
        callers.running.remove("a")
        callers.frees["a"].pop(0)()  # the turn of the third request comes
        callers.tasks[2].cancel()  # and it leaves in the same moment
        await settle()
        assert callers.queue.running == 0
        assert callers.queue._shares == {}

    run(scenario)


def test_several_callers_who_leave_at_once_lose_no_slot() -> None:
    """Their turns are cancelled before their tasks run again, and a slot is freed in between."""

    async def scenario() -> None:
        callers = Callers(slots=1)
        await callers.ask("a", 4)
        for task in callers.tasks[1:3]:
            task.cancel()
        callers.running.remove("a")
        callers.frees["a"].pop(0)()
        await settle()
        assert callers.running == ["a"]
        await callers.end("a")
        assert (callers.queue.running, callers.queue._shares) == (0, {})

    run(scenario)


@given(
    st.lists(st.tuples(st.sampled_from("abc"), st.sampled_from(["ask", "end", "leave"]), st.floats(0, 5)), max_size=60)
)
def test_slots_are_never_exceeded_or_lost(steps: list[tuple[str, str, float]]) -> None:
    """Whatever the order of arrivals, ends and departures."""

    async def scenario() -> None:
        callers = Callers()
        for caller, step, seconds in steps:
            callers.clock.now += seconds
            if step == "ask":
                await callers.ask(caller)
            elif step == "end" and caller in callers.running:
                await callers.end(caller)
            elif step == "leave":
                waiting = [task for task in callers.tasks if not task.done()]
                if waiting:
                    waiting[0].cancel()
                    await settle()
            assert callers.queue.running == len(callers.running) <= SLOTS + 1
            waits = sum(not task.done() for task in callers.tasks)
            assert waits == 0 or callers.queue.running >= SLOTS
        for caller in list(callers.running):
            await callers.end(caller)
        while callers.running:
            await callers.end(callers.running[0])
        assert callers.queue._shares == {}

    run(scenario)
