"""Switches, rollbacks and deaths, with real processes and requests under way: users notice none of them."""

import os
import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from datetime import timedelta
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from socketserver import ThreadingMixIn, UnixStreamServer

import httpx
import pytest
from click.testing import CliRunner

from fine_tune_assets.cli.main import main
from fine_tune_assets.core.settings import Settings
from fine_tune_assets.engines.addresses import socket_of
from fine_tune_assets.engines.processes import read_identity
from fine_tune_assets.ledger.api_keys import create_key
from fine_tune_assets.ledger.database import Ledger, open_ledger
from fine_tune_assets.ledger.deployments import (
    Deployment,
    find_deployment,
    live_deployment,
    switch_live,
    want_release,
)
from fine_tune_assets.serving.services import service_environment, start_services, stop_services
from fine_tune_assets.serving.switching import ServingError, go_back, serve_release, wait_until_ready
from fine_tune_assets_tests.gateway.conftest import free_port
from fine_tune_assets_tests.serving.tiny import build_release

pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("serving")]
OURS = ("supervisor", "gateway")
KEEP = timedelta(hours=1)


@dataclass
class Running:
    settings: Settings
    ledger: Ledger
    key: str
    built: int = 0

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.settings.gateway_port}/v1/chat/completions"

    def release(self) -> str:
        self.built += 1
        return build_release(self.settings, self.ledger, f"You are brief. Number {self.built}.")

    def live(self) -> Deployment:
        live = live_deployment(self.ledger)
        assert live is not None
        return live

    def engine_pid(self, deployment_id: str) -> int:
        identity = read_identity(self.settings.layout.run / "engines" / deployment_id / "process.json")
        assert identity is not None
        return identity.pid

    def ask(self, max_tokens: int = 4) -> httpx.Response:
        body = {"messages": [{"role": "user", "content": "Say yes."}], "max_tokens": max_tokens}
        headers = {"Authorization": f"Bearer {self.key}"}
        return httpx.post(self.url, json=body, headers=headers, timeout=60, trust_env=False)


@dataclass
class Streams:
    """What callers got who asked one after another, several at once."""

    whole: int = 0
    faults: list[str] = field(default_factory=list)
    releases: set[str] = field(default_factory=set)
    ending: threading.Event = field(default_factory=threading.Event)

    def ask_on(self, running: Running) -> None:
        body = {"messages": [{"role": "user", "content": "Count on."}], "max_tokens": 12, "stream": True}
        headers = {"Authorization": f"Bearer {running.key}"}
        while not self.ending.is_set():
            try:
                reply = httpx.post(running.url, json=body, headers=headers, timeout=60, trust_env=False)
            except httpx.HTTPError as error:
                self.faults.append(type(error).__name__)
                continue
            if (
                reply.status_code == 200
                and reply.text.rstrip().endswith("[DONE]")
                and "stream_broken" not in reply.text
            ):
                self.whole += 1
                self.releases.add(reply.headers["x-release-id"])
            else:
                self.faults.append(f"HTTP {reply.status_code}, {len(reply.text)} characters")


@contextmanager
def _streams(running: Running, count: int) -> Iterator[Streams]:
    streams = Streams()
    threads = [threading.Thread(target=streams.ask_on, args=(running,)) for _ in range(count)]
    for thread in threads:
        thread.start()
    try:
        yield streams
    finally:
        streams.ending.set()
        for thread in threads:
            thread.join()


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    settings = Settings(
        data_dir=tmp_path_factory.mktemp("bg"), gateway_port=free_port(), threads=1, rollback_minimum_requests=5
    )
    ledger = open_ledger(settings.database_url)
    try:
        start_services(settings, OURS)
        made = Running(settings, ledger, create_key(ledger, "asks", ["chat"]).secret)
        serve_release(ledger, made.release(), timeout_seconds=120)
        yield made
    finally:
        stop_services(settings, OURS)
        ledger.close()


def _wait(is_so: Callable[[], bool], seconds: float = 60) -> None:
    deadline = time.monotonic() + seconds
    while not is_so():
        assert time.monotonic() < deadline
        time.sleep(0.05)


def _state(running: Running, name: str) -> str:
    found = find_deployment(running.ledger, name)
    assert found is not None
    return found.state


def _kill_while_starting(running: Running) -> str:
    """A new release whose engine is killed while it starts: it fails, and users stay."""
    name = want_release(running.ledger, running.release()).deployment_id
    _wait(lambda: (running.settings.layout.run / "engines" / name / "process.json").exists())
    os.kill(running.engine_pid(name), signal.SIGKILL)
    with pytest.raises(ServingError, match="failed"):
        wait_until_ready(running.ledger, name, 60)
    return name


def test_three_switches_under_load_lose_and_cut_nothing_though_green_is_killed_in_one(running: Running) -> None:
    """The promise that everything here is for."""
    first = running.live().release_id
    with _streams(running, 4) as streams:
        _wait(lambda: streams.whole >= 4)
        for _ in range(2):
            serve_release(running.ledger, running.release(), timeout_seconds=120, keep_old=lambda: KEEP)
        _kill_while_starting(running)
        last = serve_release(running.ledger, running.release(), timeout_seconds=120, keep_old=lambda: KEEP)
        reached = streams.whole
        _wait(lambda: streams.whole >= reached + 8)
    assert streams.faults == []
    assert {first, last.release_id} <= streams.releases


def test_a_rollback_goes_to_the_engine_that_was_kept(running: Running, monkeypatch: pytest.MonkeyPatch) -> None:
    """By the command that an operator types at night. No engine is started, so it takes seconds."""
    old = running.live()
    pid = running.engine_pid(old.deployment_id)
    serve_release(running.ledger, running.release(), timeout_seconds=120, keep_old=lambda: KEEP)
    _wait(lambda: _state(running, old.deployment_id) == "kept")
    for name, value in service_environment(running.settings).items():
        monkeypatch.setenv(name, value)
    shown = CliRunner().invoke(main, ["status"]).output
    assert f"to {old.release_id}, in seconds" in shown
    with _streams(running, 2) as streams:
        _wait(lambda: streams.whole >= 2)
        done = CliRunner().invoke(main, ["rollback"], catch_exceptions=False)
        assert done.exit_code == 0, done.output
        _wait(lambda: running.ask().headers["x-release-id"] == old.release_id)
    assert streams.faults == []
    assert running.live().deployment_id == old.deployment_id
    assert running.engine_pid(old.deployment_id) == pid


class _Failing(BaseHTTPRequestHandler):
    def do_POST(self) -> None:
        self.send_response(500)
        self.send_header("content-length", "0")
        self.end_headers()

    def log_message(self, *_: object) -> None:
        pass


class _FailingServer(ThreadingMixIn, UnixStreamServer):
    daemon_threads = True


@contextmanager
def _answers_500(path: Path) -> Iterator[None]:
    """In the place of an engine's socket: the process lives, and every request fails."""
    path.unlink()
    server = _FailingServer(str(path), _Failing)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def test_a_release_that_fails_its_requests_is_left_by_itself_and_no_user_sees_one(running: Running) -> None:
    """Each failed request is asked once more of what served before; then users are there again for good."""
    blue = running.live()
    green = serve_release(running.ledger, running.release(), timeout_seconds=120, keep_old=lambda: KEEP)
    path = socket_of(green.engine_url or "")
    assert path is not None
    with _answers_500(path), _streams(running, 2) as streams:
        _wait(lambda: running.live().deployment_id == blue.deployment_id, seconds=30)
    assert streams.faults == []
    left = find_deployment(running.ledger, green.deployment_id)
    assert left is not None
    assert "requests failed" in (left.rollback_reason or "")
    _wait(lambda: _state(running, green.deployment_id) == "stopped")


def test_a_green_engine_that_dies_after_the_switch_is_left_by_itself(running: Running) -> None:
    """Restarting it takes as long as a start; blue is there."""
    blue = running.live()
    green = serve_release(running.ledger, running.release(), timeout_seconds=120, keep_old=lambda: KEEP)
    os.kill(running.engine_pid(green.deployment_id), signal.SIGKILL)
    assert running.ask().headers["x-release-id"] == blue.release_id
    _wait(lambda: running.live().deployment_id == blue.deployment_id, seconds=30)


@pytest.mark.parametrize("step", ["wanted", "ready", "switched", "rolled back"])
def test_a_supervisor_killed_at_any_step_leaves_one_live_and_the_next_one_goes_on(running: Running, step: str) -> None:
    """Blue is live or green is: never neither, and nobody has to repair anything."""
    blue = running.live()
    wanted = want_release(running.ledger, running.release())
    name = wanted.deployment_id
    if step != "wanted":
        wait_until_ready(running.ledger, name, 60)
    if step in ("switched", "rolled back"):
        switch_live(running.ledger, name, keep_until=wanted.wanted_at + KEEP)
    if step == "rolled back":
        go_back(running.ledger, timeout_seconds=60, by="a test")
    supervisor = read_identity(running.settings.layout.run / "supervisor.pid")
    assert supervisor is not None
    os.kill(supervisor.pid, signal.SIGKILL)
    assert running.live().deployment_id == (name if step == "switched" else blue.deployment_id)
    assert running.ask().status_code == 200
    start_services(running.settings, ["supervisor"])
    if step in ("wanted", "ready"):
        wait_until_ready(running.ledger, name, 60)
        switch_live(running.ledger, name)
    assert running.ask().status_code == 200
    with suppress(AssertionError):
        _wait(lambda: _state(running, name) in ("live", "stopped"), seconds=20)
    assert _state(running, name) == ("stopped" if step == "rolled back" else "live")
