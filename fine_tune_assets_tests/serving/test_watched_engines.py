"""Detection of hung engines, with small real processes on real sockets."""

import os
import signal
import sys
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from fine_tune_assets.engines.listen_addresses import new_socket_path, socket_address
from fine_tune_assets.engines.running_server import (
    RunningEngine,
    adopt_engine,
    is_healthy,
    launch_engine,
    stop_engine,
    stop_recorded_engine,
    wait_until_healthy,
)
from fine_tune_assets.serving.reconciliation import SupervisorTimings
from fine_tune_assets.serving.watched_engines import WatchedEngine, missed_health_checks
from fine_tune_assets_tests.serving.tiny_releases import held_connection

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
        socket = new_socket_path(tmp_path / "s")
        command = [sys.executable, "-c", _ENGINE, str(socket), fault]
        folder, environment = tmp_path / "engine", {"PATH": os.environ["PATH"]}
        url = socket_address(socket)
        engine = launch_engine(command, environment, "r-1", url, "sesame", folder, die_with_parent=False, **options)  # type: ignore[arg-type]
        engines.append(engine)
        wait_until_healthy(engine, 60)
        return engine

    yield begin
    for engine in engines:
        stop_engine(engine, 1, kill=True)


def _hang(engine: RunningEngine) -> None:
    Path(engine.url.removeprefix("unix:") + ".hangs").touch()


def _looks(engine: RunningEngine, count: int = 3) -> int:
    watched = WatchedEngine(engine, datetime.now(UTC), datetime.now(UTC), is_warm=True)
    for _ in range(count):
        missed_health_checks(watched, datetime.now(UTC), timedelta(0))
        time.sleep(0.1)
    return watched.missed_health_checks


@pytest.mark.parametrize("fault", ["spins", "waits"])
def test_an_engine_whose_health_check_does_not_answer_hangs(start: Start, fault: str) -> None:
    """vLLM answers health checks while it computes, so neither open requests nor CPU use matter."""
    engine = start(fault)
    assert _looks(engine) == 0
    _hang(engine)
    assert not is_healthy(engine, 0.5)
    assert _looks(engine) == 3


def test_a_healthy_engine_that_answers_no_request_hangs(start: Start) -> None:
    """The HTTP server can respond while the model thread is stuck, so a test request is needed."""
    engine = start("computes nothing")
    with held_connection(engine):
        # The first check has no CPU time to compare with.
        assert _looks(engine) == 2
    assert is_healthy(engine)


def test_a_hanging_engine_is_noticed_within_the_interval_and_then_checked_at_every_tick(start: Start) -> None:
    """Checking a healthy engine twice a second took 3 % of a core."""
    engine, now, interval = start("waits"), datetime.now(UTC), timedelta(seconds=5)
    watched = WatchedEngine(engine, now, now, is_warm=True)
    assert missed_health_checks(watched, now, interval) == 0
    _hang(engine)
    counts = [missed_health_checks(watched, now + timedelta(seconds=after), interval) for after in (0.5, 4.5, 5, 5.5)]
    assert counts == [0, 0, 1, 2]


def test_an_engine_hangs_for_five_minutes_at_most() -> None:
    """A check of a hanging engine takes 2 seconds, and a tick follows half a second later."""
    timings = SupervisorTimings()
    assert timings.health_check_seconds + timings.max_missed_health_checks * (2 + timings.tick_seconds) <= 300


def test_a_stop_waits_for_the_engines_shutdown_time(start: Start) -> None:
    """Otherwise its last answers are cut off. Also holds for adopted engines."""
    for stop in (
        lambda engine: stop_engine(engine, 0.2),
        lambda engine: stop_engine(adopt_engine(engine.folder), 0.2),  # type: ignore[arg-type]
        lambda engine: stop_recorded_engine(engine.folder, 0.2),
    ):
        engine = start("ends slowly", shutdown_seconds=30.0)
        assert engine.process is not None
        stop(engine)
        assert engine.process.wait() == 0


def test_a_hung_engine_is_stopped_without_waiting_for_answers(start: Start) -> None:
    engine = start("ends slowly", shutdown_seconds=30.0)
    assert engine.process is not None
    stop_engine(engine, 0.2, kill=True)
    assert engine.process.wait() == -signal.SIGKILL


def test_the_next_start_removes_the_socket_of_a_dead_engine(start: Start) -> None:
    """Dead sockets must not accumulate."""
    first = start()
    os.kill(first.identity.pid, signal.SIGKILL)
    assert first.process is not None
    first.process.wait()
    second = start()
    sockets = sorted(Path(second.url.removeprefix("unix:")).parent.iterdir())
    assert [f"unix:{path}" for path in sockets] == [second.url]
