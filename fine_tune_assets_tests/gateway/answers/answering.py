"""A gateway before an engine that a test scripts."""

import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from typing import Any, TypeVar

from starlette.testclient import TestClient

from fine_tune_assets.core.fingerprints import fingerprint_text
from fine_tune_assets.core.keys import read_or_create_key
from fine_tune_assets.core.settings import Settings
from fine_tune_assets.engines.listen_addresses import SOCKETS_FOLDER, socket_address
from fine_tune_assets.gateway.gateway_app import create_app
from fine_tune_assets.ledger.database import Ledger
from fine_tune_assets.ledger.encryption import KEY_NAME
from fine_tune_assets.ledger.ledger_tables import request_entries
from fine_tune_assets.ledger.people.api_keys import create_key
from fine_tune_assets.ledger.serving.canary_rows import CanaryPlan
from fine_tune_assets.ledger.serving.deployments import (
    Deployment,
    record_state,
    request_deployment,
    seal_engine_key,
    switch_traffic,
)
from fine_tune_assets.ledger.serving.request_outcomes import RequestOutcomes, sum_outcomes_since
from fine_tune_assets_tests.ledger.new_ledgers import fresh_ledger
from fine_tune_assets_tests.loopback import StreamServer, serving
from fine_tune_assets_tests.serving.load import wait
from fine_tune_assets_tests.serving.tiny_releases import build_empty_release


@dataclass
class Engine:
    status: int = 200
    body: bytes = b'{"choices": []}'
    may_answer: threading.Event = field(default_factory=threading.Event)
    asked: int = 0
    last: bytes = b""
    """The last request's body."""


@contextmanager
def listening(path: Path, engine: Engine) -> Iterator[None]:
    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            engine.last = self.rfile.read(int(self.headers["content-length"]))
            engine.asked += 1
            engine.may_answer.wait(30)
            self.send_response(engine.status)
            self.send_header("content-length", str(len(engine.body)))
            self.end_headers()
            self.wfile.write(engine.body)

        def log_message(self, *_: object) -> None:
            pass

    engine.may_answer.set()
    with serving(StreamServer(str(path), Handler)):
        try:
            yield
        finally:
            engine.may_answer.set()


def outcomes_of(ledger: Ledger, deployment: Deployment, requests: int = 1) -> RequestOutcomes:
    """Wait until at least `requests` are counted; the gateway writes counts every second."""

    def found() -> RequestOutcomes:
        return sum_outcomes_since(ledger, deployment.deployment_id, deployment.requested_at)

    wait(lambda: found().requests >= requests, 20)
    return found()


def make_live(settings: Settings, ledger: Ledger, path: Path, prompt: str) -> Deployment:
    return live_at(settings, ledger, path, build_empty_release(settings, ledger, prompt, {}))


def live_at(settings: Settings, ledger: Ledger, path: Path, release_id: str) -> Deployment:
    ready = ready_at(settings, ledger, path, release_id)
    return switch_traffic(ledger, ready.deployment_id, standby_until=datetime.now(UTC) + timedelta(hours=1))


def ready_at(
    settings: Settings, ledger: Ledger, path: Path, release_id: str, trial: CanaryPlan | None = None
) -> Deployment:
    """A ready deployment, as the supervisor reports it."""
    key = read_or_create_key(settings.layout.keys, KEY_NAME)
    name = request_deployment(ledger, release_id, canary_plan=trial).deployment_id
    record_state(ledger, name, "starting")
    sealed = seal_engine_key(key, name, "sesame")
    return record_state(ledger, name, "ready", engine_url=own_address(settings, path), engine_key=sealed)


def own_address(settings: Settings, path: Path) -> str:
    """The address of a socket elsewhere, as one of this installation."""
    folder = settings.layout.run / SOCKETS_FOLDER
    folder.mkdir(parents=True, exist_ok=True)
    link = folder / f"{fingerprint_text(str(path))[:8]}.sock"
    if not link.is_symlink():
        link.symlink_to(path)
    return socket_address(link)


@dataclass
class Answering:
    """A gateway with a live release."""

    client: TestClient
    settings: Settings
    ledger: Ledger
    engine: Engine
    live: Deployment

    @property
    def release_id(self) -> str:
        return self.live.release_id

    def lines(self) -> list[Any]:
        """The request log."""
        with self.ledger.read() as connection:
            return list(connection.execute(request_entries.select().order_by(request_entries.c.position)).mappings())


Kind = TypeVar("Kind", bound=Answering)


@contextmanager
def answering(
    kind: type[Kind],
    folder: Path,
    engine: Engine,
    files: dict[str, str] | None = None,
    scopes: Sequence[str] = (),
    raises: bool = True,
    **chosen: Any,
) -> Iterator[Kind]:
    """A gateway with these settings and a live release with these files. With `scopes`, its client sends a key that has them."""
    settings = Settings(data_dir=folder / "d", **chosen)
    ledger = fresh_ledger(settings)
    with listening(folder / "e.sock", engine):
        release_id = build_empty_release(settings, ledger, "One.", files or {})
        live = live_at(settings, ledger, folder / "e.sock", release_id)
        headers = {"Authorization": f"Bearer {create_key(ledger, 'all', scopes).secret}"} if scopes else {}
        with TestClient(create_app(settings), headers=headers, raise_server_exceptions=raises) as client:
            yield kind(client, settings, ledger, engine, live)
    ledger.close()
