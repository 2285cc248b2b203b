"""A pool of processes gives the same results as one, stays bounded, and reports a killed process."""

import os
import signal
import subprocess
import sys
import time
from concurrent.futures import ProcessPoolExecutor
from dataclasses import replace
from pathlib import Path

import pytest

from fine_tune_assets.phi import scrub_workers as module
from fine_tune_assets.phi.scrub_workers import (
    MAX_BATCHES_PER_PROCESS,
    MIN_TEXTS_FOR_PROCESSES,
    ScrubWorkers,
    open_workers,
)
from fine_tune_assets.phi.scrubber import BATCH_SIZE, ScrubberError
from fine_tune_assets.recipes.schema import ScrubberSettings

ITEMS = [(f"Mr. Quillfeather, MRN 55839{n:03}, came on 03/14/20{n % 90 + 10}.", ()) for n in range(3 * BATCH_SIZE + 5)]


def _pool(workers: ScrubWorkers) -> ProcessPoolExecutor:
    assert workers._pool is not None
    return workers._pool


def test_two_processes_give_the_same_result_as_one(settings: ScrubberSettings) -> None:
    """Otherwise the number of cores would change the training data."""
    with open_workers(settings, len(ITEMS), processes=1) as one, open_workers(settings, 1, processes=2) as two:
        assert two.scrub(ITEMS) == one.scrub(ITEMS)
        assert two.scrub([]) == one.scrub([]) == []
        processes = set(_pool(two)._processes)
        assert len(processes) == 2
    assert two._pool is None
    assert not any(Path(f"/proc/{pid}").exists() for pid in processes)


def test_few_texts_use_one_process(settings: ScrubberSettings) -> None:
    with open_workers(settings, MIN_TEXTS_FOR_PROCESSES - 1) as workers:
        workers.scrub(ITEMS[:2])
        assert len(_pool(workers)._processes) == 1


def test_processes_are_replaced_after_some_batches(settings: ScrubberSettings) -> None:
    """Recycling frees leaked memory, however many reports there are."""
    with open_workers(settings, 1, processes=2) as workers:
        first = workers.scrub(ITEMS[:2])
        old = set(_pool(workers)._processes)
        assert workers.scrub(ITEMS[:2]) == first
        assert set(_pool(workers)._processes) == old
        workers._batches += 2 * MAX_BATCHES_PER_PROCESS
        assert workers.scrub(ITEMS[:2]) == first
        assert set(_pool(workers)._processes).isdisjoint(old)


def test_a_killed_process_loses_no_text(settings: ScrubberSettings) -> None:
    """The kernel kills a process for lack of memory without a message; the texts are tried again."""
    with open_workers(settings, 1, processes=2) as workers:
        before = workers.scrub(ITEMS)
        for pid in _pool(workers)._processes:
            os.kill(pid, signal.SIGKILL)
        assert workers.scrub(ITEMS) == before


def test_a_text_that_exceeds_its_time_costs_itself_only(tmp_path: Path) -> None:
    """A pack of somebody else may hold a pattern of exponential time. The other reports of the batch go on."""
    slow = tmp_path / "slow.py"
    slow.write_text(_SLOW_PROGRAM, encoding="utf-8")
    done = subprocess.run([sys.executable, str(slow)], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["1", "NOT_SCRUBBED", "1", "killed", "1", "NOT_SCRUBBED", "1"]


_SLOW_PROGRAM = """
import dataclasses, os, re, signal
from fine_tune_assets.phi import scrub_workers
from fine_tune_assets.phi.recognizers.rules import rule_list
from fine_tune_assets.phi.recognizers.rules.rule import Rule
from fine_tune_assets.recipes.loader import load_recipe

def end(text):
    if text == "ends the process":
        os.kill(os.getpid(), signal.SIGKILL)
    return False

slow = Rule("slow", "ID", re.compile("(?:a|aa)+!"), 0.5, 0)
ending = Rule("ending", "ID", re.compile("ends the process"), 0.5, 0, checksum=end)
rule_list.RULE_SETS = {**rule_list.RULE_SETS, "names": (*rule_list.RULE_SETS["names"], slow, ending)}
from fine_tune_assets.phi.recognizers import domain_rules
domain_rules.RULE_SETS = rule_list.RULE_SETS
scrub_workers.MIN_LIMIT_SECONDS = 1

def show(items):
    for one in workers.scrub([(text, ()) for text in items]):
        print(*one.residual_phi or [len(one.spans)])

with scrub_workers.open_workers(load_recipe("demo_smollm2").scrubber, 1) as workers:
    show(["Mr. Quillfeather came.", "a" * 60, "Mr. Quillfeather left."])
    print("killed")
    show(["Mr. Quillfeather came.", "ends the process", "Mr. Quillfeather left."])
"""


def test_a_missing_model_is_reported_by_name(settings: ScrubberSettings) -> None:
    wrong = replace(settings, entity_model="no-such-folder")
    with open_workers(wrong, 1) as workers, pytest.raises(ScrubberError, match="no-such-folder"):
        workers.scrub(ITEMS[:1])


_PROGRAM = """
import os, sys, time
from fine_tune_assets.phi.scrub_workers import open_workers
from fine_tune_assets.recipes.loader import load_recipe
with open_workers(load_recipe("demo_smollm2").scrubber, 1, processes=2) as workers:
    workers.scrub([("She rests.", ())])
    print(*workers._pool._processes, flush=True)
    time.sleep(600)
"""


def test_workers_end_with_their_parent() -> None:
    """A killed run must not leave processes on the cores forever."""
    program = subprocess.Popen([sys.executable, "-c", _PROGRAM], stdout=subprocess.PIPE, text=True)
    assert program.stdout is not None
    pids = program.stdout.readline().split()
    assert len(pids) == 2
    program.kill()
    program.wait()
    deadline = time.monotonic() + 10
    while any(_is_running(pid) for pid in pids) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert not any(_is_running(pid) for pid in pids)


def _is_running(pid: str) -> bool:
    """A zombie does not count as running."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def test_worker_builds_its_scrubber_once() -> None:
    """Building one takes seconds; this process has none until a worker starts in it."""
    assert module._scrubber is None
