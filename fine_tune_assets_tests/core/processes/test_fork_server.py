"""Forked workers behave like started ones, and end with their parent."""

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import pytest

from fine_tune_assets.core.processes import fork_server as module
from fine_tune_assets.core.processes.fork_server import ForkServer, fork_server, reserve_server

PROGRAM = "fine_tune_assets_tests.core.forked_program"


def until(is_so: Callable[[], object]) -> None:
    deadline = time.monotonic() + 60
    while not is_so():
        assert time.monotonic() < deadline
        time.sleep(0.01)


@pytest.fixture
def server() -> Iterator[ForkServer]:
    made = ForkServer(["colorsys"])
    until(lambda: made.is_ready)
    yield made
    made.stop()


@pytest.fixture
def no_block(monkeypatch: pytest.MonkeyPatch) -> None:
    """Leave the block in which all tests run."""
    monkeypatch.setattr(module, "_scope", None)


def run(server: ForkServer, program: str, **environment: str) -> int:
    return server.run(PROGRAM, {"PATH": os.environ["PATH"], "PROGRAM": program, **environment})


def test_a_worker_has_its_own_environment_and_the_preloaded_modules(
    server: ForkServer, capfd: pytest.CaptureFixture[str]
) -> None:
    program = "import os, sys; print(sorted(os.environ)); print('colorsys' in sys.modules, __name__, os.getpid() != os.getppid())"
    assert run(server, program, ONLY_THIS="1") == 0
    assert capfd.readouterr().out.splitlines() == [
        "['FINE_TUNE_PARENT', 'ONLY_THIS', 'PATH', 'PROGRAM']",
        "True __main__ True",
    ]


def test_the_next_worker_has_a_clean_state(server: ForkServer, capfd: pytest.CaptureFixture[str]) -> None:
    assert run(server, "import colorsys; colorsys.left = 1") == 0
    assert run(server, "import colorsys; print(hasattr(colorsys, 'left'))") == 0
    assert capfd.readouterr().out == "False\n"


@pytest.mark.parametrize(
    ("program", "code"),
    [
        ("raise SystemExit(3)", 3),
        ("raise SystemExit", 0),
        ("raise SystemExit('words')", 1),
        ("1 / 0", 1),
        ("import os, signal; os.kill(os.getpid(), signal.SIGKILL)", -signal.SIGKILL),
    ],
)
def test_the_exit_code_of_a_worker_is_returned(server: ForkServer, program: str, code: int) -> None:
    assert run(server, program) == code
    assert run(server, "pass") == 0


def test_an_uncaught_exception_is_printed(server: ForkServer, capfd: pytest.CaptureFixture[str]) -> None:
    run(server, "1 / 0")
    run(server, "raise SystemExit('words')")
    errors = capfd.readouterr().err
    assert "ZeroDivisionError: division by zero" in errors
    assert errors.endswith("words\n")


def test_a_worker_dies_with_the_server(server: ForkServer, tmp_path: Path) -> None:
    file, codes = tmp_path / "pid", []
    program = f"import os, time; open({str(file)!r}, 'w').write(str(os.getpid())); time.sleep(600)"
    thread = threading.Thread(target=lambda: codes.append(run(server, program)))
    thread.start()
    until(lambda: file.is_file() and file.read_text())
    worker = psutil.Process(int(file.read_text()))
    server._process.kill()
    thread.join(60)
    assert codes == [-signal.SIGKILL]
    until(lambda: not worker.is_running() or worker.status() == psutil.STATUS_ZOMBIE)


def test_server_and_worker_die_with_the_process_that_started_them(tmp_path: Path) -> None:
    file = tmp_path / "pids"
    worker = (
        f"import os, time; open({str(file)!r}, 'w').write('%d %d .' % (os.getpid(), os.getppid())); time.sleep(600)"
    )
    program = f"""
import os, time
from fine_tune_assets.core.processes.fork_server import ForkServer
server = ForkServer([])
while not server.is_ready:
    time.sleep(0.01)
server.run({PROGRAM!r}, {{**os.environ, "PROGRAM": {worker!r}}})
"""
    starter = subprocess.Popen([sys.executable, "-c", program])
    until(lambda: file.is_file() and file.read_text().endswith("."))
    processes = [psutil.Process(int(pid)) for pid in file.read_text().split()[:2]]
    starter.kill()
    starter.wait()
    until(lambda: not any(p.is_running() and p.status() != psutil.STATUS_ZOMBIE for p in processes))


def test_an_interrupted_worker_can_clean_up(tmp_path: Path) -> None:
    begun, tidied = tmp_path / "begun", tmp_path / "tidied"
    program = f"""
import time
try:
    open({str(begun)!r}, 'w').close()
    time.sleep(600)
except KeyboardInterrupt:
    open({str(tidied)!r}, 'w').close()
"""
    starting = f"""
import os, time
from fine_tune_assets.core.processes.fork_server import ForkServer
server = ForkServer([])
while not server.is_ready:
    time.sleep(0.01)
try:
    server.run({PROGRAM!r}, {{**os.environ, "PROGRAM": {program!r}}})
except KeyboardInterrupt:
    raise SystemExit(7)
"""
    starter = subprocess.Popen([sys.executable, "-c", starting])
    until(begun.is_file)
    starter.send_signal(signal.SIGINT)
    assert starter.wait(60) == 7
    assert tidied.is_file()


def test_who_is_interrupted_before_the_worker_is_known_leaves_none_behind(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Otherwise the worker began, and was killed without a chance to clean up."""
    server, begun = ForkServer([]), tmp_path / "begun"
    assert server.wait_until_ready()

    def interrupted(_: object) -> int:
        raise KeyboardInterrupt

    monkeypatch.setattr(module, "_receive_number", interrupted)
    with pytest.raises(KeyboardInterrupt):
        server.run(PROGRAM, {**os.environ, "PROGRAM": f"open({str(begun)!r}, 'w').close()"})
    assert not server.is_running
    time.sleep(1)
    assert not begun.exists()


@pytest.mark.usefixtures("no_block")
def test_a_block_has_one_server_with_one_worker_at_a_time() -> None:
    with reserve_server() as outside:
        assert outside is None
    with fork_server([]):
        with reserve_server() as first:
            assert first is None or first.is_ready
        until(lambda: _idle() is not None)
        with fork_server([]), reserve_server() as inner, reserve_server() as at_work:
            assert inner is not None
            assert at_work is None
        kept = _idle()
        assert kept is inner
        kept._process.kill()
        kept._process.wait()
        until(lambda: _idle() is not None)
        new = _idle()
        assert new is not kept
    assert new is not None
    assert not new.is_running


def _idle() -> ForkServer | None:
    with reserve_server() as found:
        return found


@pytest.mark.usefixtures("no_block")
def test_nothing_is_forked_on_a_machine_with_a_gpu(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    device = tmp_path / "nvidiactl"
    device.touch()
    monkeypatch.setattr(module, "_GPU_DEVICES", (str(device),))
    with fork_server([]):
        assert module._scope is None


@pytest.mark.usefixtures("no_block")
def test_a_server_that_starts_early_forks_the_first_worker_too() -> None:
    """A run with two workers imports once, beside the steps that come before them."""
    with fork_server(["colorsys"], starts_early=True), reserve_server() as first:
        assert first is not None
        assert run(first, "import sys; sys.exit('colorsys' not in sys.modules)") == 0


@pytest.mark.usefixtures("no_block")
def test_a_server_that_dies_during_its_imports_delays_no_worker() -> None:
    """The worker is then started as its own program."""
    with fork_server(["no_such_module"], starts_early=True), reserve_server() as server:
        assert server is None
