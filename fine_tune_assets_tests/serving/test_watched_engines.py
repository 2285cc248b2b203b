"""Whether an engine hangs, told by real processes that do: each a few lines of Python on a real socket."""

import os
import signal
import sys
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest

from fine_tune_assets.engines.addresses import new_socket, socket_address
from fine_tune_assets.engines.running_server import (
    RunningEngine,
    adopt_engine,
    is_healthy,
    launch,
    stop_engine,
    stop_recorded_engine,
    wait_until_healthy,
)
from fine_tune_assets.serving.watched_engines import Watched, silent_looks_at
from fine_tune_assets_tests.serving.tiny import held_connection

_ENGINE = """
import json, os, signal, sys, threading, time
from http.server import BaseHTTPRequestHandler
from socketserver import ThreadingMixIn, UnixStreamServer

path, fault = sys.argv[1:]

class Handler(BaseHTTPRequestHandler):
    def answer(self, body):
        self.send_response(200)
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def do_GET(self):
        if os.path.exists(path + ".hangs"):
            while True:
                sum(range(100_000)) if fault == "spins" else time.sleep(1)
        self.answer(json.dumps({"data": [{"id": "r-1"}]}).encode())

    def do_POST(self):
        self.rfile.read(int(self.headers["content-length"]))
        if fault == "computes nothing":
            time.sleep(1000)
        self.answer(b"{}")

    def log_message(self, *_):
        pass

class Server(ThreadingMixIn, UnixStreamServer):
    daemon_threads = True

def end(*_):
    time.sleep(2 if fault == "ends slowly" else 0)
    os._exit(0)

signal.signal(signal.SIGTERM, end)
Server(path, Handler).serve_forever()
"""
Start = Callable[..., RunningEngine]


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Start]:
    engines: list[RunningEngine] = []

    def begin(fault: str = "none", **options: float) -> RunningEngine:
        socket = new_socket(tmp_path / "s")
        command = [sys.executable, "-c", _ENGINE, str(socket), fault]
        folder, environment = tmp_path / "engine", {"PATH": os.environ["PATH"]}
        url = socket_address(socket)
        engine = launch(command, environment, "r-1", url, "sesame", folder, die_with_parent=False, **options)  # type: ignore[arg-type]
        engines.append(engine)
        wait_until_healthy(engine, 60)
        return engine

    yield begin
    for engine in engines:
        stop_engine(engine, 1, is_hung=True)


def _hang(engine: RunningEngine) -> None:
    Path(engine.url.removeprefix("unix:") + ".hangs").touch()


def _looks(engine: RunningEngine, count: int = 3) -> int:
    watched = Watched(engine, datetime.now(UTC), datetime.now(UTC), is_warm=True)
    for _ in range(count):
        silent_looks_at(watched)
        time.sleep(0.1)
    return watched.silent_looks


@pytest.mark.parametrize("fault", ["spins", "waits"])
def test_an_engine_that_accepts_connections_and_never_tells_that_it_is_well_hangs(start: Start, fault: str) -> None:
    """As vLLM would, which tells it while it computes: nobody has to wait for it first, and computing is no excuse."""
    engine = start(fault)
    assert _looks(engine) == 0
    _hang(engine)
    assert not is_healthy(engine, 0.5)
    assert _looks(engine) == 3


def test_one_that_says_it_is_well_and_answers_nothing_hangs(start: Start) -> None:
    """The pages of a server go on when what computes behind them is stuck: only a question tells."""
    engine = start("computes nothing")
    with held_connection(engine):
        # The first look has nothing to compare with.
        assert _looks(engine) == 2
    assert is_healthy(engine)


def test_a_stop_waits_as_long_as_the_engine_was_told_it_may_take(start: Start) -> None:
    """Or its last answers are cut off: it was told that it has the time. Also after the supervisor was started again."""
    for stop in (
        lambda engine: stop_engine(engine, 0.2),
        lambda engine: stop_engine(adopt_engine(engine.folder), 0.2),  # type: ignore[arg-type]
        lambda engine: stop_recorded_engine(engine.folder, 0.2),
    ):
        engine = start("ends slowly", shutdown_seconds=30.0)
        assert engine.process is not None
        stop(engine)
        assert engine.process.wait() == 0


def test_one_that_hangs_gets_no_time_for_answers(start: Start) -> None:
    engine = start("ends slowly", shutdown_seconds=30.0)
    assert engine.process is not None
    stop_engine(engine, 0.2, is_hung=True)
    assert engine.process.wait() == -signal.SIGKILL


def test_the_socket_of_one_that_died_goes_with_the_next_start(start: Start) -> None:
    """A machine that kills engines for a year must not fill a folder."""
    first = start()
    os.kill(first.identity.pid, signal.SIGKILL)
    assert first.process is not None
    first.process.wait()
    second = start()
    sockets = sorted(Path(second.url.removeprefix("unix:")).parent.iterdir())
    assert [f"unix:{path}" for path in sockets] == [second.url]
