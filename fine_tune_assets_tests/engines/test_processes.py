import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from fine_tune_assets.engines.processes import (
    ProcessIdentity,
    identify,
    is_alive,
    is_ending,
    read_identity,
    start_process,
    stop_process,
    write_identity,
)
from fine_tune_assets_tests.serving.load import wait


def _start(tmp_path: Path, code: str, die_with_parent: bool = True) -> "subprocess.Popen[bytes]":
    return start_process(
        [sys.executable, "-c", code],
        cwd=tmp_path,
        environment=os.environ,
        log=tmp_path / "log",
        die_with_parent=die_with_parent,
    )


def test_a_reused_process_id_is_not_taken_for_ours(tmp_path: Path) -> None:
    """After a reboot, the number in a pid file may belong to another process, which must not be killed."""
    process = _start(tmp_path, "import time; time.sleep(60)")
    identity = identify(process.pid)
    assert identity is not None
    other = ProcessIdentity(identity.pid, identity.start_ticks - 1)
    stop_process(other, tmp_path / "log", grace_seconds=1)
    assert not is_alive(other)
    assert is_alive(identity)
    stop_process(identity, tmp_path / "log", grace_seconds=5)
    assert process.wait() == -signal.SIGTERM


def test_children_have_default_signal_handlers(tmp_path: Path) -> None:
    """Dagster passes an inherited "ignore SIGINT" to everything it starts, which would make runs uncancellable."""
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        code = "import signal; print([signal.getsignal(n) for n in (signal.SIGINT, signal.SIGTERM)])"
        _start(tmp_path, code).wait()
    finally:
        signal.signal(signal.SIGINT, before)
    assert "default_int_handler" in (tmp_path / "log").read_text()
    assert "SIG_DFL" in (tmp_path / "log").read_text()


PARENT_AND_CHILD = (
    "import subprocess, sys, time;"
    "child = subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(60)']);"
    "print('child', child.pid, flush=True); time.sleep(60)"
)


def _parent_and_child(tmp_path: Path) -> "tuple[subprocess.Popen[bytes], ProcessIdentity, ProcessIdentity]":
    process = _start(tmp_path, PARENT_AND_CHILD)
    wait(lambda: "\n" in (tmp_path / "log").read_text(), 20)
    own, child = identify(process.pid), identify(int((tmp_path / "log").read_text().split()[1]))
    assert own is not None
    assert child is not None
    return process, own, child


def test_stopping_a_process_stops_its_children(tmp_path: Path) -> None:
    """A Dagster daemon that exits leaves its code servers and runs."""
    _, own, child = _parent_and_child(tmp_path)
    stop_process(own, tmp_path / "log", grace_seconds=5)
    assert not is_alive(child)


@pytest.mark.parametrize("is_zombie", [True, False])
def test_stopping_a_killed_process_stops_its_orphans(tmp_path: Path, is_zombie: bool) -> None:
    """`make down` after the daemon was killed must stop its code servers."""
    process, own, child = _parent_and_child(tmp_path)
    process.kill()
    if not is_zombie:
        process.wait()
    wait(lambda: not is_alive(own))
    assert is_alive(child)
    stop_process(own, tmp_path / "log", grace_seconds=5)
    assert not is_alive(child)


def test_a_group_without_our_mark_is_not_stopped(tmp_path: Path) -> None:
    """Its leader reused our dead service's number, started a child and died: the child belongs to another program."""
    process, own, child = _parent_and_child(tmp_path)
    process.kill()
    process.wait()
    stop_process(own, tmp_path / "log of another program", grace_seconds=1)
    assert is_alive(child)
    os.kill(child.pid, signal.SIGKILL)


def test_a_process_dies_with_its_parent_if_requested(tmp_path: Path) -> None:
    """A killed run must leave nothing on the GPU."""
    code = (
        "import sys, os, time; from pathlib import Path; sys.path.insert(0, sys.argv[1]);"
        "from fine_tune_assets.engines.processes import start_process;"
        "p = start_process([sys.executable, '-c', 'import time; time.sleep(60)'], cwd=Path('.'),"
        "environment=os.environ, log=Path('inner'), die_with_parent=True);"
        "print('inner', p.pid, flush=True); time.sleep(60)"
    )
    root = str(Path(__file__).resolve().parents[2])
    parent = start_process(
        [sys.executable, "-c", code, root],
        cwd=tmp_path,
        environment=os.environ,
        log=tmp_path / "log",
        die_with_parent=True,
    )
    wait(lambda: "inner" in (tmp_path / "log").read_text(), 20)
    inner = identify(int((tmp_path / "log").read_text().split()[1]))
    assert inner is not None
    parent.kill()
    parent.wait()
    wait(lambda: not is_alive(inner), 5)


@pytest.mark.parametrize("content", ["", "{}", "[]", "12", '{"pid": 1}'])
def test_an_unreadable_pid_file_gives_no_identity(tmp_path: Path, content: str) -> None:
    """A file truncated by a full disk must not stop `fine-tune up`."""
    path = tmp_path / "x.pid"
    assert read_identity(path) is None
    path.write_text(content)
    assert read_identity(path) is None
    write_identity(path, ProcessIdentity(1, 2))
    assert read_identity(path) == ProcessIdentity(1, 2)


def test_a_killed_process_counts_as_ending_before_it_exits(tmp_path: Path) -> None:
    """Otherwise `up` right after a kill takes the dying supervisor for a running one and starts none."""
    busy, process = (_start(tmp_path, "while True: pass") for _ in range(2))
    try:
        for started in (busy, process):
            os.sched_setaffinity(started.pid, [min(os.sched_getaffinity(0))])
        # Runs only if nothing else wants its core, so that it cannot exit at once.
        os.sched_setscheduler(process.pid, os.SCHED_IDLE, os.sched_param(0))
        identity = identify(process.pid)
        assert identity is not None
        assert not is_ending(identity)
        os.kill(process.pid, signal.SIGKILL)
        assert is_alive(identity)
        assert is_ending(identity)
    finally:
        for started in (busy, process):
            started.kill()
            started.wait()
    assert is_ending(identity)
