"""Many processes give what one gives, stay few, and say so when one is killed."""

import os
import signal
import subprocess
import sys
import time
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

import pytest

from fine_tune_assets.phi import workers as module
from fine_tune_assets.phi.scrubbing import BATCH_SIZE, ScrubberError
from fine_tune_assets.phi.workers import BATCHES_OF_A_PROCESS, FEWEST_FOR_PROCESSES, Workers, open_workers
from fine_tune_assets.recipes.schema import ScrubSettings

ITEMS = [(f"Mr. Quillfeather, MRN 55839{n:03}, came on 03/14/20{n % 90 + 10}.", ()) for n in range(3 * BATCH_SIZE + 5)]


def _pool(workers: Workers) -> ProcessPoolExecutor:
    assert workers._pool is not None
    return workers._pool


def test_two_processes_give_the_same_as_one_in_the_same_order(settings: ScrubSettings) -> None:
    """Else how many cores a machine has would decide what is trained on."""
    with open_workers(settings, len(ITEMS), processes=1) as one, open_workers(settings, 1, processes=2) as two:
        assert two.scrub(ITEMS) == one.scrub(ITEMS)
        assert two.scrub([]) == one.scrub([]) == []
        processes = set(_pool(two)._processes)
        assert len(processes) == 2
    assert two._pool is None
    assert not any(Path(f"/proc/{pid}").exists() for pid in processes)


def test_a_few_texts_need_no_second_process(settings: ScrubSettings) -> None:
    with open_workers(settings, FEWEST_FOR_PROCESSES - 1) as workers:
        workers.scrub(ITEMS[:2])
        assert workers._pool is None


def test_after_some_batches_the_processes_are_fresh_ones(settings: ScrubSettings) -> None:
    """What a library leaks is given back, however many reports there are."""
    with open_workers(settings, 1, processes=2) as workers:
        first = workers.scrub(ITEMS[:2])
        old = set(_pool(workers)._processes)
        assert workers.scrub(ITEMS[:2]) == first
        assert set(_pool(workers)._processes) == old
        workers._batches += 2 * BATCHES_OF_A_PROCESS
        assert workers.scrub(ITEMS[:2]) == first
        assert set(_pool(workers)._processes).isdisjoint(old)


def test_a_process_that_is_killed_ends_the_work_in_words(settings: ScrubSettings) -> None:
    """The kernel kills for want of memory, and says nothing."""
    with open_workers(settings, 1, processes=2) as workers:
        workers.scrub(ITEMS[:2])
        for pid in _pool(workers)._processes:
            os.kill(pid, signal.SIGKILL)
        with pytest.raises(ScrubberError, match="was killed") as caught:
            workers.scrub(ITEMS)
    assert "Quillfeather" not in str(caught.value)
    assert caught.value.__cause__ is None


_PROGRAM = """
import os, sys, time
from fine_tune_assets.phi.workers import open_workers
from fine_tune_assets.recipes.loader import load_recipe
with open_workers(load_recipe("demo_smollm2").scrub, 1, processes=2) as workers:
    workers.scrub([("She rests.", ())])
    print(*workers._pool._processes, flush=True)
    time.sleep(600)
"""


def test_processes_end_with_the_one_that_started_them() -> None:
    """A run that is killed from outside must not leave its processes on the cores for ever."""
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
    """A zombie that nobody waited for is not."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def test_a_process_holds_one_scrubber_for_all_its_batches() -> None:
    """Building one takes seconds: in this process there is none until a worker starts here."""
    assert module._scrubber is None
