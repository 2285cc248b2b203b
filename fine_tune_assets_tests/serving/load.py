"""An installation under load, for tests of switches, rollbacks and canary releases, and an engine that fails."""

import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import timedelta
from http.server import BaseHTTPRequestHandler
from pathlib import Path

import httpx

from fine_tune_assets.core.settings import Settings
from fine_tune_assets.ledger.database import Ledger
from fine_tune_assets.ledger.people.api_keys import create_key
from fine_tune_assets.ledger.serving.deployments import Deployment
from fine_tune_assets.serving.rollout import deploy_release
from fine_tune_assets.serving.services import start_services, stop_services
from fine_tune_assets_tests.ledger.ledger_rows import deployment_of, live_of
from fine_tune_assets_tests.ledger.new_ledgers import fresh_ledger
from fine_tune_assets_tests.loopback import StreamServer, serving
from fine_tune_assets_tests.serving.tiny_releases import build_release, engine_process

OURS = ("supervisor", "gateway")
KEEP = timedelta(hours=1)


@dataclass
class Running:
    settings: Settings
    ledger: Ledger
    key: str
    built: int = 0
    asked: int = 0

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.settings.gateway.port}/v1/chat/completions"

    def release(self) -> str:
        self.built += 1
        return build_release(self.settings, self.ledger, f"You are brief. Number {self.built}.")

    def live(self) -> Deployment:
        return live_of(self.ledger)

    def engine_pid(self, deployment_id: str) -> int:
        identity = engine_process(self.settings, deployment_id)
        return identity.pid

    def ask(self, max_tokens: int = 4) -> httpx.Response:
        """Never the same request twice: one during which an engine was killed is refused."""
        self.asked += 1
        content = f"Say yes, number {self.asked}."
        body = {"messages": [{"role": "user", "content": content}], "max_tokens": max_tokens}
        headers = {"Authorization": f"Bearer {self.key}"}
        return httpx.post(self.url, json=body, headers=headers, timeout=60, trust_env=False)


@contextmanager
def installation(settings: Settings) -> Iterator[Running]:
    """Supervisor and gateway with a live release."""
    ledger = fresh_ledger(settings)
    try:
        start_services(settings, OURS)
        made = Running(settings, ledger, create_key(ledger, "asks", ["chat"]).secret)
        deploy_release(ledger, made.release(), timeout_seconds=120)
        yield made
    finally:
        stop_services(settings, OURS)
        ledger.close()


@dataclass
class Streams:
    """Results of concurrent callers that each send one request after another."""

    whole: int = 0
    faults: list[str] = field(default_factory=list)
    releases: set[str] = field(default_factory=set)
    ending: threading.Event = field(default_factory=threading.Event)

    def ask_on(self, running: Running, key: str) -> None:
        body = {"messages": [{"role": "user", "content": "Count on."}], "max_tokens": 12, "stream": True}
        headers = {"Authorization": f"Bearer {key}"}
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
def streams_of(running: Running, count: int, keys: Sequence[str] = ()) -> Iterator[Streams]:
    """`count` concurrent callers with these keys, or with the installation's key."""
    streams, keys = Streams(), keys or [running.key]
    threads = [threading.Thread(target=streams.ask_on, args=(running, keys[i % len(keys)])) for i in range(count)]
    for thread in threads:
        thread.start()
    try:
        yield streams
    finally:
        streams.ending.set()
        for thread in threads:
            thread.join()


def wait(is_so: Callable[[], bool], seconds: float = 60) -> None:
    deadline = time.monotonic() + seconds
    while not is_so():
        assert time.monotonic() < deadline
        time.sleep(0.05)


def state_of(running: Running, name: str) -> str:
    found = deployment_of(running.ledger, name)
    return found.state


class _Failing(BaseHTTPRequestHandler):
    def do_POST(self) -> None:
        self.send_response(500)
        self.send_header("content-length", "0")
        self.end_headers()

    def log_message(self, *_: object) -> None:
        pass


@contextmanager
def answers_500(path: Path) -> Iterator[None]:
    """Replace an engine's socket by a server on which every request fails, while the engine's process runs."""
    path.unlink()
    with serving(StreamServer(str(path), _Failing)):
        yield
