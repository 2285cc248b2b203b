"""Progress of the graph: one line a stage on a terminal, at most a line every 30 seconds elsewhere, and nothing of a library."""

import io
import logging
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from rich.console import Console

from fine_tune_assets.cli.asset_commands import library_output_in
from fine_tune_assets.cli.stage_lines import LINE_SECONDS, StageStates, format_count, stage_lines
from fine_tune_assets.core.progress import add_report

STAGES = {"train": "s06_adapters", "answer": "s07_judge_scores", "grade": "s07_judge_scores"}


class Clock:
    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def logger() -> logging.Logger:
    made = logging.getLogger("a test of lines")
    made.setLevel(logging.DEBUG)
    made.propagate = False
    return made


class Event:
    def __init__(self, kind: str) -> None:
        self.event_type_value = kind


def tell(logger: logging.Logger, step: str, message: str = "", event: str | None = None) -> None:
    """As Dagster logs for a step."""
    about = {"dagster_meta": {"step_key": step, "orig_message": message}, "dagster_event": event and Event(event)}
    logger.info(message, extra=about)


def test_without_a_terminal_at_most_one_line_is_printed_per_thirty_seconds(
    clock: Clock, logger: logging.Logger
) -> None:
    """A log of continuous integration is read, not watched."""
    written = io.StringIO()
    with stage_lines(Console(file=written, width=100), logger, STAGES, clock):
        tell(logger, "train", event="STEP_START")
        for second in range(90):
            clock.now = 1000.0 + second
            tell(logger, "train", f"{second} of 90 optimizer steps, loss 2.1")
        tell(logger, "train", event="STEP_SUCCESS")
    lines = written.getvalue().splitlines()
    assert len(lines) == 90 / LINE_SECONDS
    assert lines[1] == "s06 Adapters: 30 of 90 optimizer steps, 1/s, 1 min 00 s left"


def test_on_a_terminal_each_stage_has_one_line_that_says_how_it_ended(clock: Clock, logger: logging.Logger) -> None:
    """The last picture is what stays on the screen."""
    written = io.StringIO()
    console = Console(file=written, width=100, force_terminal=True, color_system=None, _environ={"TERM": "xterm"})
    with stage_lines(console, logger, STAGES, clock):
        tell(logger, "train", event="STEP_START")
        clock.now += 65
        tell(logger, "train", event="STEP_SUCCESS")
        for step, seconds, end in (("answer", 10, "STEP_SUCCESS"), ("grade", 5, "STEP_FAILURE")):
            tell(logger, step, event="STEP_START")
            clock.now += seconds
            tell(logger, step, event=end)
    shown = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", written.getvalue()).replace("\r", "\n")
    last = [line.strip() for line in shown.splitlines() if "s0" in line][-2:]
    assert last[0].startswith("✓ s06 Adapters")
    assert last[0].endswith("1 min 05 s")
    assert "✗ s07 Judge scores" in last[1]
    assert last[1].endswith("15 s")
    assert "s01" not in written.getvalue()


def test_a_terminal_shows_bar_rate_and_time_left_while_a_stage_runs(clock: Clock, logger: logging.Logger) -> None:
    written = io.StringIO()
    console = Console(file=written, width=120, force_terminal=True, color_system=None, _environ={"TERM": "xterm"})
    with stage_lines(console, logger, STAGES, clock):
        tell(logger, "train", event="STEP_START")
        tell(logger, "train", "0 of 40 optimizer steps, loss 2.1")
        clock.now += 20
        tell(logger, "train", "10 of 40 optimizer steps, loss 1.9")
    assert "10 of 40 optimizer steps, 30/min, 1 min 00 s left" in written.getvalue()


def test_a_terminal_does_not_show_what_libraries_print(
    clock: Clock, logger: logging.Logger, capsys: pytest.CaptureFixture[str]
) -> None:
    """Dagster warned once for each worker, between the stages."""
    written = io.StringIO()
    console = Console(file=written, width=120, force_terminal=True, color_system=None, _environ={"TERM": "xterm"})
    with stage_lines(console, logger, STAGES, clock):
        tell(logger, "train", event="STEP_START")
        print("a library's warning", file=sys.stderr)
        print("a library's output")
    assert "a library's" not in written.getvalue()
    assert capsys.readouterr() == ("a library's output\n", "a library's warning\n")


def test_stage_time_is_the_sum_of_its_steps_and_a_new_step_restarts_the_count(clock: Clock) -> None:
    states = StageStates(STAGES, clock)
    states.record_event("answer", "STEP_START", "")
    clock.now += 10
    states.record_event("answer", None, "5 of 10 answers")
    states.record_event("answer", "STEP_SUCCESS", "")
    states.record_event("grade", "STEP_START", "")
    clock.now += 5
    state = states.states["s07_judge_scores"]
    assert state.elapsed(clock.now) == 15
    assert state.count is None
    assert set(state.running) == {"grade"}


def test_steps_of_no_stage_and_lines_that_count_nothing_change_nothing(clock: Clock) -> None:
    states = StageStates({**STAGES, "own": "default"}, clock)
    assert states.record_event("own", "STEP_START", "") is None
    assert states.record_event(None, "RUN_START", "") is None
    assert states.record_event("train", None, "what served before is kept") is None


def test_a_count_without_a_rate_says_no_time() -> None:
    assert format_count(add_report(None, 3, 9, "exports (f16)", 0.0), 1.0) == "3 of 9 exports"
    assert format_count(None, 1.0) == ""


PRINTS = """
import os, subprocess, sys, warnings
from pathlib import Path
from rich.console import Console
from fine_tune_assets.cli.asset_commands import library_output_in
with library_output_in(Path(sys.argv[1]), Console()) as console:
    warnings.warn("a library's warning")
    os.write(2, b"llama_context: n_ctx_seq (512) < n_ctx_train (2048)\\n")
    subprocess.run([sys.executable, "-c", "print('of a worker')"])
    console.print("ours")
print("after")
"""


def test_what_libraries_and_workers_print_goes_into_a_private_log(tmp_path: Path) -> None:
    """Python's warnings, what a library in C writes, and children alike; ours still reaches the terminal."""
    log = tmp_path / "run" / "graph.log"
    done = subprocess.run([sys.executable, "-c", PRINTS, str(log)], capture_output=True, text=True, check=True)
    assert (done.stdout, done.stderr) == ("ours\nafter\n", "")
    kept = log.read_text()
    for line in ("a library's warning", "n_ctx_seq", "of a worker"):
        assert line in kept
    assert log.stat().st_mode & 0o077 == 0


def test_an_error_leaves_the_output_as_it_was(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    def fail() -> None:
        with library_output_in(tmp_path / "graph.log", Console(file=io.StringIO())):
            os.write(2, b"inside\n")
            raise RuntimeError

    with pytest.raises(RuntimeError):
        fail()
    os.write(1, b"after\n")
    assert tuple(capfd.readouterr()) == ("after\n", "")
