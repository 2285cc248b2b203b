"""Progress of a graph run, from the logs of its steps: one line per stage on a terminal, otherwise at most a line every 30 s."""

import logging
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, Progress, ProgressColumn, SpinnerColumn, Task, TextColumn
from rich.table import Column
from rich.text import Text

from fine_tune_assets.core.bounded_patterns import compile_bounded
from fine_tune_assets.core.progress import ProgressCount, add_report, format_duration
from fine_tune_assets.core.stages import STAGES

LINE_SECONDS = 30.0
"""Seconds between lines if the output is not a terminal."""
_DONE_OF_TOTAL = compile_bounded(r"(\d+) of (\d+) (.+)$")
_STARTS = frozenset({"STEP_START", "STEP_RESTARTED"})
_ENDS = frozenset({"STEP_SUCCESS", "STEP_FAILURE", "STEP_UP_FOR_RETRY", "STEP_SKIPPED"})


@dataclass
class StageState:
    """Progress of one stage in this run."""

    running: dict[str, float] = field(default_factory=dict)
    """Step → start time in seconds."""
    seconds: float = 0.0
    """Total duration of its ended steps."""
    has_failed: bool = False
    count: ProgressCount | None = None

    def elapsed(self, now: float) -> float:
        return self.seconds + sum(now - since for since in self.running.values())


class StageStates:
    """Tracks stages from step events. `stages`: step → stage."""

    def __init__(self, stages: Mapping[str, str], clock: Callable[[], float] = time.time) -> None:
        self._stages, self._clock = stages, clock
        self.states: dict[str, StageState] = {}

    def record_event(self, step: str | None, event: str | None, message: str) -> str | None:
        """The stage that changed, or None."""
        stage = self._stages.get(step or "")
        if stage is None or step is None or stage not in STAGES:
            return None
        state, now = self.states.setdefault(stage, StageState()), self._clock()
        if event in _STARTS:
            state.running[step], state.count = now, None
        elif event in _ENDS:
            state.seconds += now - state.running.pop(step, now)
            state.count = None
            state.has_failed = state.has_failed or event == "STEP_FAILURE"
        elif event is None and (found := _DONE_OF_TOTAL.search(message)):
            state.count = add_report(state.count, int(found[1]), int(found[2]), found[3], now)
        else:
            return None
        return stage


def format_count(count: ProgressCount | None, now: float) -> str:
    """ "120 of 240 optimizer steps, 2.1/s, 57 s left" """
    if count is None:
        return ""
    rate, left = format_rate(count), count.seconds_left(now)
    words = [f"{count.done:,} of {count.total:,} {count.name}", rate]
    words += [f"{format_duration(left)} left"] if left else []
    return ", ".join(word for word in words if word)


def format_rate(count: ProgressCount) -> str:
    """Items per second, or per minute if less than one per second."""
    if count.rate is None:
        return ""
    if count.rate >= 100:
        return f"{count.rate:,.0f}/s"
    return f"{count.rate:.3g}/s" if count.rate >= 1 else f"{count.rate * 60:.3g}/min"


class _StageHandler(logging.Handler):
    """Passes log records of steps to the stage states, then refreshes the display."""

    def __init__(self, states: StageStates, show: Callable[[str], None]) -> None:
        super().__init__(logging.DEBUG)
        self._states, self._show = states, show

    def emit(self, record: logging.LogRecord) -> None:
        metadata: Mapping[str, Any] = getattr(record, "dagster_meta", {})
        event = getattr(record, "dagster_event", None)
        message = str(metadata.get("orig_message") or record.getMessage())
        changed = self._states.record_event(metadata.get("step_key"), event and event.event_type_value, message)
        if changed is not None:
            self._show(changed)


@contextmanager
def stage_lines(
    console: Console, logger: logging.Logger, stages: Mapping[str, str], clock: Callable[[], float] = time.time
) -> Iterator[StageStates]:
    """Show the stages while the block runs. Their last states stay on the terminal."""
    states = StageStates(stages, clock)
    with _terminal(console, states, clock) if console.is_terminal else _lines(console, states, clock) as show:
        handler = _StageHandler(states, show)
        logger.addHandler(handler)
        try:
            yield states
        finally:
            logger.removeHandler(handler)


@contextmanager
def _lines(console: Console, states: StageStates, clock: Callable[[], float]) -> Iterator[Callable[[str], None]]:
    last: float | None = None

    def show(stage: str) -> None:
        nonlocal last
        now, state = clock(), states.states[stage]
        if last is not None and now - last < LINE_SECONDS:
            return
        last = now
        words = format_count(state.count, now) or f"{format_duration(state.elapsed(now))} so far"
        console.print(f"{stage[:3]} {STAGES[stage]}: {words}", markup=False, highlight=False, soft_wrap=True)

    yield show


@contextmanager
def _terminal(console: Console, states: StageStates, clock: Callable[[], float]) -> Iterator[Callable[[str], None]]:
    columns = (
        _StatusColumn(),
        TextColumn("{task.description}", markup=False, table_column=Column(no_wrap=True)),
        BarColumn(bar_width=20, finished_style="green"),
        TextColumn(
            "{task.fields[words]}", markup=False, table_column=Column(ratio=1, no_wrap=True, overflow="ellipsis")
        ),
        TextColumn("{task.fields[elapsed]}", markup=False, justify="right", table_column=Column(no_wrap=True)),
    )
    # Without redirection, library output goes to the run log instead of above the bars.
    options = {"console": console, "expand": True, "refresh_per_second": 4}
    with _Stages(*columns, **options, redirect_stdout=False, redirect_stderr=False) as bars:
        bars.states, bars.clock = states, clock
        for stage, title in STAGES.items():
            bars.tasks_of[stage] = bars.add_task(
                f"{stage[:3]} {title}", total=None, visible=False, words="", elapsed="", mark=""
            )
        yield lambda _stage: bars.refresh()
        bars.update_tasks(is_final=True)


class _Stages(Progress):
    """Reads the states at each refresh, so that times advance while a step logs nothing."""

    states: StageStates | None = None
    clock: Callable[[], float] = time.time

    def __init__(self, *columns: ProgressColumn, **options: Any) -> None:
        self.tasks_of: dict[str, Any] = {}
        super().__init__(*columns, **options)

    def get_renderables(self) -> Any:
        self.update_tasks()
        return super().get_renderables()

    def update_tasks(self, is_final: bool = False) -> None:
        for stage, state in list(self.states.states.items()) if self.states else []:
            task, now = self._tasks.get(self.tasks_of.get(stage, -1)), self.clock()
            if task is None:
                continue
            is_running, count = bool(state.running) and not is_final, state.count
            task.visible = True
            task.fields |= {
                "mark": "running" if is_running else "failed" if state.has_failed else "done",
                "words": format_count(count, now) if is_running else "",
                "elapsed": format_duration(state.elapsed(now)),
            }
            if is_running:
                task.total, task.completed = (None, 0) if count is None else (count.total, count.done)
            else:
                task.total = task.completed = 1


class _StatusColumn(ProgressColumn):
    """A spinner while the stage runs, then a mark for success or failure."""

    def __init__(self) -> None:
        super().__init__()
        self._spinner = SpinnerColumn()

    def render(self, task: Task) -> Any:
        marks = {"done": Text("✓", style="green"), "failed": Text("✗", style="red")}
        return marks.get(task.fields["mark"]) or self._spinner.render(task)
