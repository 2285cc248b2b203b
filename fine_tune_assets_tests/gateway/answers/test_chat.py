"""How many requests are taken on, who is asked again when one fails, and what is counted. Engines here are a few lines on a real
socket, since a real one fails when it likes."""

import asyncio
import gc
import json
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from typing import Any, TypeVar

import httpx
import pytest
from starlette.testclient import TestClient

from fine_tune_assets.core.keys import read_or_create_key
from fine_tune_assets.core.settings import Settings
from fine_tune_assets.engines.addresses import open_connections, socket_address
from fine_tune_assets.gateway.answers.chat import Chat
from fine_tune_assets.gateway.answers.engine_client import EngineClients, ask_engine
from fine_tune_assets.gateway.answers.identifiers import OFF, AnswerGate
from fine_tune_assets.gateway.app import create_app
from fine_tune_assets.gateway.callers.callers import Caller
from fine_tune_assets.gateway.records.outcomes import OutcomeCounter
from fine_tune_assets.gateway.records.records import Record
from fine_tune_assets.gateway.records.traffic import Traffic
from fine_tune_assets.gateway.requests.request_models import ChatRequest
from fine_tune_assets.ledger.database import Ledger
from fine_tune_assets.ledger.encryption import KEY_NAME
from fine_tune_assets.ledger.people.api_keys import create_key
from fine_tune_assets.ledger.schema import request_lines
from fine_tune_assets.ledger.serving.deployments import (
    Deployment,
    report_state,
    seal_engine_key,
    switch_live,
    want_release,
)
from fine_tune_assets.ledger.serving.outcomes import Outcomes, outcomes_since
from fine_tune_assets.ledger.serving.rollbacks import roll_back
from fine_tune_assets.ledger.serving.trial_rows import TrialPlan
from fine_tune_assets_tests.ledger.fresh import fresh_ledger
from fine_tune_assets_tests.loopback import StreamServer, serving
from fine_tune_assets_tests.serving.load import wait
from fine_tune_assets_tests.serving.tiny import build_empty_release


@dataclass
class Engine:
    status: int = 200
    body: bytes = b'{"choices": []}'
    may_answer: threading.Event = field(default_factory=threading.Event)
    asked: int = 0
    last: bytes = b""
    """What it was asked last."""


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


@dataclass
class Two:
    """A live deployment, and the one that served before."""

    client: TestClient
    ledger: Ledger
    new: Engine
    old: Engine
    live: Deployment
    before: Deployment

    def ask(self, **fields: object) -> httpx.Response:
        return self.client.post(
            "/v1/chat/completions", json={"messages": [{"role": "user", "content": "hi"}], **fields}
        )

    def outcomes(self, deployment: Deployment) -> Outcomes:
        return outcomes_of(self.ledger, deployment)


def outcomes_of(ledger: Ledger, deployment: Deployment, requests: int = 1) -> Outcomes:
    """Handed over within a second. `requests`: how many there have to be."""

    def found() -> Outcomes:
        return outcomes_since(ledger, deployment.deployment_id, deployment.wanted_at)

    wait(lambda: found().requests >= requests, 20)
    return found()


def make_live(settings: Settings, ledger: Ledger, path: Path, prompt: str) -> Deployment:
    return live_at(settings, ledger, path, build_empty_release(settings, ledger, prompt, {}))


def live_at(settings: Settings, ledger: Ledger, path: Path, release_id: str) -> Deployment:
    ready = ready_at(settings, ledger, path, release_id)
    return switch_live(ledger, ready.deployment_id, keep_until=datetime.now(UTC) + timedelta(hours=1))


def ready_at(
    settings: Settings, ledger: Ledger, path: Path, release_id: str, trial: TrialPlan | None = None
) -> Deployment:
    """As the supervisor reports it."""
    key = read_or_create_key(settings.layout.keys, KEY_NAME)
    name = want_release(ledger, release_id, trial=trial).deployment_id
    report_state(ledger, name, "starting")
    sealed = seal_engine_key(key, name, "sesame")
    return report_state(ledger, name, "ready", engine_url=socket_address(path), engine_key=sealed)


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
        """The log of requests."""
        with self.ledger.read() as connection:
            return list(connection.execute(request_lines.select().order_by(request_lines.c.position)).mappings())


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
    """With these settings and, in the release, these files. Where there are scopes, its client sends a key that has them."""
    settings = Settings(data_dir=folder / "d", **chosen)
    ledger = fresh_ledger(settings.database_url)
    with listening(folder / "e.sock", engine):
        release_id = build_empty_release(settings, ledger, "One.", files or {})
        live = live_at(settings, ledger, folder / "e.sock", release_id)
        headers = {"Authorization": f"Bearer {create_key(ledger, 'all', scopes).secret}"} if scopes else {}
        with TestClient(create_app(settings), headers=headers, raise_server_exceptions=raises) as client:
            yield kind(client, settings, ledger, engine, live)
    ledger.close()


@pytest.fixture
def two(tmp_path: Path) -> Iterator[Two]:
    settings = Settings(data_dir=tmp_path / "d", gateway={"max_requests": 1})
    ledger, old, new = fresh_ledger(settings.database_url), Engine(), Engine()
    with listening(tmp_path / "old.sock", old), listening(tmp_path / "new.sock", new):
        before = make_live(settings, ledger, tmp_path / "old.sock", "One.")
        live = make_live(settings, ledger, tmp_path / "new.sock", "Two.")
        headers = {"Authorization": f"Bearer {create_key(ledger, 'asks', ['chat']).secret}"}
        with TestClient(create_app(settings), headers=headers) as client:
            yield Two(client, ledger, new, old, live, before)
    ledger.close()


def test_more_than_the_limit_are_told_to_come_again_and_a_place_is_given_back(two: Two) -> None:
    """A queue without an end helps nobody; and a place that is lost at each request would close the gateway in a day."""
    two.new.may_answer.clear()
    first = threading.Thread(target=two.ask)
    first.start()
    wait(lambda: two.new.asked > 0)
    assert open_connections(two.live.engine_url or "") == 1
    refused = two.ask()
    assert refused.status_code == 429
    assert refused.headers["retry-after"]
    two.new.may_answer.set()
    first.join()
    for fields in ({}, {"stream": True}, {"stream": "x"}, {}):
        assert two.ask(**fields).status_code == (400 if fields.get("stream") == "x" else 200)
    assert two.outcomes(two.live).failed == 0


@pytest.mark.parametrize("is_stream", [False, True])
def test_a_request_that_fails_is_asked_once_more_of_what_served_before(two: Two, is_stream: bool) -> None:
    """Users get their answer, the answer says whose it is, and the failure is counted where it belongs."""
    two.new.status = 500
    reply = two.ask(stream=is_stream)
    assert (reply.status_code, reply.headers["x-release-id"]) == (200, two.before.release_id)
    assert (two.outcomes(two.live).failed, two.outcomes(two.live).answered) == (1, 0)
    assert two.outcomes(two.before).answered == 1


def test_a_request_that_fails_twice_at_the_same_deployment_is_one_failure(two: Two) -> None:
    """One caller who asks once must not count as two towards leaving a release."""
    two.new.status = two.old.status = 500
    assert two.ask(model=two.live.release_id).status_code == 502
    assert two.new.asked == 2
    assert two.outcomes(two.live).failed == 1
    assert two.ask().status_code == 502
    assert two.outcomes(two.before).failed == 1


def test_what_is_known_of_an_engine_that_is_gone_is_forgotten(two: Two, tmp_path: Path) -> None:
    """Its key most of all; and a gateway that runs for a year sees many engines."""
    settings = Settings(data_dir=tmp_path / "d")
    counter, gate, traffic = OutcomeCounter(two.ledger), AnswerGate(OFF, None), Traffic(settings, two.ledger)
    chat = Chat(settings, two.ledger, counter, gate, traffic)
    question = ChatRequest.model_validate({"messages": [{"role": "user", "content": "hi"}]})
    caller = Caller("key:0", "asks", frozenset({"chat"}), None, None)

    async def ask() -> None:
        await chat.answer(question, caller, Record("/v1/chat/completions"), lambda: lambda: None)
        assert (chat.engines.urls, chat.engines.holds_keys_of) == ({two.live.engine_url}, {two.live.deployment_id})
        roll_back(two.ledger, "operator")
        await chat.answer(question, caller, Record("/v1/chat/completions"), lambda: lambda: None)
        assert (chat.engines.urls, chat.engines.holds_keys_of) == ({two.before.engine_url}, {two.before.deployment_id})

    asyncio.run(ask())


def test_an_answer_under_way_comes_to_its_end_though_its_engine_is_forgotten(two: Two) -> None:
    """After a switch the old engine still answers those who asked before."""
    two.new.body, url = b"x" * 3_000_000, two.live.engine_url or ""

    async def ask() -> int:
        clients = EngineClients(60)
        answer = await ask_engine(clients.client(url), "sesame", {"stream": True})
        clients.forget_all_but(())
        gc.collect()
        return sum([len(chunk) async for chunk in answer.chunks()])

    assert asyncio.run(ask()) == len(two.new.body)


def test_what_a_person_left_is_asked_nothing_though_the_live_one_fails(two: Two) -> None:
    """Whoever rolled back by hand may know of a fault that no status shows."""
    roll_back(two.ledger, "operator", keep_until=datetime.now(UTC) + timedelta(hours=1))
    two.old.status = 500
    assert two.ask().status_code == 502
    assert (two.old.asked, two.new.asked) == (2, 0)


def test_a_request_that_names_its_release_is_answered_by_no_other(two: Two) -> None:
    """Whoever names one measures it, or corrects it."""
    two.new.status = 500
    assert two.ask(model=two.live.release_id).status_code == 502
    assert two.old.asked == 0


@pytest.mark.parametrize(
    ("status", "said", "told"),
    [
        (400, "the maximum context length is 2048", (400, "context_length_exceeded")),
        (500, "The model produced output that does not match the expected peg-native format", (502, "unreadable_call")),
    ],
)
def test_what_no_release_could_answer_is_asked_of_nobody_else_and_counts_for_nothing(
    two: Two, status: int, said: str, told: tuple[int, str]
) -> None:
    """Too long, in words that differ by engine; and a call that can't be read, to which llama.cpp's server says 500 each time
    that it is asked: callers could have a release rolled back with tools."""
    error = {"code": status, "type": "server_error", "message": said}
    two.new.status, two.new.body = status, json.dumps({"error": error}).encode()
    reply = two.ask()
    assert (reply.status_code, reply.json()["error"]["code"]) == told
    assert two.old.asked == 0
    two.new.status, two.new.body = 200, b"{}"
    two.ask()
    assert (two.outcomes(two.live).requests, two.outcomes(two.live).failed) == (1, 0)
